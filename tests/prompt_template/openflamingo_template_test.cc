// The prompts of the reference's evaluations (its prompt functions, joined as its scripts do).
#include "engine/prompt/openflamingo_template.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"

#include "engine/prompt/prompt_builder.h"
#include "tools/random_model.h"

namespace prefixd {
namespace {

using ::testing::HasSubstr;

ChatMessage User(std::vector<Part> parts) { return {Role::kUser, std::move(parts)}; }
ChatMessage Answer(const std::string& text) { return {Role::kAssistant, {TextPart{text}}}; }
const ImagePart kImagePart{"bytes"};

std::string TextOf(const std::vector<PromptPiece>& pieces) {
  std::string text;
  for (const PromptPiece& piece : pieces) {
    text += piece.kind == PromptPiece::Kind::kImage ? "<image>" : piece.text;
  }
  return text;
}

std::string Rendered(absl::Span<const ChatMessage> messages) {
  const auto pieces = MakeOpenFlamingoTemplate()->Render(messages);
  EXPECT_TRUE(pieces.ok()) << pieces.status();
  return pieces.ok() ? TextOf(*pieces) : "";
}

TEST(OpenFlamingoTemplate, RendersFewShotPrompts) {
  // The README's.
  EXPECT_EQ(Rendered({User({kImagePart}), Answer("An image of two cats."), User({kImagePart}),
                      Answer("An image of a bathroom sink."),
                      User({kImagePart, TextPart{"An image of"}})}),
            "<image>An image of two cats.<|endofchunk|><image>An image of a bathroom sink."
            "<|endofchunk|><image>An image of");
  // Captions: a line feed behind every demonstration.
  EXPECT_EQ(Rendered({User({kImagePart, TextPart{"Output:"}}), Answer("a cat"),
                      User({TextPart{"\n"}, kImagePart, TextPart{"Output:"}})}),
            "<image>Output:a cat<|endofchunk|>\n<image>Output:");
  EXPECT_EQ(
      Rendered({User({kImagePart, TextPart{"Question:Is it?"}, TextPart{" Short answer:"}}),
                Answer("yes"), User({kImagePart, TextPart{"Question:Was it? Short answer:"}})}),
      "<image>Question:Is it? Short answer:yes<|endofchunk|>"
      "<image>Question:Was it? Short answer:");
  // Without shots: two demonstrations without their images.
  EXPECT_EQ(Rendered({User({TextPart{"Output:"}}), Answer("a"), User({TextPart{"Output:"}}),
                      Answer("b"), User({kImagePart, TextPart{"Output:"}})}),
            "Output:a<|endofchunk|>Output:b<|endofchunk|><image>Output:");
}

// What the caller says is one piece with what was answered: the reference cuts the whole text into
// tokens at once.
TEST(OpenFlamingoTemplate, KeepsQuestionAndAnswerTogether) {
  const auto pieces = MakeOpenFlamingoTemplate()->Render(
      {User({TextPart{"Output:"}}), Answer("a cat"), User({kImagePart})});
  ASSERT_TRUE(pieces.ok());
  ASSERT_EQ(pieces->size(), 3u);
  EXPECT_EQ((*pieces)[0].kind, PromptPiece::Kind::kUser);
  EXPECT_EQ((*pieces)[0].text, "Output:a cat");
  EXPECT_EQ((*pieces)[1].kind, PromptPiece::Kind::kTemplate);
  EXPECT_EQ((*pieces)[1].text, "<|endofchunk|>");
  EXPECT_EQ((*pieces)[2].kind, PromptPiece::Kind::kImage);
}

TEST(OpenFlamingoTemplate, RefusesWhatIsNoPrompt) {
  const auto expect_refused = [](absl::Span<const ChatMessage> messages, const char* field) {
    const absl::Status status = MakeOpenFlamingoTemplate()->Render(messages).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(status.message()), HasSubstr(field));
  };
  const ChatMessage user = User({TextPart{"Hi"}});
  expect_refused({{Role::kSystem, {TextPart{"Be kind."}}}, user}, "messages[0]");
  expect_refused({user, {Role::kAssistant, {kImagePart}}, user}, "messages[1]");
  expect_refused({user, Answer("a")}, "messages[1]");
  expect_refused({}, "messages[0]");
}

// --- Ids, with one placeholder an image

constexpr int32_t kFirstByte = 5, kChunk = 2, kImage = 3;

class OpenFlamingoPrompt : public ::testing::Test {
 protected:
  OpenFlamingoPrompt() {
    std::string path = (std::filesystem::temp_directory_path() / "prefixd_XXXXXX").string();
    directory_ = ::mkdtemp(path.data());
    const RandomModelShape& shape = TinyOpenFlamingo();
    EXPECT_TRUE(shape.family->write_files(shape, DType::kF32, directory_).ok());
    auto processor = ImageProcessor::Load(directory_, 28);
    EXPECT_TRUE(processor.ok()) << processor.status();
    builder_ = std::make_unique<PromptBuilder>(
        PromptBuilderOptions{
            .context_length = 1024, .vocab_size = 320, .image = PromptImageOptions{kImage, 1, 8}},
        *Tokenizer::Load(directory_), MakeOpenFlamingoTemplate(),
        std::make_unique<const ImageResolver>(
            CreateInProcessImageDecoder({}),
            std::make_unique<const ImageProcessor>(*std::move(processor)), &store_));
  }
  ~OpenFlamingoPrompt() override { std::filesystem::remove_all(directory_); }

