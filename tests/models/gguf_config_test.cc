// The metadata of a GGUF file as a Llama configuration: what is read, and what is refused.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "engine/models/config_reader.h"
#include "engine/models/gguf_llama.h"
#include "engine/models/llama.h"
#include "tests/models/model_testing.h"
#include "tests/weights/gguf_files.h"

namespace prefixd::testing {
namespace {

using ::testing::HasSubstr;

constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;
constexpr auto kUnsupported = absl::StatusCode::kUnimplemented;

std::string IntPair(const std::string& key, uint32_t value) {
  return GgufPair(key, 4, Raw<uint32_t>(value));
}
std::string FloatPair(const std::string& key, float value) {
  return GgufPair(key, 6, Raw<float>(value));
}
std::string TextPair(const std::string& key, const std::string& value) {
  return GgufPair(key, 8, GgufString(value));
}

// A key and its pair; the second is empty where the key is to be left out.
struct Edit {
  std::string key, pair;
};

// A file whose metadata is right but for `edits`, which replace or add pairs.
GgufFileSpec FileWith(const std::vector<Edit>& edits) {
  std::vector<Edit> pairs = {
      {"general.architecture", TextPair("general.architecture", "llama")},
      {"llama.context_length", IntPair("llama.context_length", 128)},
      {"llama.embedding_length", IntPair("llama.embedding_length", 32)},
      {"llama.block_count", IntPair("llama.block_count", 1)},
      {"llama.feed_forward_length", IntPair("llama.feed_forward_length", 64)},
      {"llama.attention.head_count", IntPair("llama.attention.head_count", 4)},
      {"llama.attention.layer_norm_rms_epsilon",
       FloatPair("llama.attention.layer_norm_rms_epsilon", 1e-5f)},
      {"llama.vocab_size", IntPair("llama.vocab_size", 300)},
  };
  for (const Edit& edit : edits) {
    std::erase_if(pairs, [&edit](const Edit& pair) { return pair.key == edit.key; });
    pairs.push_back(edit);
  }
  GgufFileSpec spec;
  for (const Edit& pair : pairs) {
    if (!pair.pair.empty()) spec.pairs.push_back(pair.pair);
  }
  return spec;
}

absl::StatusOr<LlamaConfig> ConfigOf(const GgufFileSpec& spec) {
  const std::string bytes = spec.Bytes();
  auto header = ParseGgufHeader(bytes, bytes.size(), "f.gguf");
  if (!header.ok()) return header.status();
  auto text = GgufLlamaConfig(*header);
  if (!text.ok()) return text.status();
  auto config = ConfigReader::Parse(*text, "f.gguf: as config.json");
  if (!config.ok()) return config.status();
  LlamaConfig llama = ReadLlamaConfig(*config);
  if (!config->status().ok()) return config->status();
  return llama;
}

TEST(GgufLlamaConfig, HasTheDefaultsOfTheFormat) {
  const auto config = ConfigOf(FileWith({}));
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->num_kv_heads, 4);
  EXPECT_EQ(config->head_dim, 8);
  EXPECT_EQ(config->norm_eps, 1e-5f);
  EXPECT_EQ(config->rope.theta, 10000.0);
  EXPECT_EQ(config->rope.type, RopeType::kDefault);
  EXPECT_TRUE(config->tie_word_embeddings);
  EXPECT_FALSE(config->attention_bias);
}

TEST(GgufLlamaConfig, TakesVocabularyAndTiesFromTheTensors) {
  GgufFileSpec spec = FileWith({{"llama.vocab_size", ""}});
  spec.tensors = {{.name = "token_embd.weight", .ne = {4, 50}},
                  {.name = "output.weight", .ne = {4, 50}, .offset = 800},
                  {.name = "blk.0.attn_q.bias", .ne = {8}, .offset = 1600}};
  spec.data_bytes = 1632;
  const auto config = ConfigOf(spec);
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->vocab_size, 50);
  EXPECT_FALSE(config->tie_word_embeddings);
  EXPECT_TRUE(config->attention_bias);
  EXPECT_FALSE(config->mlp_bias);
}

