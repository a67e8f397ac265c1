// What of the GPU acceptance needs no card: floors, flags, the paper's table, reports, and which
// stages run.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <numeric>
#include <vector>

#include "absl/strings/match.h"
#include "tools/acceptance/floors.h"
#include "tools/acceptance/process.h"
#include "tools/acceptance/stage_report.h"
#include "tools/acceptance/stage_runner.h"

namespace prefixd::acceptance {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr Ceilings kH100 = {3.0e12, 8.0e14};

TEST(FloorsTest, ShapesHaveTheSizesOfTheModels) {
  EXPECT_NEAR(static_cast<double>(Llava7B().WeightBytes()), 13.2e9, 0.1e9);
  EXPECT_NEAR(static_cast<double>(Llava13B().WeightBytes()), 25.7e9, 0.1e9);
  EXPECT_EQ(Llava7B().KvBytesPerToken(), 512u << 10);
  EXPECT_EQ(Llava13B().KvBytesPerToken(), 2u * 2 * 40 * 5120);
  EXPECT_EQ(PageBytes(Llava7B()), 256u << 10);
}

// The fact sheet's column: 3 TB/s, rounded to a tenth of a second.
TEST(FloorsTest, DecodeFloorsAreThoseOfTheFactSheet) {
  const double expected[][5] = {{4.7, 5.0, 5.3, 5.6, 5.9},
                                {2.4, 2.6, 2.7, 2.9, 3.1},
                                {2.7, 3.0, 3.4, 3.8, 4.1},
                                {1.5, 1.8, 2.1, 2.4, 2.8}};
  ASSERT_EQ(PaperTable().size(), 4u);
  for (size_t row = 0; row < 4; ++row) {
    const PaperRow& paper = PaperTable()[row];
    for (size_t b = 0; b < kBudgets.size(); ++b) {
      EXPECT_NEAR(DecodeFloorSeconds(paper.model(), paper.batch, paper.prompt, paper.generated,
                                     kBudgets[b], 3.0e12),
                  expected[row][b], 0.13)
          << "row " << row << " budget " << kBudgets[b];
    }
  }
}

TEST(FloorsTest, ThePapersRatesAreTokensBySeconds) {
  for (const PaperRow& row : PaperTable()) {
    for (size_t b = 0; b < kBudgets.size(); ++b) {
      if (row.seconds[b] < 0) {
        EXPECT_LT(row.tokens_per_second[b], 0);
        continue;
      }
      EXPECT_NEAR(row.tokens_per_second[b], row.batch * row.generated / row.seconds[b],
                  0.01 * row.tokens_per_second[b]);
    }
  }
}

TEST(FloorsTest, PagesAreCountedByLayerAndSequence) {
  // 7B at 20 % of 880 tokens: from 352 slots in the first layer to 1 in the last, 176 on average.
  EXPECT_EQ(PagesNeeded(Llava7B(), 1, 880, 0.2), 368);
  EXPECT_EQ(PagesNeeded(Llava7B(), 48, 880, 1.0), int64_t{32} * 48 * 55);
  EXPECT_EQ(PagesNeeded(Llava7B(), 1, 17, 1.0), 32 * 2);
}

TEST(FloorsTest, EarlyLayersKeepMoreAndTheMeanIsTheBudget) {
  for (const double budget : {0.2, 0.4, 0.6, 0.8, 1.0}) {
    const std::vector<int> kept = KeptByLayer(32, 880, budget);
    ASSERT_EQ(kept.size(), 32u);
    EXPECT_TRUE(std::is_sorted(kept.rbegin(), kept.rend()));
    EXPECT_GE(kept.back(), 1);
    EXPECT_LE(kept.front(), 880);
    EXPECT_NEAR(std::accumulate(kept.begin(), kept.end(), 0.0), 32 * 880 * budget, 32);
  }
  EXPECT_EQ(KeptByLayer(32, 880, 0.2).front(), 352);
  EXPECT_EQ(KeptByLayer(32, 880, 0.2).back(), 1);
  EXPECT_EQ(KeptByLayer(2, 48, 0.8), (std::vector<int>{48, 29}));
}

KernelTime Time(KernelKind kind, double bytes, double flops, double seconds) {
  return {.kernel = "k",
          .shape = "s",
          .kind = kind,
          .bytes = bytes,
          .flops = flops,
          .seconds = seconds};
}

TEST(FlagsTest, EachBarIsTheSheets) {
  const auto flags = [](const KernelTime& time) { return Flags({&time, 1}, kH100).size(); };
  // 3 GB take 1 ms.
  EXPECT_EQ(flags(Time(KernelKind::kDecodeAttention, 3e9, 0, 1.40e-3)), 0u);
  EXPECT_EQ(flags(Time(KernelKind::kDecodeAttention, 3e9, 0, 1.45e-3)), 1u);
  EXPECT_EQ(flags(Time(KernelKind::kGather, 3e9, 0, 1.30e-3)), 0u);
  EXPECT_EQ(flags(Time(KernelKind::kGather, 3e9, 0, 1.36e-3)), 1u);
  KernelTime prefill = Time(KernelKind::kPrefillAttention, 1, 8e11, 2.4e-3);
  prefill.rows = 2048;
  EXPECT_EQ(flags(prefill), 0u);
  prefill.seconds = 2.6e-3;
  EXPECT_EQ(flags(prefill), 1u);
  prefill.rows = 640;  // No bar for short ones.
  EXPECT_EQ(flags(prefill), 0u);
}

TEST(FlagsTest, ASlowKernelCountsIfItsStepFeelsIt) {
  KernelTime large = Time(KernelKind::kGemm, 3e9, 0, 1e-3);
  KernelTime slow = Time(KernelKind::kOther, 3e6, 0, 2.5e-6);  // 40 % of its floor.
  large.step = slow.step = "decode";
  large.calls = 1;
  slow.calls = 2;  // 0.5 % of the step.
  EXPECT_THAT(Flags({large, slow}, kH100), IsEmpty());
  slow.calls = 10;  // 2.4 %.
  EXPECT_THAT(Flags({large, slow}, kH100), ElementsAre(HasSubstr("2.4 % of the step")));
  slow.step = "";
  EXPECT_THAT(Flags({large, slow}, kH100), IsEmpty());
}

StageReport SomeReport() {
  StageReport report;
  report.stage = "env";
  report.outcome = Outcome::kFailed;
  report.reason = "no CUDA device";
  report.seconds = 1.5;
  report.quick = true;
  report.revision = "abc";
  report.facts = {{"card", "none"}};
  report.numbers = {{"rate", 3e12}};
  report.tables = {{"Title", {"a", "b|c"}, {{"1", "2"}}}};
  report.flags = {"slow"};
  return report;
}

TEST(StageReportTest, GoesThroughJson) {
  const absl::StatusOr<StageReport> read = FromJson(ToJson(SomeReport()));
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(ToJson(*read), ToJson(SomeReport()));
  EXPECT_EQ(read->outcome, Outcome::kFailed);
  EXPECT_EQ(read->facts[0].second, "none");
  EXPECT_FALSE(FromJson("{}").ok());
  EXPECT_FALSE(FromJson("not").ok());
}

TEST(StageReportTest, KeepsTheFirstReason) {
  StageReport report;
  report.FailUnless(absl::OkStatus());
  EXPECT_EQ(report.outcome, Outcome::kPassed);
  report.FailUnless(absl::InternalError("first"));
  report.Fail("second");
  EXPECT_EQ(report.reason, "first");
}

TEST(StageReportTest, RendersAsMarkdown) {
  StageReport skipped;
  skipped.stage = "profile";
  skipped.outcome = Outcome::kSkipped;
  skipped.reason = "ncu is not installed";
  const std::string text = RenderReport({SomeReport(), skipped});
  EXPECT_THAT(text, HasSubstr("| env | failed | 1.5 | 1 | no CUDA device |"));
  EXPECT_THAT(text, HasSubstr("1 stage failed."));
  EXPECT_THAT(text, HasSubstr("quick form"));
  EXPECT_THAT(text, HasSubstr("| a | b\\|c |\n|---|---|\n| 1 | 2 |\n"));
  EXPECT_THAT(text, HasSubstr("## profile: skipped\n\nncu is not installed"));
}

class RunStagesTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string name = ::testing::TempDir() + "acceptance_XXXXXX";
    ASSERT_NE(mkdtemp(name.data()), nullptr);
    options_ = {.out = name, .revision = "r1"};
  }
  void TearDown() override { std::filesystem::remove_all(options_.out); }

  // Stages in `failing_` fail.
  int Run() {
    ran_.clear();
    const absl::StatusOr<int> failures = RunStages(options_, [this](const std::string& stage) {
      ran_.push_back(stage);
      StageReport report;
      if (stage == failing_) report.Fail("it does");
      if (stage == "profile") report.outcome = Outcome::kSkipped;
      return report;
    });
    EXPECT_TRUE(failures.ok()) << failures.status();
    return failures.value_or(-1);
  }

  RunOptions options_;
  std::string failing_;
  std::vector<std::string> ran_;
};

