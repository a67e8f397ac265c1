// ROUGE-L against the Python package (tests/golden/make/rouge.py), and by hand.
#include "tools/rouge.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "base/json.h"

namespace prefixd {
namespace {

TEST(Rouge, EqualsThePackageOnFiveHundredPairs) {
  const nlohmann::json rows =
      ReadJsonFile(PREFIXD_SOURCE_DIR "/tests/golden/rouge.json", 1 << 20).value();
  ASSERT_EQ(rows.size(), 500u);
  for (size_t i = 0; i < rows.size(); ++i) {
    const RougeScore score = RougeL(rows[i]["candidate"].get_ref<const std::string&>(),
                                    rows[i]["reference"].get_ref<const std::string&>());
    EXPECT_EQ(score.f, rows[i]["f"].get<double>()) << "pair " << i;
    EXPECT_EQ(score.recall, rows[i]["r"].get<double>()) << "pair " << i;
    EXPECT_EQ(score.precision, rows[i]["p"].get<double>()) << "pair " << i;
  }
}

// F of an overlap, by the definition.
double F(double overlap, double candidate, double reference) {
  const double p = overlap / candidate, r = overlap / reference;
  return 2.0 * ((p * r) / (p + r + 1e-8));
}

TEST(Rouge, CountsDistinctWordsOfTheLongestCommonSubsequence) {
  EXPECT_EQ(RougeL("the cat sat", "the cat sat").f, F(3, 3, 3));
  EXPECT_EQ(RougeL("a x b", "a b").f, F(2, 3, 2));
  EXPECT_EQ(RougeL("b a", "a b").f, F(1, 2, 2)) << "order counts";
  EXPECT_EQ(RougeL("a a a", "a").f, F(1, 1, 1)) << "repeated words count once";
  EXPECT_EQ(RougeL("The", "the").f, 0.0) << "case counts";
  EXPECT_EQ(RougeL("cat,", "cat").f, 0.0) << "punctuation stays at its word";
}

TEST(Rouge, UnitesWhatEverySentenceHasInCommon) {
  // Of "a b c" the first candidate sentence has a, the second c.
  EXPECT_EQ(RougeL("a x. c y", "a b c").f, F(2, 4, 3));
}

TEST(Rouge, SplitsSentencesAtDotsAndWordsAtWhiteSpace) {
  EXPECT_EQ(RougeL("a.b", "a. b.").f, F(2, 2, 2));
  EXPECT_EQ(RougeL("a\n\tb", " a  b ").f, F(2, 2, 2));
  EXPECT_EQ(RougeL("a\u3000b\u00a0c", "a b c").f, F(3, 3, 3)) << "as Python's str.split()";
  EXPECT_EQ(RougeL("a\u200bb", "a b").f, 0.0) << "a zero width space is none";
}

TEST(Rouge, ASentenceOfSpacesIsTheEmptyWord) {
  EXPECT_EQ(RougeL("a. .", "a").f, F(1, 2, 1));
  EXPECT_EQ(RougeL(" ", "a. .").f, F(1, 1, 2));
}

TEST(Rouge, TextsWithoutASentenceScoreNothing) {
  EXPECT_EQ(RougeL("", "a").f, 0.0);
  EXPECT_EQ(RougeL("a", "").f, 0.0);
  EXPECT_EQ(RougeL("...", "a").f, 0.0);
  EXPECT_EQ(RougeL("", "").f, 0.0);
}

}  // namespace
}  // namespace prefixd