TEST(GgufLlamaConfig, IgnoresFeaturesThatAreSwitchedOff) {
  EXPECT_TRUE(ConfigOf(FileWith({{"e", IntPair("llama.expert_count", 0)}})).ok());
}

struct BadMetadata {
  const char* name;
  std::vector<Edit> edits;
  absl::StatusCode code;
  const char* message;
};

std::vector<BadMetadata> AllBad() {
  const auto with_int = [](const std::string& key, uint32_t value) {
    return std::vector<Edit>{{key, IntPair(key, value)}};
  };
  const std::string list = Raw<uint32_t>(4) + Raw<uint64_t>(1) + Raw<uint32_t>(2);
  return {
      {"no_architecture",
       {{"general.architecture", ""}},
       kInvalid,
       "f.gguf: general.architecture: is missing"},
      {"architecture",
       {{"general.architecture", TextPair("general.architecture", "gemma")}},
       kUnsupported,
       "general.architecture: \"gemma\" is not supported"},
      {"adapter",
       {{"t", TextPair("general.type", "adapter")}},
       kUnsupported,
       "general.type: \"adapter\" is not supported"},
      {"split",
       {{"s", GgufPair("split.count", 2, Raw<uint16_t>(3))}},
       kUnsupported,
       "split.count: 3 files"},
      {"no_layers", {{"llama.block_count", ""}}, kInvalid, "llama.block_count: is missing"},
      {"no_epsilon",
       {{"llama.attention.layer_norm_rms_epsilon", ""}},
       kInvalid,
       "llama.attention.layer_norm_rms_epsilon: is missing"},
      {"hidden_0", with_int("llama.embedding_length", 0), kInvalid, "hidden_size: 0 is not in"},
      {"hidden_text",
       {{"llama.embedding_length", TextPair("llama.embedding_length", "32")}},
       kInvalid,
       "llama.embedding_length: the value is of type string, expected an integer"},
      {"hidden_2_63",
       {{"llama.embedding_length",
         GgufPair("llama.embedding_length", 10, Raw<uint64_t>(uint64_t{1} << 63))}},
       kInvalid,
       "llama.embedding_length: 9223372036854775808 is not below 2^63"},
      {"layers_million", with_int("llama.block_count", 1000000), kInvalid,
       "num_hidden_layers: 1000000 is not in [1, 1024]"},
      {"heads_0", with_int("llama.attention.head_count", 0), kInvalid,
       "num_attention_heads: 0 is not in"},
      {"heads", with_int("llama.attention.head_count", 5), kInvalid,
       "num_attention_heads: 5 does not divide hidden_size 32"},
      {"kv_heads", with_int("llama.attention.head_count_kv", 3), kInvalid,
       "num_key_value_heads: 3 does not divide num_attention_heads 4"},
      {"kv_heads_0", with_int("llama.attention.head_count_kv", 0), kInvalid,
       "num_key_value_heads: 0 is not in [1, 4]"},
      {"kv_heads_list",
       {{"llama.attention.head_count_kv", GgufPair("llama.attention.head_count_kv", 9, list)}},
       kInvalid,
       "head_count_kv: the value is of type array of u32, expected an integer"},
      {"ffn_list",
       {{"llama.feed_forward_length", GgufPair("llama.feed_forward_length", 9, list)}},
       kInvalid,
       "llama.feed_forward_length: the value is of type array of u32"},
      {"head_dim_odd", with_int("llama.attention.key_length", 7), kInvalid,
       "head_dim: 7 is not even"},
      {"value_length", with_int("llama.attention.value_length", 16), kUnsupported,
       "llama.attention.value_length: 16, expected 8"},
      {"partial_rotation", with_int("llama.rope.dimension_count", 4), kUnsupported,
       "llama.rope.dimension_count: 4, expected 8"},
      {"context",
       {{"llama.context_length",
         GgufPair("llama.context_length", 10, Raw<uint64_t>(uint64_t{1} << 40))}},
       kInvalid,
       "max_position_embeddings: 1099511627776 is not in"},
      {"theta_0", {{"b", FloatPair("llama.rope.freq_base", 0)}}, kInvalid, "rope_theta: 0"},
      {"theta_nan",
       {{"b", GgufPair("llama.rope.freq_base", 6, Raw<uint32_t>(0x7fc00000))}},
       kInvalid,
       "llama.rope.freq_base: nan is not finite"},
      {"yarn",
       {{"s", TextPair("llama.rope.scaling.type", "yarn")}},
       kUnsupported,
       "llama.rope.scaling.type: \"yarn\" is not one of none, linear"},
      {"no_factor",
       {{"s", TextPair("llama.rope.scaling.type", "linear")}},
       kInvalid,
       "llama.rope.scaling.factor: is missing"},
      {"experts", with_int("llama.expert_count", 8), kUnsupported,
       "llama.expert_count: is not supported"},
      {"window", with_int("llama.attention.sliding_window", 4096), kUnsupported,
       "llama.attention.sliding_window: is not supported"},
      {"logit_scale",
       {{"l", FloatPair("llama.logit_scale", 2)}},
       kUnsupported,
       "llama.logit_scale: is not supported"},
      {"eos", with_int("tokenizer.ggml.eos_token_id", 300), kInvalid,
       "eos_token_id: 300 is not in [0, 299]"},
      {"eos_text",
       {{"e", TextPair("tokenizer.ggml.eos_token_id", "2")}},
       kInvalid,
       "tokenizer.ggml.eos_token_id: the value is of type string"},
      {"no_vocabulary",
       {{"llama.vocab_size", ""}},
       kInvalid,
       "tensor token_embd.weight: is missing"},
  };
}

