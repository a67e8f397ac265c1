// Images that are no token of the vocabulary: the texts around them are encoded on their own.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <iterator>
#include <memory>
#include <string>
#include <vector>

#include "engine/prompt/conversation_templates.h"
#include "engine/prompt/prompt_builder.h"

namespace prefixd {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr int32_t kVocab = 300, kImage = 300, kBos = 256, kDummy = 257, kRows = 2;

// As a slow Llama tokenizer: BOS at the front of a text, and a dummy piece before every stretch.
class DummyPrefixTokenizer final : public Tokenizer {
 public:
  absl::StatusOr<std::vector<int32_t>> Encode(absl::Span<const TextSpan> spans,
                                              bool add_special_tokens) const override {
    std::string text;
    for (const TextSpan& span : spans) text.append(span.text.data(), span.text.size());
    std::vector<int32_t> ids;
    if (add_special_tokens) ids.push_back(kBos);
    if (!text.empty()) ids.push_back(kDummy);
    for (const char c : text) ids.push_back(static_cast<uint8_t>(c));
    return ids;
  }
  std::string Decode(absl::Span<const int32_t>, bool) const override { return ""; }
  std::string TokenBytes(int32_t) const override { return ""; }
  bool IsSpecial(int32_t) const override { return false; }
  std::optional<int32_t> TokenToId(absl::string_view) const override { return std::nullopt; }
  int32_t vocab_size() const override { return kVocab; }
  std::optional<int32_t> bos_token_id() const override { return kBos; }
  std::optional<int32_t> eos_token_id() const override { return std::nullopt; }
  const std::string& chat_template() const override { return chat_template_; }
  bool strips_leading_space() const override { return true; }

 private:
  const std::string chat_template_;
};

class OriginalPlaceholder : public ::testing::Test {
 protected:
  OriginalPlaceholder()
      : builder_({.context_length = 4096,
                  .vocab_size = kVocab,
                  .image = PromptImageOptions{kImage, kRows, 4}},
                 std::make_unique<DummyPrefixTokenizer>(), MakeLlavaV1Template(),
                 std::make_unique<const ImageResolver>(
                     CreateInProcessImageDecoder({}),
                     std::make_unique<const ImageProcessor>(ImageProcessorConfig{}), &store_)) {
    std::ifstream file(PREFIXD_SOURCE_DIR "/tests/golden/vision/source_61x43.png",
                       std::ios::binary);
    picture_.bytes = std::string(std::istreambuf_iterator<char>(file), {});
  }

  absl::StatusOr<Prompt> Build(const Input& input) {
    return builder_.Build({.input = input, .tenant = "t"}, ImageWork::kDecode);
  }

  ImageStore store_{1 << 24};
  PromptBuilder builder_;
  ImagePart picture_;
};

TEST_F(OriginalPlaceholder, EveryStretchHasItsOwnDummyAndTheFirstBos) {
  const auto prompt =
      Build(PromptInput{{TextPart{"a"}, TextPart{"b"}, picture_, TextPart{"c"}, picture_}});
  ASSERT_TRUE(prompt.ok()) << prompt.status();
  EXPECT_THAT(prompt->token_ids,
              ElementsAre(kBos, kDummy, 'a', 'b', kImage, kImage, kDummy, 'c', kImage, kImage));
  ASSERT_EQ(prompt->images.size(), 2u);
  EXPECT_EQ(prompt->images[0].row_begin, 4);
  EXPECT_EQ(prompt->images[1].row_begin, 8);
}

TEST_F(OriginalPlaceholder, AnImageInFrontComesBehindBos) {
  const auto prompt = Build(PromptInput{{picture_, TextPart{"<image>"}}});
  ASSERT_TRUE(prompt.ok()) << prompt.status();
  EXPECT_THAT(prompt->token_ids,
              ElementsAre(kBos, kImage, kImage, kDummy, '<', 'i', 'm', 'a', 'g', 'e', '>'));
}

TEST_F(OriginalPlaceholder, ChatsSplitAtTheirImages) {
  const auto prompt = Build(ChatInput{{{Role::kUser, {picture_, TextPart{"Hi"}}}}});
  ASSERT_TRUE(prompt.ok()) << prompt.status();
  const std::vector<int32_t>& ids = prompt->token_ids;
  ASSERT_EQ(prompt->images.size(), 1u);
  const size_t image = static_cast<size_t>(prompt->images[0].row_begin);
  EXPECT_EQ(ids[0], kBos);
  EXPECT_EQ(ids[1], kDummy);
  EXPECT_EQ(ids[image - 1], ' ');
  EXPECT_EQ(ids[image + kRows], kDummy);
  EXPECT_EQ(ids[image + kRows + 1], '\n');
}

TEST_F(OriginalPlaceholder, TokensMayNameIt) {
  const auto prompt = Build(TokenInput{{kBos, kImage, 'x'}, {picture_}});
  ASSERT_TRUE(prompt.ok()) << prompt.status();
  EXPECT_THAT(prompt->token_ids, ElementsAre(kBos, kImage, kImage, 'x'));
  const absl::Status beyond = Build(TokenInput{{kBos, kImage + 1}}).status();
  EXPECT_THAT(std::string(beyond.message()), HasSubstr("token id 301"));
  EXPECT_FALSE(Build(TokenInput{{kBos, kImage}}).ok());
}

}  // namespace
}  // namespace prefixd
