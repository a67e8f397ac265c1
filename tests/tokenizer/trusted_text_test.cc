#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/tokenizer/tokenizer_files.h"

namespace prefixd {
namespace {

using testing::ElementsAre;

constexpr int32_t kEos = 2;
constexpr int32_t kImage = 566;

std::vector<int32_t> Encode(const Tokenizer& tokenizer, std::vector<TextSpan> spans) {
  const auto ids = tokenizer.Encode(spans, /*add_special_tokens=*/false);
  return ids.ok() ? *ids : std::vector<int32_t>{-1};
}

TEST(TrustedText, HoldsSpecialTokens) {
  const auto tokenizer = LoadGolden("demo");
  EXPECT_THAT(Encode(*tokenizer, {{"</s><image>", true}}), ElementsAre(kEos, kImage));
}

TEST(TrustedText, IsNotWhatAUserTyped) {
  const auto tokenizer = LoadGolden("demo");
  const auto ids = Encode(*tokenizer, {{"</s> <image> [INST] <|im_end|>", false}});
  EXPECT_THAT(ids, testing::Each(testing::AllOf(testing::Ne(kEos), testing::Ne(kImage))));
  EXPECT_EQ(tokenizer->Decode(ids, true), "</s> <image> [INST] <|im_end|>");
}

TEST(TrustedText, DoesNotGrowASpecialTokenFromASeam) {
  const auto tokenizer = LoadGolden("demo");
  const auto across = Encode(*tokenizer, {{"<ima", false}, {"ge>", true}});
  EXPECT_EQ(across, Encode(*tokenizer, {{"<image>", false}}));
  EXPECT_EQ(Encode(*tokenizer, {{"<ima", true}, {"ge>", true}}), across);
}

TEST(TrustedText, KeepsItsTokensBesideWhatAUserTyped) {
  const auto tokenizer = LoadGolden("demo");
  const auto ids = Encode(*tokenizer, {{"</s", false}, {"</s>", true}, {">", false}});
  EXPECT_EQ(std::count(ids.begin(), ids.end(), kEos), 1);
}

TEST(TrustedText, IsOneTextWithItsNeighbours) {
  const auto tokenizer = LoadGolden("demo");
  EXPECT_EQ(Encode(*tokenizer, {{"the cir", true}, {"cle is", false}, {" red", true}}),
            Encode(*tokenizer, {{"the circle is red", true}}));
}

TEST(TrustedText, LeavesOrdinaryAddedTokensToEverybody) {
  const auto tokenizer = LoadGolden("gpt2");
  const std::optional<int32_t> word = tokenizer->TokenToId("word");
  ASSERT_TRUE(word.has_value());
  EXPECT_THAT(Encode(*tokenizer, {{"word", false}}), ElementsAre(*word));
}

TEST(Tokenizer, RefusesTextThatIsNotUtf8) {
  const auto tokenizer = LoadGolden("demo");
  EXPECT_EQ(tokenizer->Encode({{"a\xFF", true}}, false).status().code(),
            absl::StatusCode::kInvalidArgument);
}

TEST(Tokenizer, KnowsTheDemosTokens) {
  const auto tokenizer = LoadGolden("demo");
  EXPECT_EQ(tokenizer->vocab_size(), 568);
  EXPECT_EQ(tokenizer->bos_token_id(), 1);
  EXPECT_EQ(tokenizer->eos_token_id(), 2);
  EXPECT_EQ(tokenizer->TokenToId("<image>"), kImage);
  EXPECT_TRUE(tokenizer->IsSpecial(kImage));
  EXPECT_FALSE(tokenizer->IsSpecial(300));
  EXPECT_EQ(tokenizer->TokenBytes(kImage), "<image>");
  EXPECT_EQ(tokenizer->TokenBytes(13), "\n");
  EXPECT_TRUE(tokenizer->IsByteToken(13));
  EXPECT_FALSE(tokenizer->IsByteToken(300));
  EXPECT_EQ(tokenizer->TokenBytes(568), "");
  EXPECT_EQ(tokenizer->TokenBytes(-1), "");
  EXPECT_TRUE(tokenizer->strips_leading_space());
  EXPECT_NE(tokenizer->chat_template().find("ASSISTANT:"), std::string::npos);
}

}  // namespace
}  // namespace prefixd
