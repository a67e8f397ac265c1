// The converters on tiny checkpoints (tests/golden/make/torch_files.py): every tensor against a
// hash made in Python, the logits against those of the checkpoints that were split.
#include "tools/convert.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <condition_variable>
#include <filesystem>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/json.h"
#include "base/sha256.h"
#include "engine/engine.h"
#include "engine/tokenizer/tokenizer.h"
#include "engine/vision/image_processor.h"
#include "engine/weights/checkpoint.h"
#include "tests/models/model_testing.h"
#include "tests/tools/folder.h"

namespace prefixd::tools {
namespace {

using prefixd::testing::Folder;
using prefixd::testing::Golden;
using prefixd::testing::GoldenDirectory;
using prefixd::testing::LargestGap;
using prefixd::testing::LoadedModel;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

const std::string kTorch = PREFIXD_SOURCE_DIR "/tests/golden/torch/";

ConvertOpenFlamingoOptions Flamingo(const std::string& name, const std::string& out) {
  const std::string folder = absl::StrCat(kTorch, "flamingo-", name, "/");
  return {.checkpoint = folder + "checkpoint.pt",
          .language_model = folder + "lm",
          .vision_tower = folder + (name == "mpt" ? "tower.pt" : "tower"),
          .out = out,
          .vision_heads = name == "mpt" ? 2 : 0,
          .attention_heads = 2};
}

ConvertLlavaOptions Llava(const std::string& out) {
  return {.model = kTorch + "llava/model", .vision_tower = kTorch + "llava/tower", .out = out};
}

nlohmann::json Json(const std::string& path) {
  const auto json = ReadJsonFile(path, 1 << 20);
  EXPECT_TRUE(json.ok()) << json.status();
  return json.ok() ? *json : nlohmann::json();
}

void ExpectTensors(const std::string& directory, const std::string& expected_path) {
  const nlohmann::json expected = Json(expected_path);
  const auto checkpoint = Checkpoint::Open(directory);
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  EXPECT_EQ(checkpoint->tensors().size(), expected.size());
  for (const auto& [name, tensor] : checkpoint->tensors()) {
    SCOPED_TRACE(name);
    ASSERT_TRUE(expected.contains(name));
    EXPECT_EQ(tensor.dtype, expected[name]["dtype"].get<std::string>());
    EXPECT_EQ(tensor.shape, expected[name]["shape"].get<std::vector<int64_t>>());
    std::string bytes(tensor.size_bytes, '\0');
    ASSERT_TRUE(checkpoint
                    ->Read(tensor, 0,
                           absl::MakeSpan(reinterpret_cast<uint8_t*>(bytes.data()), bytes.size()))
                    .ok());
    Sha256 hash;
    hash.Update(absl::string_view(bytes));
    EXPECT_EQ(ToHex(hash.Finish()), expected[name]["sha256"].get<std::string>());
  }
}

// --- OpenFlamingo

class ConvertFlamingo : public ::testing::TestWithParam<std::string> {};

TEST_P(ConvertFlamingo, WritesTheTensorsOfTheGolden) {
  const Folder folder;
  const auto options = Flamingo(GetParam(), folder.At("out"));
  const absl::Status status = ConvertOpenFlamingo(options);
  ASSERT_TRUE(status.ok()) << status;
  ExpectTensors(options.out, absl::StrCat(kTorch, "flamingo-", GetParam(), "/expected.json"));
}

// The converted model has one row of the vocabulary less, which the tokenizer lacks.
TEST_P(ConvertFlamingo, GivesTheLogitsOfTheGolden) {
  const Folder folder;
  const auto options = Flamingo(GetParam(), folder.At("out"));
  ASSERT_TRUE(ConvertOpenFlamingo(options).ok());
  const Golden golden(
      absl::StrCat(GoldenDirectory(), "/openflamingo-", GetParam(), "/expected.safetensors"));
  LoadedModel loaded(options.out, "ref");
  std::vector<OwnedTensor> images;
  std::vector<Tensor> media;
  std::vector<float> pixels = prefixd::testing::TinyPixels(loaded.spec().image->image_size);
  for (int i = 0; i < 3; ++i) {
    images.push_back(loaded.Encode(pixels));
    media.push_back(images.back().view);
    std::rotate(pixels.begin(), pixels.begin() + 101, pixels.end());
  }
  auto sequence = loaded.NewMediaSequence(golden.Ints("prompt_2.ids"), media);
  const std::vector<float> logits = loaded.Run(&sequence);
  const std::vector<float> wanted = golden.Floats("prompt_2.logits");
  const size_t rows = sequence.ids.size(), columns = 60, wanted_columns = 61;
  ASSERT_EQ(logits.size(), rows * columns);
  std::vector<float> cut;
  for (size_t row = 0; row < rows; ++row) {
    const auto begin = wanted.begin() + static_cast<ptrdiff_t>(row * wanted_columns);
    cut.insert(cut.end(), begin, begin + columns);
  }
  EXPECT_LE(LargestGap(logits, cut), 1e-4f);
}

INSTANTIATE_TEST_SUITE_P(All, ConvertFlamingo, ::testing::Values("mpt", "mosaic"));

TEST(ConvertFlamingoFiles, WritesTokensAndConfigurations) {
  const Folder folder;
  const auto options = Flamingo("mosaic", folder.At("out/"));
  ASSERT_TRUE(ConvertOpenFlamingo(options).ok());
  const auto tokenizer = Tokenizer::Load(options.out);
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
  EXPECT_EQ((*tokenizer)->vocab_size(), 60);
  EXPECT_EQ((*tokenizer)->TokenToId("<|endofchunk|>"), 57);
  EXPECT_EQ((*tokenizer)->TokenToId("<image>"), 58);
  EXPECT_EQ((*tokenizer)->TokenToId("<PAD>"), 59);
  EXPECT_TRUE((*tokenizer)->IsSpecial(58));
  const auto files = OpenModelFiles(options.out);
  ASSERT_TRUE(files.ok()) << files.status();
  const ModelSpec& spec = (*files)->spec();
  EXPECT_EQ(spec.image->token_id, 58);
  EXPECT_THAT(spec.generation.eos_token_ids, ElementsAre(57, 0));
  const nlohmann::json config = Json(options.out + "/config.json");
  EXPECT_EQ(config["cross_attn_every_n_layers"], 2);
  EXPECT_EQ(config["eoc_token_id"], 57);
  EXPECT_EQ(config["pad_token_id"], 59);
  EXPECT_EQ(config["text_config"]["vocab_size"], 60);
  EXPECT_EQ(config["perceiver_config"]["num_latents"], 3);
  EXPECT_EQ(config["architectures"][0], "OpenFlamingoForConditionalGeneration");
  const auto processor = ImageProcessor::Load(options.out, 28);
  ASSERT_TRUE(processor.ok()) << processor.status();
  EXPECT_TRUE(processor->config().crop_half_even);
  EXPECT_EQ(Json(options.out + "/tokenizer_config.json")["pad_token"], "<PAD>");
}

TEST(ConvertFlamingoFiles, RefusesWhatDoesNotFit) {
  const Folder folder;
  const auto refusal = [&](const ConvertOpenFlamingoOptions& options) {
    const absl::Status status = ConvertOpenFlamingo(options);
    EXPECT_FALSE(status.ok());
    // Nothing is left behind.
    EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
    return std::string(status.message());
  };
  auto options = Flamingo("mpt", folder.At("out"));
  options.checkpoint = kTorch + "plain.pt";
  EXPECT_THAT(refusal(options), HasSubstr("plain.pt: no gated block"));
  options = Flamingo("mpt", folder.At("out"));
  options.checkpoint = kTorch + "evil_system.pt";
  EXPECT_THAT(refusal(options), HasSubstr("global posix.system"));
  options = Flamingo("mpt", folder.At("out"));
  options.vision_tower = kTorch + "plain.pt";
  EXPECT_THAT(refusal(options), HasSubstr("no tower"));
  // The other model's layers lack what this configuration asks for.
  options.vision_tower = Flamingo("mpt", "").vision_tower;
  options.language_model = kTorch + "flamingo-mosaic/lm";
  EXPECT_THAT(refusal(options), HasSubstr("is missing"));
  options.language_model = kTorch + "llava/model";
  EXPECT_THAT(refusal(options), HasSubstr("model_type \"llava\" is not one of"));
  options = Flamingo("mpt", folder.At("out"));
  options.attention_heads = 3;
  EXPECT_THAT(refusal(options), HasSubstr("16 rows are not 3 heads"));
  options = Flamingo("mpt", kTorch);
  EXPECT_THAT(refusal(options), HasSubstr("exists already"));
}

// As many embedding rows as tokens: both numbers are named.
TEST(ConvertFlamingoFiles, RefusesAnotherNumberOfTokens) {
  const Folder folder;
  std::filesystem::copy(kTorch + "flamingo-mpt/lm", folder.At("lm"));
  nlohmann::json config = Json(folder.At("lm/tokenizer_config.json"));
  config["pad_token"] = "<|endoftext|>";
  folder.Write("lm/tokenizer_config.json", config.dump());
  auto options = Flamingo("mpt", folder.At("out"));
  options.language_model = folder.At("lm");
  const absl::Status status = ConvertOpenFlamingo(options);
  EXPECT_THAT(std::string(status.message()),
              HasSubstr("the tokenizer has 59 tokens with those of OpenFlamingo, the checkpoint's "
                        "embeddings have 60 rows"));
}

// --- LLaVA

TEST(ConvertLlava, WritesTheTensorsOfTheGolden) {
  const Folder folder;
  const auto options = Llava(folder.At("llava-v1.5"));
  const absl::Status status = ConvertLlava(options);
  ASSERT_TRUE(status.ok()) << status;
  ExpectTensors(options.out, kTorch + "llava/expected.json");
  const auto files = OpenModelFiles(options.out);
  ASSERT_TRUE(files.ok()) << files.status();
  EXPECT_EQ((*files)->spec().chat_template, "llava_v1");
  EXPECT_TRUE((*files)->spec().image->pad_to_square);
  EXPECT_EQ(Json(options.out + "/config.json")["vision_config"]["num_attention_heads"], 2);
  EXPECT_TRUE(ImageProcessor::Load(options.out, 28).ok());
  // Converted once more: the tower is inside now.
  ConvertLlavaOptions again{.model = options.out, .out = folder.At("again")};
  EXPECT_TRUE(ConvertLlava(again).ok());
  again.vision_tower = kTorch + "llava/tower";
  again.out = folder.At("more");
  EXPECT_THAT(std::string(ConvertLlava(again).message()), HasSubstr("holds a tower already"));
}

TEST(ConvertLlava, GivesTheLogitsOfTheGolden) {
  const Folder folder;
  const auto options = Llava(folder.At("out"));
  ASSERT_TRUE(ConvertLlava(options).ok());
  const Golden golden(absl::StrCat(GoldenDirectory(), "/llava-original-mlp/expected.safetensors"));
  LoadedModel loaded(options.out, "ref");
  const OwnedTensor features =
      loaded.Encode(prefixd::testing::TinyPixels(loaded.spec().image->image_size));
  auto sequence = loaded.NewSequence(golden.Ints("ids"), &features.view);
  EXPECT_LE(LargestGap(loaded.Run(&sequence), golden.Floats("logits")), 1e-4f);
}

// What a request was told in the end.
class LastWord final : public EventSink {
 public:
  void OnEvent(Event event) override {
    const std::lock_guard lock(mutex_);
    if (auto* delta = std::get_if<DeltaEvent>(&event)) text_ += delta->text;
    if (auto* failed = std::get_if<FailedEvent>(&event)) status_ = failed->status;
    ended_ = ended_ || std::holds_alternative<FinishedEvent>(event) ||
             std::holds_alternative<FailedEvent>(event);
    changed_.notify_all();
  }
  absl::StatusOr<std::string> Wait() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return ended_; });
    if (!status_.ok()) return status_;
    return text_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::string text_;
  absl::Status status_;
  bool ended_ = false;
};

