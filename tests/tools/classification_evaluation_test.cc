#include "tools/classification_evaluation.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "tests/tools/folder.h"
#include "tests/tools/scripted_classifier.h"

namespace prefixd {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::SizeIs;

// Six pictures; a picture's bytes are the name that the model sees on it.
class ClassificationEvaluation : public ::testing::Test {
 protected:
  ClassificationEvaluation() : classifier_([this](const ClassQuery& query) { return See(query); }) {
    data_.names = {"ant", "bee", "cat"};
    const std::pair<const char*, int32_t> seen[] = {{"ant", 0}, {"bee", 1}, {"bee", 0},
                                                    {"cat", 2}, {"ant", 1}, {"cat", 2}};
    for (const auto& [bytes, label] : seen) {
      const std::string name = absl::StrCat(data_.samples.size(), ".png");
      data_.samples.push_back({.id = name,
                               .image = folder_.Write(name, bytes),
                               .text = absl::StrCat("text ", name),
                               .label = data_.names[static_cast<size_t>(label)]});
      data_.labels.push_back(label);
    }
    request_.class_set = "classSets/x";
    request_.top_k = 3;
    request_.all_scores = true;
  }

  absl::StatusOr<std::vector<double>> See(const ClassQuery& query) {
    if (query.image->bytes == broken_) return absl::InvalidArgumentError("is broken");
    std::vector<double> scores;
    for (const std::string& name : data_.names) {
      scores.push_back(name == query.image->bytes ? -0.5 : -1.0 - 0.25 * (name[0] - 'a'));
    }
    return scores;
  }

  absl::StatusOr<ClassificationResults> Open(const std::string& mode = "packed",
                                             bool restart = false) {
    return ClassificationResults::Open(folder_.path(), {{"model", "m"}, {"mode", mode}},
                                       data_.labels, data_.names.size(), restart);
  }
  absl::Status Rank(ClassificationResults* results, absl::Span<const size_t> order,
                    int32_t in_flight = 2) {
    return RankAll(data_, order, request_, in_flight, &classifier_, results,
                   [this](size_t done, size_t) { progress_.push_back(done); });
  }

