// What a configuration may not say, and how the loader refuses it: a code, file, key and value.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "absl/strings/str_cat.h"
#include "tests/models/model_testing.h"

namespace prefixd::testing {
namespace {

using ::testing::HasSubstr;

constexpr absl::StatusCode kInvalid = absl::StatusCode::kInvalidArgument;
constexpr absl::StatusCode kUnsupported = absl::StatusCode::kUnimplemented;

struct Case {
  std::string config;
  absl::StatusCode code;
  const char* message;
};

void ExpectRefused(const Case& bad) {
  SCOPED_TRACE(bad.config.substr(0, 200));
  const TemporaryDirectory directory;  // No weights: the configuration must be refused before.
  directory.Write("config.json", bad.config);
  const auto files = OpenModelFiles(directory.path());
  EXPECT_EQ(files.status().code(), bad.code);
  const std::string message(files.status().message());
  EXPECT_THAT(message, HasSubstr(bad.message));
  EXPECT_THAT(message, HasSubstr("config.json"));
}

std::string Llama(const std::string& keys) {
  return absl::StrCat(R"({"model_type": "llama", )", keys, "}");
}

TEST(Config, RefusesImpossibleSizes) {
  const Case kCases[] = {
      {Llama(R"("hidden_size": 0)"), kInvalid, "hidden_size: 0 is not in [1, 65536]"},
      {Llama(R"("hidden_size": -4096)"), kInvalid, "hidden_size: -4096 is not in"},
      {Llama(R"("hidden_size": 2147483648)"), kInvalid, "hidden_size: 2147483648 is not in"},
      {Llama(R"("hidden_size": 18446744073709551615)"), kInvalid, "is not an integer"},
      {Llama(R"("hidden_size": "4096")"), kInvalid, "hidden_size: \"4096\" is not an integer"},
      {Llama(R"("hidden_size": 64.5)"), kInvalid, "hidden_size: 64.5 is not an integer"},
      {Llama(R"("hidden_size": 100, "num_attention_heads": 3)"), kInvalid,
       "num_attention_heads: 3 does not divide hidden_size 100"},
      {Llama(R"("num_attention_heads": 0)"), kInvalid, "num_attention_heads: 0 is not in"},
      {Llama(R"("num_key_value_heads": 0)"), kInvalid, "num_key_value_heads: 0 is not in [1, 32]"},
      {Llama(R"("num_key_value_heads": 33)"), kInvalid, "num_key_value_heads: 33 is not in"},
      {Llama(R"("num_key_value_heads": 5)"), kInvalid,
       "num_key_value_heads: 5 does not divide num_attention_heads 32"},
      {Llama(R"("head_dim": 63)"), kInvalid, "head_dim: 63 is not even"},
      {Llama(R"("hidden_size": 96, "num_attention_heads": 32)"), kInvalid,
       "head_dim: 3 is not even"},
      {Llama(R"("num_hidden_layers": 1000000)"), kInvalid,
       "num_hidden_layers: 1000000 is not in [1, 1024]"},
      {Llama(R"("vocab_size": 4194305)"), kInvalid, "vocab_size: 4194305 is not in"},
      {Llama(R"("max_position_embeddings": 1099511627776)"), kInvalid,
       "max_position_embeddings: 1099511627776 is not in"},
      {Llama(R"("rms_norm_eps": -1e-6)"), kInvalid, "rms_norm_eps: -1e-06 is not in"},
      {Llama(R"("tie_word_embeddings": "yes")"), kInvalid, "tie_word_embeddings"},
  };
  for (const Case& bad : kCases) ExpectRefused(bad);
}

TEST(Config, RefusesBadRotations) {
  const Case kCases[] = {
      {Llama(R"("rope_theta": 0)"), kInvalid, "rope_theta: 0 is not in"},
      {Llama(R"("rope_theta": -1)"), kInvalid, "rope_theta: -1 is not in"},
      {Llama(R"("rope_theta": "NaN")"), kInvalid, "rope_theta: \"NaN\" is not a number"},
      {Llama(R"("rope_theta": NaN)"), kInvalid, "not valid JSON"},
      {Llama(R"("rope_theta": 1e400)"), kInvalid, "not valid JSON"},
      {Llama(R"("rope_parameters": {"rope_theta": 0})"), kInvalid,
       "rope_parameters.rope_theta: 0 is not in"},
      {Llama(R"("rope_scaling": {"type": "dynamic", "factor": 2})"), kUnsupported,
       "rope_scaling.rope_type: \"dynamic\""},
      {Llama(R"("rope_scaling": {"rope_type": "yarn", "factor": 2})"), kUnsupported, "\"yarn\""},
      {Llama(R"("rope_parameters": {"rope_type": "longrope"})"), kUnsupported, "\"longrope\""},
      {Llama(R"("rope_scaling": {"type": "spiral"})"), kUnsupported, "\"spiral\""},
      {Llama(R"("rope_scaling": {"type": "linear"})"), kInvalid, "rope_scaling.factor: is missing"},
      {Llama(R"("rope_scaling": {"type": "linear", "factor": 0})"), kInvalid,
       "rope_scaling.factor: 0 is not in"},
      {Llama(R"("rope_scaling": {"type": "llama3", "factor": 8})"), kInvalid,
       "rope_scaling.low_freq_factor: is missing"},
      {Llama(R"("rope_scaling": 7)"), kInvalid, "rope_scaling: 7 is not an object"},
      {Llama(R"("rope_parameters": {"partial_rotary_factor": 0.5})"), kUnsupported,
       "partial_rotary_factor: 0.5"},
  };
  for (const Case& bad : kCases) ExpectRefused(bad);
}

TEST(Config, RefusesFeaturesThatChangeResults) {
  const Case kCases[] = {
      {Llama(R"("quantization_config": {"quant_method": "awq"})"), kUnsupported,
       "quantization_config"},
      {Llama(R"("num_local_experts": 8)"), kUnsupported, "num_local_experts: 8"},
      {Llama(R"("sliding_window": 4096)"), kUnsupported, "sliding_window: 4096"},
      {Llama(R"("hidden_act": "gelu")"), kUnsupported, "hidden_act"},
      {Llama(R"("hidden_act": "mish")"), kUnsupported, "hidden_act: \"mish\""},
      {Llama(R"("torch_dtype": "float8")"), kUnsupported, "torch_dtype: \"float8\""},
      {R"({"model_type": "mixtral"})", kUnsupported, "model_type: \"mixtral\""},
      {R"({"architectures": ["OPTForCausalLM"]})", kUnsupported, "\"OPTForCausalLM\""},
      {R"({"auto_map": {"AutoModel": "x.Y"}})", kInvalid, "model_type and architectures"},
      {R"({"model_type": 7})", kInvalid, "model_type: 7 is not a string"},
      {R"({"model_type": "llava", "mm_vision_tower": "clip"})", kUnsupported, "mm_vision_tower"},
      {R"({"model_type": "llava", "text_config": {"model_type": "mistral"}})", kUnsupported,
       "text_config.model_type: \"mistral\""},
      {R"({"model_type": "llava", "vision_config": {"model_type": "siglip_vision_model"}})",
       kUnsupported, "vision_config.model_type: \"siglip_vision_model\""},
      {R"({"model_type": "llava", "text_config": {"sliding_window": 7}})", kUnsupported,
       "text_config.sliding_window: 7"},
      {R"({"model_type": "llava", "vision_feature_select_strategy": "cls"})", kUnsupported,
       "vision_feature_select_strategy: \"cls\""},
  };
  for (const Case& bad : kCases) ExpectRefused(bad);
}

TEST(Config, RefusesImpossibleTowers) {
  const auto vision = [](const std::string& keys) {
    return absl::StrCat(R"({"model_type": "llava", "vision_config": {)", keys, "}}");
  };
  const Case kCases[] = {
      {vision(R"("hidden_size": 100)"), kInvalid,
       "vision_config.num_attention_heads: 12 does not divide hidden_size 100"},
      {vision(R"("patch_size": 0)"), kInvalid, "vision_config.patch_size: 0 is not in [1, 224]"},
      {vision(R"("patch_size": 225)"), kInvalid, "vision_config.patch_size: 225 is not in"},
      {vision(R"("image_size": 4096, "patch_size": 1)"), kInvalid, "16777216 patches"},
      {vision(R"("num_channels": 4)"), kUnsupported, "vision_config.num_channels: 4"},
      {R"({"model_type": "llava", "vision_feature_layer": 25})", kInvalid,
       "vision_feature_layer: 25 is not in [-25, 24]"},
      {R"({"model_type": "llava", "vision_feature_layer": []})", kInvalid, "is an empty list"},
      {R"({"model_type": "llava", "image_token_index": -200})", kInvalid,
       "image_token_index: -200 is not in"},
  };
  for (const Case& bad : kCases) ExpectRefused(bad);
}

TEST(Config, RefusesWhatIsNoConfig) {
  const Case kCases[] = {
      {"", kInvalid, "not valid JSON"},
      {"[]", kInvalid, "not a JSON object"},
      {"\xEF\xBB\xBF{}", kInvalid, "byte order mark"},
      {std::string("{\0\"\0", 4), kInvalid, "not valid JSON"},
      {R"({"model_type": "llama", "model_type": "llama"})", kInvalid, "duplicate key"},
      {absl::StrCat("{\"a\": ", std::string(100000, '['), "}"), kInvalid, "nested deeper"},
      {absl::StrCat("{\"a\": \"", std::string(2 << 20, 'x'), "\"}"), kInvalid, "the limit is"},
  };
  for (const Case& bad : kCases) ExpectRefused(bad);
}

TEST(Config, RefusesAMissingFile) {
  const TemporaryDirectory directory;
  EXPECT_EQ(OpenModelFiles(directory.path()).status().code(), absl::StatusCode::kNotFound);
}

TEST(Config, RefusesAdapters) {
  const TemporaryDirectory directory(GoldenDirectory() + "/llama-bias");
  ASSERT_TRUE(OpenModelFiles(directory.path()).ok());
  directory.Write("adapter_config.json", "{}");
  EXPECT_EQ(OpenModelFiles(directory.path()).status().code(), kUnsupported);
}

}  // namespace
}  // namespace prefixd::testing
