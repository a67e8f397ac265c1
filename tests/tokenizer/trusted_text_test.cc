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

class EveryKind : public testing::TestWithParam<const char*> {};

TEST_P(EveryKind, FindsSpecialTokensInTrustedTextOnly) {
  const auto tokenizer = LoadGolden(GetParam());
  ASSERT_NE(tokenizer, nullptr);
  const std::optional<int32_t> unknown = tokenizer->TokenToId("<unk>");
  int count = 0;
  for (int32_t id = 0; id < tokenizer->vocab_size(); ++id) {
    if (!tokenizer->IsSpecial(id)) continue;
    ++count;
    const std::string content = tokenizer->TokenBytes(id);
    EXPECT_THAT(Encode(*tokenizer, {{content, true}}), testing::Contains(id)) << content;
    for (const std::string& text : {content, "a" + content + " b", content + content}) {
      const std::vector<int32_t> ids = Encode(*tokenizer, {{text, false}});
      EXPECT_FALSE(ids.empty());
      for (const int32_t got : ids) {
        EXPECT_TRUE(got == unknown || !tokenizer->IsSpecial(got)) << text << " gave " << got;
      }
    }
  }
  EXPECT_GE(count, 2);
}

INSTANTIATE_TEST_SUITE_P(Kinds, EveryKind, testing::ValuesIn(GoldenKinds()),
                         [](const auto& info) { return std::string(info.param); });

// A model whose merges, characters and whole words spell special tokens.
TEST(TrustedText, HidesSpecialTokensFromTheModel) {
  for (const char* ignore_merges : {"false", "true"}) {
    const auto tokenizer = TokenizerDirectory()
                               .Write("tokenizer.json", absl::StrCat(R"({"added_tokens": [
                {"id": 3, "content": "ab", "special": true, "normalized": false},
                {"id": 2, "content": "c", "special": true, "normalized": false}],
                "decoder": {"type": "Fuse"}, "model": {"type": "BPE", "unk_token": "u",
                "vocab": {"a": 0, "b": 1, "c": 2, "ab": 3, "u": 4}, "merges": ["a b"],
                "ignore_merges": )",
                                                                     ignore_merges, "}}"))
                               .Load();
    ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
    EXPECT_THAT(Encode(**tokenizer, {{"ab", true}, {"c", true}}), ElementsAre(3, 2));
    EXPECT_THAT(Encode(**tokenizer, {{"ab", false}}), ElementsAre(0, 1));
    EXPECT_THAT(Encode(**tokenizer, {{"cab", false}}), ElementsAre(4, 0, 1));
  }
}

TEST(TrustedText, HidesControlPiecesThatSplitsWouldSpell) {
  GgufVocabulary vocabulary{.model = "llama"};
  vocabulary.tokens = {"<unk>", "a", "b", "ab", "c", "abc"};
  vocabulary.scores = {0, -4, -5, -1, -6, -2};
  vocabulary.types = {2, 1, 1, 3, 3, 1};
  vocabulary.add_bos = false;
  vocabulary.add_space_prefix = false;
  const auto tokenizer = TokenizerFromGguf(vocabulary, "m.gguf");
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
  EXPECT_THAT(Encode(**tokenizer, {{"ab", true}, {"c", true}}), ElementsAre(3, 4));
  EXPECT_THAT(Encode(**tokenizer, {{"abab", false}}), ElementsAre(1, 2, 1, 2));
  EXPECT_THAT(Encode(**tokenizer, {{"c", false}}), ElementsAre(0));
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
