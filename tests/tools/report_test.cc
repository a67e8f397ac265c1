#include "tools/report.h"

#include <limits>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "base/json.h"
#include "tests/tools/sample_evaluation.h"

namespace prefixd {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

EvaluationSettings SampleSettings() {
  return {.command = "prefixd-tools evaluate --out 'a b'",
          .model = "demo|x",
          .model_digest = "d1ge57",
          .family = "llava",
          .num_layers = 6,
          .backend = "cpu",
          .kv_dtype = "f32",
          .dataset = "data.json",
          .dataset_digest = "5ha",
          .samples = 20,
          .max_new_tokens = 1024,
          .start_size = 1,
          .protect = 1,
          .distance = -25};
}

std::vector<std::string> Lines(const std::string& text) {
  return absl::StrSplit(text, '\n', absl::SkipEmpty());
}

TEST(Report, CsvHasALineARowAndReadsBackExactly) {
  Evaluation evaluation = testing::SampleEvaluation();
  evaluation.rows[0].perplexity = 1.0 / 3;
  evaluation.rows[1].perplexity = std::numeric_limits<double>::infinity();
  const std::vector<std::string> lines = Lines(ReportCsv(evaluation));
  ASSERT_EQ(lines.size(), 6u);
  EXPECT_EQ(lines[0],
            "policy,profile,budget,perplexity,rouge_l,kept_share,score_mass,agreement,"
            "answer_tokens,generated_tokens");
  EXPECT_EQ(lines[1], "full,,1.0,3.2,0.999999995,1.0,1.0,1.0,400,380");
  for (const std::string& line : lines) {
    EXPECT_EQ(std::vector<std::string>(absl::StrSplit(line, ',')).size(), 10u) << line;
  }
  const std::vector<std::string> cells = absl::StrSplit(lines[2], ',');
  EXPECT_EQ(cells[0], "local");
  double value = 0;
  ASSERT_TRUE(absl::SimpleAtod(cells[3], &value));
  EXPECT_EQ(value, 1.0 / 3);
  EXPECT_THAT(lines[3], HasSubstr(",inf,"));
  EXPECT_THAT(lines[4], HasSubstr("prefixkv,cats,0.5,"));
}

TEST(Report, JsonHasEverything) {
  Evaluation evaluation = testing::SampleEvaluation();
  evaluation.rows[1].perplexity = std::numeric_limits<double>::infinity();
  const auto report = ParseJson(ReportJson(evaluation, SampleSettings()));
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_EQ((*report)["model"]["digest"], "d1ge57");
  EXPECT_EQ((*report)["dataset"]["sha256"], "5ha");
  EXPECT_EQ((*report)["dataset"]["samples"], 20);
  EXPECT_EQ((*report)["settings"]["max_new_tokens"], 1024);
  EXPECT_EQ((*report)["full"]["perplexity"], 3.2);
  ASSERT_EQ((*report)["rows"].size(), 4u);
  EXPECT_EQ((*report)["rows"][0]["policy"], "local");
  EXPECT_EQ((*report)["rows"][0]["kept_by_layer"][1], 0.502);
  EXPECT_TRUE((*report)["rows"][1]["perplexity"].is_null());
  EXPECT_EQ((*report)["rows"][2]["profile"], "cats");
}

TEST(Report, GroupsRowsByPolicyWithAscendingBudgets) {
  const Evaluation evaluation = testing::SampleEvaluation();
  const std::vector<PolicyRows> policies = RowsByPolicy(evaluation);
  ASSERT_EQ(policies.size(), 2u);
  EXPECT_EQ(policies[0].label, "local");
  EXPECT_EQ(policies[1].label, "prefixkv@cats");
  EXPECT_THAT(policies[0].rows, ElementsAre(&evaluation.rows[1], &evaluation.rows[0]));
}

TEST(Report, MarkdownShowsPoliciesBudgetsAndSettings) {
  const std::string text = ReportMarkdown(testing::SampleEvaluation(), SampleSettings());
  EXPECT_THAT(text, HasSubstr("| budget | 10 % | 50 % | full |\n|---|---|---|---|\n"
                              "| local | 661 | 132 | 3.200 |\n"
                              "| prefixkv@cats | 3.400 | 3.800 | 3.200 |\n"
                              "| full cache |  |  | 3.200 |\n"));
  EXPECT_THAT(text, HasSubstr("| prefixkv@cats | 0.600 | 0.600 | 1.000 |"));
  EXPECT_THAT(text, HasSubstr("![Perplexity and ROUGE-L by budget](chart.svg)"));
  EXPECT_THAT(text, HasSubstr("| model's digest | `d1ge57` |"));
  EXPECT_THAT(text, HasSubstr("demo\\|x")) << "a bar in a cell is escaped";
  EXPECT_THAT(text, HasSubstr("`prefixd-tools evaluate --out 'a b'`"));
}

TEST(Report, MarkdownTablesAreRectangular) {
  const std::string text = ReportMarkdown(testing::SampleEvaluation(), SampleSettings());
  size_t columns = 0, tables = 0;
  for (std::string line : std::vector<std::string>(absl::StrSplit(text, '\n'))) {
    for (size_t at; (at = line.find("\\|")) != std::string::npos;) line.erase(at, 2);
    const auto bars = static_cast<size_t>(std::count(line.begin(), line.end(), '|'));
    if (bars > 0 && columns == 0) ++tables;
    EXPECT_TRUE(bars == 0 || columns == 0 || bars == columns) << line;
    columns = bars;
  }
  EXPECT_EQ(tables, 6u);
}

TEST(Report, WithoutPoliciesOnlyTheFullCacheIsLeft) {
  Evaluation evaluation = testing::SampleEvaluation();
  evaluation.rows.clear();
  EXPECT_EQ(Lines(ReportCsv(evaluation)).size(), 2u);
  EXPECT_THAT(ReportMarkdown(evaluation, SampleSettings()),
              HasSubstr("| budget | full |\n|---|---|\n| full cache | 3.200 |\n"));
}

}  // namespace
}  // namespace prefixd
