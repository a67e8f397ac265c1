// Ids of transformers' tokenizer for "<image><bos>" + text + "\n", and how answers with locations
// are streamed.
#include "engine/prompt/paligemma_template.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <string>
#include <vector>

#include "engine/text_streamer.h"
#include "engine/tokenizer/tokenizer.h"
#include "tools/random_model.h"

namespace prefixd {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr int32_t kBos = 1, kEos = 2, kImage = 3, kLineFeed = 15, kLocation3 = 264;

class PaliGemmaTemplate : public ::testing::Test {
 protected:
  PaliGemmaTemplate() {
    std::string path = (std::filesystem::temp_directory_path() / "prefixd_XXXXXX").string();
    directory_ = ::mkdtemp(path.data());
    EXPECT_TRUE(WriteFiles(directory_).ok());
    tokenizer_ = *Tokenizer::Load(directory_);
  }
  ~PaliGemmaTemplate() override { std::filesystem::remove_all(directory_); }

  static absl::Status WriteFiles(const std::string& directory) {
    const RandomModelShape& shape = TinyPaliGemma();
    return shape.family->write_files(shape, DType::kF32, directory);
  }

  // As the prompt builder makes them, the placeholder not expanded.
  std::vector<int32_t> Ids(const ChatMessage& message) const {
    const auto chat = MakePaliGemmaTemplate();
    const auto pieces = chat->Render({message});
    EXPECT_TRUE(pieces.ok()) << pieces.status();
    std::vector<TextSpan> spans;
    for (const PromptPiece& piece : *pieces) {
      if (piece.kind == PromptPiece::Kind::kImage) {
        spans.push_back({"<image>", true});
      } else {
        spans.push_back({piece.text, piece.kind == PromptPiece::Kind::kTemplate});
      }
    }
    return *tokenizer_->Encode(spans, chat->add_special_tokens());
  }

  std::string directory_;
  std::unique_ptr<const Tokenizer> tokenizer_;
};

TEST_F(PaliGemmaTemplate, PutsThePictureBeforeBosAndALineFeedBehindTheText) {
  const std::vector<int32_t> expected = {kImage, kBos, 104, 102, 117, kLineFeed};  // "cap"
  EXPECT_EQ(Ids({Role::kUser, {ImagePart{"bytes"}, TextPart{"cap"}}}), expected);
  EXPECT_EQ(Ids({Role::kUser, {TextPart{"c"}, ImagePart{"bytes"}, TextPart{"ap"}}}), expected);
}

TEST_F(PaliGemmaTemplate, TakesAPromptWithoutPictureOrWithoutText) {
  EXPECT_THAT(Ids({Role::kUser, {TextPart{"a"}}}), ElementsAre(kBos, 102, kLineFeed));
  EXPECT_THAT(Ids({Role::kUser, {ImagePart{"bytes"}}}), ElementsAre(kImage, kBos, kLineFeed));
}

TEST_F(PaliGemmaTemplate, KeepsSpecialTokensOfTheUserPlain) {
  const std::vector<int32_t> ids = Ids({Role::kUser, {TextPart{"<bos><eos><image>"}}});
  ASSERT_EQ(ids.size(), 2 + 17u);
  for (size_t i = 1; i + 1 < ids.size(); ++i) {
    EXPECT_GE(ids[i], 5);
    EXPECT_LT(ids[i], 261);
  }
}

// An added token that is not special is a word as any other, in a question too.
TEST_F(PaliGemmaTemplate, ReadsALocationInAQuestionAsItsToken) {
  EXPECT_THAT(Ids({Role::kUser, {TextPart{"<loc0003>"}}}),
              ElementsAre(kBos, kLocation3, kLineFeed));
}

TEST_F(PaliGemmaTemplate, AnswersAreStreamedWithTheirLocations) {
  TextStreamer streamer(tokenizer_.get(), {});
  std::string text;
  for (const int32_t id : {264, 268, 262, 261, 37, 120, 109, 277, kEos}) text += streamer.Push(id);
  text += streamer.Finish();
  EXPECT_EQ(text, "<loc0003><loc0007><loc0001><loc0000> sh<seg000>");
}

TEST(PaliGemmaTemplateRefusals, NameTheMessage) {
  const ChatMessage user{Role::kUser, {TextPart{"Hi"}}};
  const auto expect_refused = [](absl::Span<const ChatMessage> messages, const char* field) {
    const absl::Status status = MakePaliGemmaTemplate()->Render(messages).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(status.message()), HasSubstr(field));
  };
  expect_refused({}, "messages[0]");
  expect_refused({{Role::kSystem, {TextPart{"Be kind."}}}, user}, "messages[0]");
  expect_refused({{Role::kAssistant, {TextPart{"Yes"}}}}, "messages[0]");
  expect_refused({user, {Role::kAssistant, {TextPart{"Yes"}}}, user}, "messages[1]");
  expect_refused({user, user}, "messages[1]");
}

}  // namespace
}  // namespace prefixd
