// The original LLaVA layout beside its logits, which tiny_golden_test.cc compares.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "tests/models/model_testing.h"

namespace prefixd::testing {
namespace {

using ::testing::HasSubstr;

std::string Golden(const std::string& name) { return absl::StrCat(GoldenDirectory(), "/", name); }

TEST(LlavaOriginal, ItsSpecSaysHowPicturesEnter) {
  const auto files = OpenModelFiles(Golden("llava-original-linear"));
  ASSERT_TRUE(files.ok()) << files.status();
  const ModelSpec& spec = (*files)->spec();
  EXPECT_EQ(spec.family, "llava");
  ASSERT_TRUE(spec.image.has_value());
  EXPECT_EQ(spec.image->token_id, spec.vocab_size);
  EXPECT_EQ(spec.image->tokens_per_image, 5);
  EXPECT_FALSE(spec.image->pad_to_square);
  EXPECT_TRUE(spec.image->has_default_processor);
  EXPECT_TRUE((*OpenModelFiles(Golden("llava-original-mlp")))->spec().image->pad_to_square);
}

TEST(LlavaOriginal, TheDirectorysNameChoosesTheTemplate) {
  const struct {
    const char *directory, *expected;
  } kCases[] = {{"LLaVA-v1.5-7b", "llava_v1"},
                {"llava-llama-2-7b-v1", "llava_llama_2"},
                {"llava-mpt-7b", "mpt"},
                {"llava-7b", "llava_v0"}};
  for (const auto& test : kCases) {
    const TemporaryDirectory parent;
    const std::string directory = absl::StrCat(parent.path(), "/", test.directory);
    std::filesystem::copy(Golden("llava-original-mlp"), directory);
    for (const char* end : {"", "/"}) {
      const auto files = OpenModelFiles(directory + end);
      ASSERT_TRUE(files.ok()) << files.status();
      EXPECT_EQ((*files)->spec().chat_template, test.expected);
    }
  }
}

TEST(LlavaOriginal, WithoutItsTowerItSaysHowToGetOne) {
  const TemporaryDirectory copy(Golden("llava-original-mlp"));
  std::string weights = copy.Read("model.safetensors");
  const std::string renamed =
      absl::StrReplaceAll(weights, {{"model.vision_tower.", "model.vision_towel."}});
  ASSERT_NE(weights, renamed);
  copy.Write("model.safetensors", renamed);
  const absl::Status status = OpenModelFiles(copy.path()).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnimplemented);
  EXPECT_THAT(std::string(status.message()), HasSubstr("prefixctl convert llava"));
  EXPECT_THAT(std::string(status.message()), HasSubstr("openai/clip-vit-large-patch14-336"));
}

TEST(LlavaOriginal, ATowerOfAnotherSizeIsRefusedByItsTensor) {
  const TemporaryDirectory copy(Golden("llava-original-mlp"));
  copy.Write("config.json", absl::StrReplaceAll(copy.Read("config.json"),
                                                {{"\"image_size\": 28", "\"image_size\": 42"}}));
  const absl::Status status = OpenModelFiles(copy.path()).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr("shape [5, 8], expected [10, 8]"));
}

}  // namespace
}  // namespace prefixd::testing