// From a chat with a picture to text, with a placeholder beyond the vocabulary.
TEST(ConvertLlava, TheEngineServesIt) {
  const Folder folder;
  const auto converted = Llava(folder.At("llava-v1.5"));
  ASSERT_TRUE(ConvertLlava(converted).ok());
  const MonotonicClock clock;
  EngineOptions options{.model_path = converted.out, .backend = "cpu"};
  options.kv_memory_bytes = 16 << 20;
  options.check_invariants = true;
  const auto engine = Engine::Open(options, &clock);
  ASSERT_TRUE(engine.ok()) << engine.status();
  EXPECT_EQ((*engine)->model_info().image_token_id, 64);
  EXPECT_EQ((*engine)->model_info().chat_template, "llava_v1");
  ASSERT_TRUE((*engine)->LoadWeights([](uint64_t, uint64_t) { return true; }).ok());
  const auto picture =
      ReadFile(PREFIXD_SOURCE_DIR "/tests/golden/vision/source_61x43.png", 1 << 20);
  ASSERT_TRUE(picture.ok());
  std::vector<std::string> answers;
  for (const char* id : {"first", "again", "other"}) {
    ChatMessage message;
    message.parts = {ImagePart{*picture}, TextPart{id == std::string("other") ? "bb" : "ab"}};
    Request request;
    request.id = id;
    request.input = ChatInput{{message}};
    request.stopping.max_tokens = 12;
    request.stopping.ignore_eos = true;
    request.sampling.repetition_penalty = 1.3f;
    const auto sink = std::make_shared<LastWord>();
    ASSERT_TRUE((*engine)->Submit(request, sink).ok());
    const auto answer = sink->Wait();
    ASSERT_TRUE(answer.ok()) << answer.status();
    answers.push_back(*answer);
  }
  EXPECT_EQ(answers[0], answers[1]);
  EXPECT_FALSE(answers[0].empty());
}

TEST(ConvertLlava, RefusesWhatItCannotConvert) {
  const Folder folder;
  auto options = Llava(folder.At("out"));
  options.vision_tower = "";
  EXPECT_THAT(std::string(ConvertLlava(options).message()), HasSubstr("--vision-tower"));
  options = Llava(folder.At("out"));
  options.model = absl::StrCat(GoldenDirectory(), "/llava-defaults");
  EXPECT_THAT(std::string(ConvertLlava(options).message()), HasSubstr("with text_config"));
  // A shard that is not what the index says.
  std::filesystem::copy(kTorch + "llava/model", folder.At("model"));
  std::filesystem::copy_file(kTorch + "plain.pt",
                             folder.At("model/pytorch_model-00002-of-00002.bin"),
                             std::filesystem::copy_options::overwrite_existing);
  options = Llava(folder.At("out"));
  options.model = folder.At("model");
  EXPECT_THAT(std::string(ConvertLlava(options).message()),
              HasSubstr("is missing, the index says that it is here"));
  EXPECT_FALSE(std::filesystem::exists(folder.At("out")));
}

}  // namespace
}  // namespace prefixd::tools