TEST_F(RunStagesTest, RunsAgainWhatHasNotPassed) {
  failing_ = "engine";
  EXPECT_EQ(Run(), 1);
  EXPECT_EQ(ran_, StageNames());
  EXPECT_EQ(Run(), 1);
  EXPECT_THAT(ran_, ElementsAre("engine", "profile"));
  failing_ = "";
  EXPECT_EQ(Run(), 0);
  EXPECT_EQ(Run(), 0);
  EXPECT_THAT(ran_, ElementsAre("profile"));
}

TEST_F(RunStagesTest, RunsWhatIsAskedFor) {
  EXPECT_EQ(Run(), 0);
  options_.stage = "soak";
  EXPECT_EQ(Run(), 0);
  EXPECT_THAT(ran_, ElementsAre("soak"));
  options_.stage = "all";
  options_.fresh = true;
  EXPECT_EQ(Run(), 0);
  EXPECT_EQ(ran_, StageNames());
}

TEST_F(RunStagesTest, OtherSourcesAndQuickRunsDoNotCount) {
  options_.quick = true;
  EXPECT_EQ(Run(), 0);
  EXPECT_EQ(Run(), 0);
  EXPECT_EQ(ran_.size(), 1u);  // The skipped one.
  options_.quick = false;
  EXPECT_EQ(Run(), 0);
  EXPECT_EQ(ran_, StageNames());
  options_.quick = true;  // The full run counts for a quick one.
  EXPECT_EQ(Run(), 0);
  EXPECT_EQ(ran_.size(), 1u);
  options_.revision = "r2";
  EXPECT_EQ(Run(), 0);
  EXPECT_EQ(ran_, StageNames());
}