  absl::StatusOr<Prompt> Build(const Input& input) {
    return builder_->Build({.input = input, .tenant = "t"}, ImageWork::kDecode);
  }

  std::string directory_;
  ImageStore store_{1 << 20};
  std::unique_ptr<PromptBuilder> builder_;
};

std::string Picture() {
  std::ifstream file(PREFIXD_SOURCE_DIR "/tests/golden/vision/source_61x43.png", std::ios::binary);
  return std::string(std::istreambuf_iterator<char>(file), {});
}

TEST_F(OpenFlamingoPrompt, AnImageIsOneRow) {
  const ImagePart picture{Picture()};
  const auto prompt = Build(ChatInput{{User({TextPart{"a"}, picture, TextPart{"b"}}), Answer("c"),
                                       User({picture, picture, TextPart{"d"}})}});
  ASSERT_TRUE(prompt.ok()) << prompt.status();
  const auto byte = [](char c) { return kFirstByte + c; };
  const std::vector<int32_t> expected = {byte('a'), kImage, byte('b'), byte('c'),
                                         kChunk,    kImage, kImage,    byte('d')};
  EXPECT_EQ(prompt->token_ids, expected);
  ASSERT_EQ(prompt->images.size(), 3u);
  const int rows[] = {1, 5, 6};
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(prompt->images[i].row_begin, rows[i]);
    EXPECT_EQ(prompt->images[i].num_rows, 1);
  }
}

TEST_F(OpenFlamingoPrompt, SpecialTokensThatAreTypedStayPlain) {
  const auto prompt = Build(ChatInput{{User({TextPart{"<image><|endofchunk|>"}})}});
  ASSERT_TRUE(prompt.ok()) << prompt.status();
  EXPECT_EQ(prompt->token_ids.size(), 21u);
  EXPECT_TRUE(prompt->images.empty());
}

TEST_F(OpenFlamingoPrompt, RefusesOtherNumbersOfImagesAndPlaceholders) {
  const ImagePart picture{Picture()};
  for (const auto& input :
       {TokenInput{{65, kImage, kImage, 70}, {picture}},
        TokenInput{{65, kImage}, {picture, picture}}, TokenInput{{65, kImage}}}) {
    const absl::Status status = Build(input).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(status.message()), HasSubstr("placeholders"));
  }
  EXPECT_TRUE(Build(TokenInput{{65, kImage, kImage, 70}, {picture, picture}}).ok());
}

}  // namespace
}  // namespace prefixd
