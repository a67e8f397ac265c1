// Tensors that do not fit the configuration, and files that change while they are loaded.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "tests/models/model_testing.h"

namespace prefixd::testing {
namespace {

using ::testing::HasSubstr;

// Opens a copy of a golden checkpoint after `from` became `to` in its header.
absl::StatusOr<std::unique_ptr<ModelFiles>> OpenEdited(const std::string& name,
                                                       const std::string& from,
                                                       const std::string& to) {
  const TemporaryDirectory directory(absl::StrCat(GoldenDirectory(), "/", name));
  std::string bytes = directory.Read("model.safetensors");
  const size_t at = bytes.find(from);
  EXPECT_NE(at, std::string::npos);
  bytes.replace(at, from.size(), to);
  // The length of the header, eight little-endian bytes; these headers are shorter than 64 KiB.
  const size_t old_length = static_cast<uint8_t>(bytes[0]) | (static_cast<uint8_t>(bytes[1]) << 8);
  const size_t length = old_length + to.size() - from.size();
  bytes[0] = static_cast<char>(length);
  bytes[1] = static_cast<char>(length >> 8);
  directory.Write("model.safetensors", bytes);
  return OpenModelFiles(directory.path());
}

void ExpectInvalid(const absl::Status& status, const char* message) {
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr(message));
}

TEST(ModelFiles, NamesAMissingTensor) {
  ExpectInvalid(OpenEdited("llama-bias", "model.norm.weight", "model.nose.weight").status(),
                "tensor model.norm.weight [24] is missing");
}

TEST(ModelFiles, NamesATensorOfAnotherShape) {
  const TemporaryDirectory directory(GoldenDirectory() + "/llama-bias");
  directory.Write("config.json", absl::StrReplaceAll(
                                     directory.Read("config.json"),
                                     {{"\"intermediate_size\": 36", "\"intermediate_size\": 37"}}));
  ExpectInvalid(OpenModelFiles(directory.path()).status(), "shape [36, 24], expected [37, 24]");
}

TEST(ModelFiles, NamesATensorOfATypeThatCannotBeComputedWith) {
  ExpectInvalid(
      OpenEdited("llama-bias", R"("F32","shape":[50,24])", R"("I32","shape":[50,24])").status(),
      "dtype I32, expected F32, F16 or BF16");
}

TEST(ModelFiles, RefusesTwoSpellingsOfOneTensor) {
  // Both are layer 1's first norm once the optional levels are taken away.
  ExpectInvalid(OpenEdited("llava-list-full", "vision_tower.encoder.layers.0.layer_norm1.bias",
                           "model.vision_tower.encoder.layers.1.layer_norm1.bias")
                    .status(),
                "are the same weight");
}

TEST(ModelFiles, NeedsAHeadThatIsNotTied) {
  const TemporaryDirectory directory(GoldenDirectory() + "/llama-llama3-tied");
  ASSERT_TRUE(OpenModelFiles(directory.path()).ok());
  directory.Write(
      "config.json",
      absl::StrReplaceAll(directory.Read("config.json"),
                          {{"\"tie_word_embeddings\": true", "\"tie_word_embeddings\": false"}}));
  ExpectInvalid(OpenModelFiles(directory.path()).status(), "tensor lm_head.weight [50, 32]");
}

TEST(ModelFiles, TakesATensorThatTheModelDoesNotKnow) {
  EXPECT_TRUE(OpenEdited("llava-bf16", "vision_tower.vision_model.post_layernorm.bias",
                         "vision_tower.vision_model.post_layernoxx.bias")
                  .ok());
}

TEST(ModelFiles, CountsWhatIsLoaded) {
  const auto files = OpenModelFiles(GoldenDirectory() + "/llama-llama3-tied");
  ASSERT_TRUE(files.ok()) << files.status();
  const ModelSpec& spec = (*files)->spec();
  // 50 * 32 + 2 * (2 * 32 + 4 * 32 * 32 + 3 * 40 * 32) + 32.
  EXPECT_EQ(spec.num_parameters, 17632u);
  EXPECT_EQ(spec.weight_bytes, 4 * 17632u);
  EXPECT_EQ(spec.weights_dtype, "f32");
  EXPECT_EQ(spec.family, "llama");
  EXPECT_FALSE(spec.image.has_value());
}

TEST(ModelFiles, FillsTheSpecOfTheDemo) {
  const auto files = OpenModelFiles(DemoDirectory());
  ASSERT_TRUE(files.ok()) << files.status();
  const ModelSpec& spec = (*files)->spec();
  EXPECT_EQ(spec.family, "llava");
  EXPECT_EQ(spec.num_layers, 6);
  EXPECT_EQ(spec.num_heads, 6);
  EXPECT_EQ(spec.num_kv_heads, 2);
  EXPECT_EQ(spec.head_dim, 32);
  EXPECT_EQ(spec.hidden_size, 192);
  EXPECT_EQ(spec.vocab_size, 576);
  EXPECT_EQ(spec.context_length, 2048);
  EXPECT_EQ(spec.weights_dtype, "bf16");
  EXPECT_EQ(spec.sharing, Sharing::kCausal);
  EXPECT_EQ(spec.generation.eos_token_ids, std::vector<int32_t>{2});
  ASSERT_TRUE(spec.image.has_value());
  EXPECT_EQ(spec.image->token_id, 566);
  EXPECT_EQ(spec.image->tokens_per_image, 144);
  EXPECT_EQ(spec.image->image_size, 96);
  EXPECT_EQ(spec.image->patch_size, 8);
  EXPECT_EQ(spec.image->max_images, 64);
}

TEST(ModelFiles, ReportsProgressUpToTheWeightBytes) {
  auto files = OpenModelFiles(DemoDirectory());
  ASSERT_TRUE(files.ok());
  const auto backend = MakeBackend("portable");
  uint64_t last = 0, total = 0;
  const auto model = (*files)->Load(backend.get(), {}, [&](uint64_t done, uint64_t all) {
    EXPECT_GT(done, last);
    last = done;
    total = all;
    return true;
  });
  ASSERT_TRUE(model.ok()) << model.status();
  EXPECT_EQ(last, (*files)->spec().weight_bytes);
  EXPECT_EQ(total, (*files)->spec().weight_bytes);
}

TEST(ModelFiles, GivesUpWhenTold) {
  auto files = OpenModelFiles(DemoDirectory());
  ASSERT_TRUE(files.ok());
  const auto backend = MakeBackend("portable");
  const auto model =
      (*files)->Load(backend.get(), {}, [](uint64_t done, uint64_t) { return done < 100'000; });
  EXPECT_EQ(model.status().code(), absl::StatusCode::kCancelled);
}

TEST(ModelFiles, NoticesWeightsThatAreCutWhileTheyAreLoaded) {
  const TemporaryDirectory directory(GoldenDirectory() + "/llama-bias");
  auto files = OpenModelFiles(directory.path());
  ASSERT_TRUE(files.ok()) << files.status();
  const std::string path = directory.path() + "/model.safetensors";
  std::filesystem::resize_file(path, std::filesystem::file_size(path) / 2);
  const auto backend = MakeBackend("portable");
  EXPECT_EQ((*files)->Load(backend.get(), {}, {}).status().code(), absl::StatusCode::kOutOfRange);
}

TEST(ModelFiles, NoticesWeightsThatAreWrittenWhileTheyAreLoaded) {
  const TemporaryDirectory directory(GoldenDirectory() + "/llama-bias");
  auto files = OpenModelFiles(directory.path());
  ASSERT_TRUE(files.ok()) << files.status();
  const std::string path = directory.path() + "/model.safetensors";
  std::filesystem::last_write_time(
      path, std::filesystem::file_time_type::clock::now() + std::chrono::seconds(7));
  const auto backend = MakeBackend("portable");
  EXPECT_EQ((*files)->Load(backend.get(), {}, {}).status().code(), absl::StatusCode::kAborted);
}

}  // namespace
}  // namespace prefixd::testing