TEST_F(RunStagesTest, WritesTheReportAndRefusesUnknownStages) {
  failing_ = "env";
  EXPECT_EQ(Run(), 1);
  const absl::StatusOr<StageReport> env = ReadReport(options_, "env");
  ASSERT_TRUE(env.ok());
  EXPECT_EQ(env->reason, "it does");
  EXPECT_TRUE(std::filesystem::exists(options_.out + "/report.md"));
  options_.stage = "nonsense";
  const absl::StatusOr<int> refused =
      RunStages(options_, [](const std::string&) { return StageReport(); });
  EXPECT_TRUE(absl::IsInvalidArgument(refused.status()));
  EXPECT_THAT(std::string(refused.status().message()), HasSubstr("roofline"));
}

TEST(ProcessTest, TellsHowItEnded) {
  const std::string log = ::testing::TempDir() + "process_test.log";
  EXPECT_EQ(RunProcess({"sh", "-c", "exit 3"}, log, 10)->Describe(), "ended with status 3");
  EXPECT_EQ(RunProcess({"sh", "-c", "kill -6 $$"}, log, 10)->Describe(), "ended by signal 6");
  const ProcessResult slow = *RunProcess({"sh", "-c", "sleep 60 & sleep 60"}, log, 1);
  EXPECT_TRUE(slow.timed_out);
  EXPECT_LT(slow.seconds, 30);
  EXPECT_EQ(OutputOf({"sh", "-c", "echo a; echo b >&2"}), "a\nb");
  EXPECT_EQ(OutputOf({"sh", "-c", "exit 1"}), "");
  EXPECT_EQ(FindProgram("no-such-program-anywhere"), "");
  EXPECT_THAT(FindProgram("sh"), HasSubstr("/sh"));
  std::filesystem::remove(log);
}

}  // namespace
}  // namespace prefixd::acceptance