class BadGgufMetadata : public ::testing::TestWithParam<BadMetadata> {};

TEST_P(BadGgufMetadata, IsRefusedByName) {
  const GgufFileSpec spec = FileWith(GetParam().edits);
  const TemporaryDirectory directory;
  directory.Write("bad.gguf", spec.Bytes());
  const absl::Status status = OpenModelFiles(directory.path() + "/bad.gguf").status();
  EXPECT_EQ(status.code(), GetParam().code) << status;
  EXPECT_THAT(std::string(status.message()),
              HasSubstr(absl::StrReplaceAll(GetParam().message, {{"f.gguf", "bad.gguf"}})));
  EXPECT_THAT(std::string(status.message()), HasSubstr("/bad.gguf: "));
}

INSTANTIATE_TEST_SUITE_P(All, BadGgufMetadata, ::testing::ValuesIn(AllBad()),
                         [](const auto& info) { return std::string(info.param.name); });

// --- Tensors

// Opens a golden file after the first `from` became `to`, of the same length.
absl::Status OpenEdited(const std::string& name, const std::string& from, const std::string& to) {
  const TemporaryDirectory directory(absl::StrCat(GoldenDirectory(), "/../gguf"));
  std::string bytes = directory.Read(name + ".gguf");
  const size_t at = bytes.find(from);
  EXPECT_NE(at, std::string::npos);
  EXPECT_EQ(from.size(), to.size());
  bytes.replace(at, from.size(), to);
  directory.Write("edited.gguf", bytes);
  return OpenModelFiles(directory.path() + "/edited.gguf").status();
}

TEST(GgufTensors, NamesAMissingTensor) {
  const absl::Status status = OpenEdited("f32", "blk.1.ffn_up.weight", "blk.1.ffn_ap.weight");
  EXPECT_EQ(status.code(), kInvalid);
  EXPECT_THAT(std::string(status.message()),
              HasSubstr("tensor model.layers.1.mlp.up_proj.weight [64, 32] is missing"));
}

TEST(GgufTensors, NeedsEveryBiasOfAKind) {
  const absl::Status status = OpenEdited("f32", "blk.1.attn_v.bias", "blk.1.attn_x.bias");
  EXPECT_THAT(std::string(status.message()),
              HasSubstr("model.layers.1.self_attn.v_proj.bias [16] is missing"));
}

