// Against scikit-learn (tests/golden/make/classification.py), and by hand.
#include "tools/classification_metrics.h"

#include <algorithm>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "base/json.h"

namespace prefixd {
namespace {

using nlohmann::json;
using ::testing::ElementsAre;
using ::testing::Pair;

json Golden() {
  return ReadJsonFile(PREFIXD_SOURCE_DIR "/tests/golden/classification.json", 1 << 20).value();
}

TEST(ClassificationMetrics, EqualScikitLearnOnRankings) {
  const json golden = Golden();
  ASSERT_EQ(golden["rankings"].size(), 3u);
  for (const json& ranking : golden["rankings"]) {
    const auto labels = ranking["labels"].get<std::vector<int32_t>>();
    const auto scores = ranking["scores"].get<std::vector<std::vector<double>>>();
    std::vector<int32_t> ranks, predicted;
    for (size_t i = 0; i < labels.size(); ++i) {
      ranks.push_back(RankOf(scores[i], labels[i]));
      predicted.push_back(static_cast<int32_t>(
          std::max_element(scores[i].begin(), scores[i].end()) - scores[i].begin()));
    }
    EXPECT_DOUBLE_EQ(TopAccuracy(ranks, 1), ranking["accuracy"].get<double>());
    for (const auto& [k, accuracy] : ranking["top"].items()) {
      EXPECT_DOUBLE_EQ(TopAccuracy(ranks, std::stoi(k)), accuracy.get<double>()) << k;
    }
    const auto confusion = ranking["confusion"].get<std::vector<std::vector<size_t>>>();
    for (const ClassOutcome& outcome : OutcomesByClass(labels, predicted)) {
      std::vector<size_t> row(confusion.size());
      row[static_cast<size_t>(outcome.label)] = outcome.correct;
      for (const auto& [label, count] : outcome.mistaken_for) {
        row[static_cast<size_t>(label)] = count;
      }
      EXPECT_EQ(row, confusion[static_cast<size_t>(outcome.label)]) << outcome.label;
    }
  }
}

TEST(ClassificationMetrics, RocAucEqualsScikitLearn) {
  const json golden = Golden();
  ASSERT_EQ(golden["curves"].size(), 5u);
  for (const json& curve : golden["curves"]) {
    const auto auc = RocAuc(curve["scores"].get<std::vector<double>>(),
                            curve["positive"].get<std::vector<uint8_t>>());
    ASSERT_TRUE(auc.has_value());
    EXPECT_NEAR(*auc, curve["roc_auc"].get<double>(), 1e-12);
  }
}

TEST(ClassificationMetrics, RocAucIsTheShareOfPairsInOrder) {
  // Positives 0.9 and 0.5, negatives 0.5 and 0.1: three pairs in order, one ties.
  EXPECT_EQ(RocAuc({0.9, 0.5, 0.5, 0.1}, {1, 1, 0, 0}), 3.5 / 4);
  EXPECT_EQ(RocAuc({0.1, 0.9}, {1, 0}), 0.0);
  EXPECT_EQ(RocAuc({0.1, 0.9}, {1, 1}), std::nullopt);
  EXPECT_EQ(RocAuc({}, {}), std::nullopt);
}

TEST(ClassificationMetrics, EqualScoresRankByIndex) {
  EXPECT_EQ(RankOf({-1, -2, -1, -3}, 0), 1);
  EXPECT_EQ(RankOf({-1, -2, -1, -3}, 2), 2);
  EXPECT_EQ(RankOf({-1, -2, -1, -3}, 1), 3);
  EXPECT_EQ(MeanRank({1, 2, 4}), 7.0 / 3);
}

TEST(ClassificationMetrics, TheWorstClassComesFirst) {
  const std::vector<ClassOutcome> outcomes =
      OutcomesByClass({0, 0, 2, 2, 2, 2, 3, 3, 3}, {0, 0, 1, 0, 0, 2, 5, 5, 3});
  ASSERT_EQ(outcomes.size(), 3u);
  EXPECT_EQ(outcomes[0].label, 2);
  EXPECT_EQ(outcomes[0].samples, 4u);
  EXPECT_EQ(outcomes[0].correct, 1u);
  EXPECT_THAT(outcomes[0].mistaken_for, ElementsAre(Pair(0, 2u), Pair(1, 1u)));
  EXPECT_EQ(outcomes[1].label, 3);
  EXPECT_EQ(outcomes[2].accuracy(), 1.0);
}

}  // namespace
}  // namespace prefixd
