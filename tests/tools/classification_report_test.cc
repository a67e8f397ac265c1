#include "tools/classification_report.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "base/json.h"

namespace prefixd {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

ClassificationReport Report() {
  ClassificationReport report{.command = "prefixd-tools evaluate classification",
                              .settings = {{"model", "m|n"}, {"separator", "\n"}},
                              .names = {"no", "yes"}};
  report.summary = {.samples = 4, .top1 = 0.75, .top5 = 1, .mean_rank = 1.25, .roc_auc = 0.875};
  report.summary.outcomes = {{.label = 1, .samples = 2, .correct = 1, .mistaken_for = {{0, 1}}},
                             {.label = 0, .samples = 2, .correct = 2}};
  report.summary.total = {.median = 1.5, .p95 = 2, .max = 3};
  report.summary.sums.computed_rows = 12;
  return report;
}

TEST(ClassificationReport, MarkdownShowsNumbersAndWorstClasses) {
  const std::string text = ClassificationMarkdown(Report());
  EXPECT_THAT(text, HasSubstr("| accuracy, top 1 | 75.00 % |"));
  EXPECT_THAT(text, Not(HasSubstr("top 5"))) << "says nothing of two names";
  EXPECT_THAT(text, HasSubstr("| mean rank of the label | 1.250 of 2 |"));
  EXPECT_THAT(text, HasSubstr("| ROC-AUC (positive: yes) | 0.8750 |"));
  EXPECT_THAT(text, HasSubstr("| yes | 2 | 50.00 % | no (1) |\n| no | 2 | 100.00 % | |"));
  EXPECT_THAT(text, HasSubstr("| whole | 1.5 | 2.0 | 3.0 |"));
  EXPECT_THAT(text, HasSubstr("| model | m\\|n |\n| separator | \\n |"));
}

TEST(ClassificationReport, JsonHasEverything) {
  const auto json = ParseJson(ClassificationJson(Report()));
  ASSERT_TRUE(json.ok()) << json.status();
  EXPECT_EQ((*json)["top1_accuracy"], 0.75);
  EXPECT_EQ((*json)["roc_auc"], 0.875);
  EXPECT_EQ((*json)["positive"], "yes");
  EXPECT_EQ((*json)["receipts"]["computed_rows"], 12);
  EXPECT_EQ((*json)["settings"]["separator"], "\n");
  EXPECT_EQ((*json)["classes"][0]["mistaken_for"][0]["name"], "no");
}

}  // namespace
}  // namespace prefixd