  const testing::Folder folder_;
  ClassificationData data_;
  ClassifyRequest request_;
  std::string broken_ = "nothing";
  testing::ScriptedClassifier classifier_;
  std::vector<size_t> progress_;
  const std::vector<size_t> all_ = {5, 0, 3, 1, 4, 2};
};

TEST_F(ClassificationEvaluation, CountsWhatIsRight) {
  auto results = Open();
  ASSERT_TRUE(results.ok()) << results.status();
  ASSERT_EQ(Rank(&*results, all_), absl::OkStatus());
  EXPECT_THAT(progress_, ElementsAre(0, 1, 2, 3, 4, 5, 6));
  EXPECT_LE(classifier_.most_in_flight(), 2);
  ASSERT_THAT(classifier_.requests(), SizeIs(6));
  const ClassifyRequest& first = classifier_.requests()[0];
  EXPECT_EQ(first.class_set, "classSets/x");
  EXPECT_EQ(std::get<ClassQuery>(first.context).image->bytes, "cat");
  EXPECT_EQ(std::get<ClassQuery>(first.context).text, "text 5.png");

  const ClassificationSummary summary = Summarise(data_, all_, *results);
  EXPECT_EQ(summary.samples, 6u);
  EXPECT_DOUBLE_EQ(summary.top1, 4.0 / 6);
  EXPECT_EQ(summary.top5, 1.0);
  EXPECT_DOUBLE_EQ(summary.mean_rank, (1 + 1 + 2 + 1 + 2 + 1) / 6.0);
  EXPECT_EQ(summary.roc_auc, std::nullopt);
  ASSERT_THAT(summary.outcomes, SizeIs(3));
  EXPECT_EQ(summary.outcomes[2].label, 2);
  EXPECT_EQ(summary.total.median, 12.0);
  EXPECT_EQ(summary.sums.prompt_tokens, 60);
  EXPECT_EQ(summary.sums.saved_rows, 42);
}

TEST_F(ClassificationEvaluation, TwoNamesHaveACurve) {
  data_.names = {"bee", "ant"};  // Positive: "bee", the last in byte order.
  for (int32_t& label : data_.labels) label = label == 1 ? 0 : 1;
  auto results = Open();
  ASSERT_TRUE(results.ok()) << results.status();
  ASSERT_EQ(Rank(&*results, all_), absl::OkStatus());
  // What is seen as "bee" has the larger probability of it; of two positives one is (1), of four
  // negatives one is (2), two cats lie between two ants.
  const double p_cat = results->records().at(3).positive.value();
  EXPECT_NEAR(p_cat, std::exp(-1.25) / (std::exp(-1.25) + std::exp(-1.0)), 1e-12);
  EXPECT_GT(results->records().at(1).positive.value(), 0.5);
  // Pairs of (1) with ants and cats: 3 in order, with (2) a tie; of (4): with ant 0 a tie.
  EXPECT_DOUBLE_EQ(Summarise(data_, all_, *results).roc_auc.value(), (3 + 0.5 + 0.5) / 8);
}

TEST_F(ClassificationEvaluation, ASecondRunComputesOnlyWhatIsMissing) {
  {
    auto results = Open();
    ASSERT_TRUE(results.ok()) << results.status();
    ASSERT_EQ(Rank(&*results, {5, 0}), absl::OkStatus());
  }
  folder_.Write("results.jsonl", folder_.Read("results.jsonl") + "{\"sample\": 3, \"la");
  progress_.clear();
  auto results = Open();
  ASSERT_TRUE(results.ok()) << results.status();
  EXPECT_THAT(results->records(), SizeIs(2));
  ASSERT_EQ(Rank(&*results, all_), absl::OkStatus());
  EXPECT_THAT(classifier_.requests(), SizeIs(6));
  EXPECT_THAT(progress_, ElementsAre(2, 3, 4, 5, 6));
  EXPECT_DOUBLE_EQ(Summarise(data_, all_, *results).top1, 4.0 / 6);
  const std::vector<std::string> lines = absl::StrSplit(folder_.Read("results.jsonl"), '\n');
  EXPECT_THAT(lines, SizeIs(7));
}

TEST_F(ClassificationEvaluation, RecordsReadBackAsTheyWere) {
  std::map<size_t, ClassificationRecord> written;
  {
    auto results = Open();
    ASSERT_EQ(Rank(&*results, all_), absl::OkStatus());
    written = results->records();
  }
  const auto results = Open();
  ASSERT_TRUE(results.ok()) << results.status();
  ASSERT_EQ(results->records().size(), written.size());
  for (const auto& [sample, record] : results->records()) {
    EXPECT_EQ(record.id, written[sample].id);
    EXPECT_EQ(record.rank, written[sample].rank);
    EXPECT_EQ(record.top, written[sample].top);
    EXPECT_EQ(record.top_scores, written[sample].top_scores);
    EXPECT_EQ(record.label_score, written[sample].label_score);
    EXPECT_EQ(record.total_ms, written[sample].total_ms);
    EXPECT_EQ(record.computed_rows, written[sample].computed_rows);
  }
}

TEST_F(ClassificationEvaluation, OtherSettingsAreRefusedWithBothValues) {
  {
    auto results = Open();
    EXPECT_THAT(Open().status().message(), HasSubstr("another evaluation has it open"));
    ASSERT_EQ(Rank(&*results, {1}), absl::OkStatus());
  }
  EXPECT_THAT(
      Open("uncached").status().message(),
      HasSubstr("settings.json: was begun with mode \"packed\", this run has \"uncached\""));
  EXPECT_THAT(Open()->records(), SizeIs(1));
  EXPECT_THAT(Open("uncached", /*restart=*/true)->records(), SizeIs(0));
  EXPECT_TRUE(Open("uncached").ok());
}

TEST_F(ClassificationEvaluation, WrongLinesAreNamed) {
  std::string line;
  {
    auto results = Open();
    ASSERT_EQ(Rank(&*results, {1}), absl::OkStatus());
    line = folder_.Read("results.jsonl");
  }
  const auto error = [&](const std::string& text) {
    folder_.Write("results.jsonl", text);
    return std::string(Open().status().message());
  };
  EXPECT_THAT(error(line + line), HasSubstr("line 2: sample 1 is there twice"));
  EXPECT_THAT(error("{}\n"), HasSubstr("line 1: sample is no integer in [0, 5]"));
  EXPECT_THAT(error("nonsense\n" + line), HasSubstr("line 1: "));
  EXPECT_THAT(
      error(absl::StrCat("{\"sample\": 1, \"label\": 2, ", line.substr(line.find("\"rank")))),
      HasSubstr("label is no integer in [1, 1]"));
  EXPECT_THAT(error(absl::StrCat("{\"sample\": 1, \"label\": 1, \"rank\": 4, ",
                                 line.substr(line.find("\"top")))),
              HasSubstr("rank is no integer in [1, 3]"));
}

TEST_F(ClassificationEvaluation, AFailureNamesThePictureAndKeepsTheRest) {
  broken_ = "bee";
  auto results = Open();
  const absl::Status status = Rank(&*results, {0, 3, 1, 4, 5, 2}, /*in_flight=*/1);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(status.message(), "1.png: is broken");
  EXPECT_THAT(results->records(), SizeIs(2));
  EXPECT_THAT(classifier_.requests(), SizeIs(3));
}

TEST_F(ClassificationEvaluation, AFailureEndsWhatIsInFlight) {
  data_.samples[3].image = folder_.At("gone.png");
  auto results = Open();
  const absl::Status status = Rank(&*results, {0, 1, 3}, /*in_flight=*/3);
  EXPECT_THAT(status.message(), HasSubstr("3.png: "));
  EXPECT_THAT(classifier_.cancelled(), ElementsAre("evaluate-0", "evaluate-1"));
  EXPECT_THAT(results->records(), SizeIs(2)) << "what came all the same is kept";
}

}  // namespace
}  // namespace prefixd