TEST(GgufTensors, NamesATensorOfAnotherShape) {
  const std::string key = GgufString("llama.feed_forward_length") + Raw<uint32_t>(4);
  const absl::Status status = OpenEdited("f32", key + Raw<uint32_t>(64), key + Raw<uint32_t>(65));
  EXPECT_THAT(std::string(status.message()),
              HasSubstr("tensor blk.0.ffn_gate.weight: shape [64, 32], expected [65, 32]"));
}

TEST(GgufTensors, NamesATypeThatCannotBeComputedWith) {
  // 32-bit integers take as many bytes as floats.
  const std::string entry = GgufString("output_norm.weight") + Raw<uint32_t>(1) + Raw<uint64_t>(32);
  const absl::Status status =
      OpenEdited("f32", entry + Raw<uint32_t>(0), entry + Raw<uint32_t>(26));
  EXPECT_EQ(status.code(), kUnsupported);
  EXPECT_THAT(std::string(status.message()),
              HasSubstr("tensor output_norm.weight: element type I32 is not supported"));
}

TEST(GgufTensors, ChecksTheDivisorsOfTheFrequencies) {
  std::string ones;
  for (const float value : {1.0f, 1.0f, 2.5f, 4.0f}) ones += Raw<float>(value);
  std::string bad = ones;
  bad.replace(4, 4, Raw<float>(-1.0f));
  const absl::Status status = OpenEdited("bf16", ones, bad);
  EXPECT_EQ(status.code(), kInvalid);
  EXPECT_THAT(std::string(status.message()),
              HasSubstr("rope_freqs.weight: element 1 is -1, expected a positive number"));
}

// Whatever a header says, it is refused or gives a model that loads.
TEST(GgufTensors, OfMutatedHeadersAreRefusedOrLoad) {
  const TemporaryDirectory directory(absl::StrCat(GoldenDirectory(), "/../gguf"));
  const std::string whole = directory.Read("mixed_plain.gguf");
  const size_t keys_end = whole.find("tokenizer.ggml.tokens"), tensors = whole.find("token_embd");
  ASSERT_NE(keys_end, std::string::npos);
  ASSERT_NE(tensors, std::string::npos);
  std::mt19937_64 random(11);
  int loaded = 0;
  constexpr int kRounds = 400;
  for (int round = 0; round < kRounds; ++round) {
    std::string bytes = whole;
    // The keys of the configuration, or the entries of the first tensors.
    const size_t at = round % 2 == 0 ? 24 + random() % (keys_end - 24) : tensors + random() % 1500;
    bytes[at] = static_cast<char>(round % 3 == 0 ? random() : bytes[at] ^ (1 << random() % 8));
    directory.Write("mutated.gguf", bytes);
    const auto files = OpenModelFiles(directory.path() + "/mutated.gguf");
    if (!files.ok()) {
      EXPECT_TRUE(files.status().code() == kInvalid || files.status().code() == kUnsupported)
          << files.status();
      continue;
    }
    const std::unique_ptr<Backend> backend = MakeBackend("ref");
    EXPECT_TRUE((*files)->Load(backend.get(), {.max_batch_rows = 4, .max_logit_rows = 4}, {}).ok());
    ++loaded;
  }
  EXPECT_GT(loaded, 0);
  EXPECT_LT(loaded, kRounds);
}

TEST(GgufLlamaName, KeepsWhatItDoesNotKnow) {
  EXPECT_EQ(GgufLlamaName("blk.12.ffn_down.weight"), "model.layers.12.mlp.down_proj.weight");
  EXPECT_EQ(GgufLlamaName("blk.0.attn_k.bias"), "model.layers.0.self_attn.k_proj.bias");
  for (const char* name :
       {"rope_freqs.weight", "blk.", "blk.1", "blk.1.weight", "blk.1.x.weight"}) {
    EXPECT_EQ(GgufLlamaName(name), name);
  }
}

}  // namespace
}  // namespace prefixd::testing
