// The real prefixd-tools on the demo model and its calibration pictures.
#include <sys/wait.h>

#include <cstdio>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/json.h"
#include "cache/retention/profile.h"
#include "tests/tools/folder.h"

namespace prefixd {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;

constexpr char kData[] = PREFIXD_SOURCE_DIR "/models/demo/calibration/calibration.json";
constexpr char kModel[] = "--model " PREFIXD_SOURCE_DIR "/models/demo --kv-memory 128MiB";
constexpr int kLayers = 6;  // Of the demo model.

struct Result {
  int exit_status = -1;
  std::string text;  // Both streams.
};

Result RunProgram(const std::string& program, const std::string& arguments) {
  const std::string command =
      absl::StrCat(PREFIXD_BINARY_DIR "/bin/", program, " ", arguments, " 2>&1 </dev/null");
  Result result;
  FILE* const pipe = popen(command.c_str(), "r");
  char buffer[4096];
  for (size_t n; (n = fread(buffer, 1, sizeof(buffer), pipe)) > 0;) result.text.append(buffer, n);
  const int status = pclose(pipe);
  result.exit_status = WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
  return result;
}

std::string Arguments(const std::string& command, const std::string& more,
                      const testing::Folder& folder) {
  return absl::StrCat(command, " ", kModel, " --data ", kData, " --out ", folder.At("out"), " ",
                      more);
}

TEST(PrefixdTools, ExitCodesTellWhoseFaultItIs) {
  const testing::Folder folder;
  EXPECT_EQ(RunProgram("prefixd-tools", "--version").exit_status, 0);
  EXPECT_EQ(RunProgram("prefixd-tools", "evaluate").exit_status, 2);
  EXPECT_EQ(RunProgram("prefixctl", "evaluate --nothing").exit_status, 2) << "passed on";
  const Result missing =
      RunProgram("prefixd-tools", "evaluate --model /nowhere --data /nowhere --out x");
  EXPECT_EQ(missing.exit_status, 1);
  EXPECT_THAT(missing.text, HasSubstr("/nowhere: cannot open"));
  const std::string broken = folder.Write("broken.json", "[{}]");
  const Result invalid = RunProgram(
      "prefixd-tools",
      absl::StrCat("evaluate ", kModel, " --data ", broken, " --out ", folder.At("out")));
  EXPECT_EQ(invalid.exit_status, 6);
  EXPECT_THAT(invalid.text, HasSubstr("broken.json: entry 0: "));
  const Result policy =
      RunProgram("prefixd-tools", Arguments("evaluate", "--policies nonsense", folder));
  EXPECT_EQ(policy.exit_status, 6);
  EXPECT_THAT(policy.text, HasSubstr("no policy \"nonsense\"; there are prefixkv, "));
  const Result profile =
      RunProgram("prefixd-tools", Arguments("evaluate", "--policies local@cats", folder));
  EXPECT_EQ(profile.exit_status, 6);
  EXPECT_THAT(profile.text, HasSubstr("local takes no profile"));
}

json Results(const testing::Folder& folder) {
  return ReadJsonFile(folder.At("out/results.json"), 1 << 20).value();
}

TEST(PrefixdTools, EvaluatesTheFullCacheAlone) {
  const testing::Folder folder;
  const Result run =
      RunProgram("prefixctl", Arguments("evaluate", "--policies none --half second", folder));
  ASSERT_EQ(run.exit_status, 0) << run.text;
  EXPECT_THAT(run.text, HasSubstr("evaluate 100 % 40/40"));
  for (const char* name : {"results.csv", "results.json", "report.md", "chart.svg"}) {
    EXPECT_THAT(run.text, HasSubstr(absl::StrCat(folder.At("out"), "/", name)));
    EXPECT_NE(folder.Read(absl::StrCat("out/", name)), "");
  }
  const json results = Results(folder);
  EXPECT_EQ(results["dataset"]["samples"], 20);
  EXPECT_EQ(results["model"]["layers"], kLayers);
  // Of transformers: tests/golden/make/evaluation.py.
  const json golden =
      ReadJsonFile(PREFIXD_SOURCE_DIR "/tests/golden/evaluation.json", 1 << 20).value();
  EXPECT_NEAR(results["full"]["perplexity"].get<double>(),
              golden["perplexity_second_half"].get<double>(), 1e-4);
  EXPECT_NEAR(results["full"]["rouge_l"].get<double>(), 1.0, 1e-6);
  EXPECT_EQ(results["full"]["kept_share"], 1.0);
  EXPECT_THAT(results["rows"], ::testing::IsEmpty());
}

TEST(PrefixdTools, EvaluatesBudgets) {
  const testing::Folder folder;
  const Result run = RunProgram(
      "prefixd-tools", Arguments("evaluate",
                                 "--policies prefixkv,local,full --budgets 20,50,100 --limit 4 "
                                 "--half second",
                                 folder));
  ASSERT_EQ(run.exit_status, 0) << run.text;
  const json results = Results(folder);
  ASSERT_EQ(results["rows"].size(), 9u);
  const json& full = results["full"];
  for (const json& row : results["rows"]) {
    const double budget = row["budget"];
    EXPECT_EQ(row["answer_tokens"], full["answer_tokens"]);
    if (budget == 1.0 || row["policy"] == "full") {
      EXPECT_EQ(row["perplexity"], full["perplexity"]) << "what is all kept is the full cache";
      EXPECT_EQ(row["rouge_l"], full["rouge_l"]);
      EXPECT_EQ(row["agreement"], 1.0);
      continue;
    }
    EXPECT_NEAR(row["kept_share"].get<double>(), budget, 0.01);
    EXPECT_EQ(row["kept_by_layer"].size(), static_cast<size_t>(kLayers));
    EXPECT_GT(row["perplexity"].get<double>(), 1.0);
    EXPECT_GE(row["agreement"].get<double>(), 0.0);
    EXPECT_LE(row["agreement"].get<double>(), 1.0);
  }
}

// Against a decoder written out over the same weights: tests/golden/make/evaluation_budgets.py.
TEST(PrefixdTools, PerplexityUnderABudgetIsThatOfThePublishedRules) {
  const testing::Folder folder;
  const Result run = RunProgram(
      "prefixd-tools",
      Arguments("evaluate", "--policies prefixkv,local --budgets 20,50,80 --half second", folder));
  ASSERT_EQ(run.exit_status, 0) << run.text;
  const json results = Results(folder);
  const json golden =
      ReadJsonFile(PREFIXD_SOURCE_DIR "/tests/golden/evaluation_budgets.json", 1 << 20).value();
  ASSERT_EQ(results["rows"].size(), golden.size());
  for (size_t i = 0; i < golden.size(); ++i) {
    const json& row = results["rows"][i];
    ASSERT_EQ(row["policy"], golden[i]["policy"]);
    ASSERT_EQ(row["budget"], golden[i]["budget"]);
    EXPECT_EQ(row["answer_tokens"], golden[i]["tokens"]);
    const double expected = golden[i]["perplexity"];
    EXPECT_NEAR(row["perplexity"].get<double>(), expected, 1e-4 * expected) << row["policy"];
  }
}

TEST(PrefixdTools, EvaluationIsTheSameBytesWhateverRunsTogether) {
  const testing::Folder folder;
  const std::string arguments =
      Arguments("evaluate", "--policies prefixkv --budgets 30 --limit 3", folder);
  ASSERT_EQ(RunProgram("prefixd-tools", arguments + " --in-flight 1 --no-prefix-cache").exit_status,
            0);
  const std::string lonely = folder.Read("out/results.csv");
  ASSERT_EQ(RunProgram("prefixd-tools", arguments + " --in-flight 32").exit_status, 0);
  EXPECT_EQ(folder.Read("out/results.csv"), lonely);
}

// Pictures with the colour of their background, which the demo model tells in these words.
std::string BackgroundLines(size_t count) {
  const json data = ReadJsonFile(kData, 1 << 20).value();
  std::string lines;
  for (const json& entry : data) {
    for (const json& question : entry["more"]) {
      if (question["kind"] != "background") continue;
      lines += json({{"image", entry["file"]}, {"label", question["right_answer"]}}).dump() + "\n";
      --count;
    }
    if (count == 0) break;
  }
  return lines;
}

json Report(const testing::Folder& folder, const std::string& out) {
  return ReadJsonFile(folder.At(out + "/report.json"), 1 << 20).value();
}

TEST(PrefixdTools, RanksNamesAndGoesOn) {
  const testing::Folder folder;
  const std::string data = folder.Write("backgrounds.jsonl", BackgroundLines(12));
  const auto arguments = [&](const std::string& out, const std::string& more) {
    return absl::StrCat("evaluate classification ", kModel, " --data ", data, " --images ",
                        PREFIXD_SOURCE_DIR, "/models/demo/calibration --question ",
                        "'What is the background color?' --out ", folder.At(out), " ", more);
  };
  const Result begun = RunProgram("prefixctl", arguments("out", "--limit 5"));
  ASSERT_EQ(begun.exit_status, 0) << begun.text;
  EXPECT_EQ(Report(folder, "out")["samples"], 5);
  const std::string first_lines = folder.Read("out/results.jsonl");
  const Result all = RunProgram("prefixctl", arguments("out", ""));
  ASSERT_EQ(all.exit_status, 0) << all.text;
  EXPECT_THAT(all.text, HasSubstr("goes on from 5 pictures"));
  EXPECT_THAT(all.text, HasSubstr("evaluate 100 % 12/12"));
  EXPECT_THAT(folder.Read("out/results.jsonl"), ::testing::StartsWith(first_lines));
  const json report = Report(folder, "out");
  EXPECT_EQ(report["samples"], 12);
  EXPECT_GE(report["top1_accuracy"].get<double>(), 0.9);
  EXPECT_GT(report["receipts"]["saved_rows"].get<int>(), 0) << "names begin alike";

  const Result other = RunProgram("prefixctl", arguments("out", "--normalization sum"));
  EXPECT_EQ(other.exit_status, 1);
  EXPECT_THAT(other.text, HasSubstr("was begun with normalization \"mean\", this run has \"sum\""));
  const Result slow = RunProgram("prefixctl", arguments("slow", "--mode token-by-token"));
  ASSERT_EQ(slow.exit_status, 0) << slow.text;
  EXPECT_EQ(Report(folder, "slow")["classes"], report["classes"]);
  EXPECT_EQ(Report(folder, "slow")["mean_rank"], report["mean_rank"]);
  EXPECT_EQ(Report(folder, "slow")["receipts"]["saved_rows"], 0);
}

TEST(PrefixdTools, CalibratesAProfileThatTheEngineLoads) {
  const testing::Folder folder;
  const Result run =
      RunProgram("prefixctl", Arguments("calibrate", "--name cats --limit 4 --half first", folder));
  ASSERT_EQ(run.exit_status, 0) << run.text;
  EXPECT_THAT(run.text, HasSubstr("calibrate 100 % 36/36"));
  EXPECT_FALSE(std::filesystem::exists(folder.At("out/calibrate_cats.jsonl")));
  const auto profile = RetentionProfile::Load(folder.At("out"), "cats", kLayers);
  ASSERT_TRUE(profile.ok()) << profile.status();
  double mean = 0;
  const std::vector<double> ratios = profile->At(0.5).value();
  for (const double ratio : ratios) mean += ratio / kLayers;
  EXPECT_NEAR(mean, 0.5, 0.005);

  // And evaluates under it.
  const Result evaluated = RunProgram(
      "prefixd-tools", Arguments("evaluate",
                                 absl::StrCat("--policies prefixkv@cats --budgets 50 --limit 2 "
                                              "--half second --profiles ",
                                              folder.At("out")),
                                 folder));
  ASSERT_EQ(evaluated.exit_status, 0) << evaluated.text;
  const json results = Results(folder);
  EXPECT_EQ(results["rows"][0]["profile"], "cats");
  EXPECT_NEAR(results["rows"][0]["kept_share"].get<double>(), 0.5, 0.02);
}

TEST(PrefixdTools, CalibrationRefusesAnotherRunsState) {
  const testing::Folder folder;
  std::filesystem::create_directory(folder.At("out"));
  folder.Write("out/calibrate_cats.jsonl", "{\"calibration\":1,\"model_digest\":\"other\"}\n");
  const std::string arguments = Arguments("calibrate", "--name cats --limit 1", folder);
  const Result refused = RunProgram("prefixd-tools", arguments);
  EXPECT_EQ(refused.exit_status, 1);
  EXPECT_THAT(refused.text, HasSubstr("was begun with"));
  EXPECT_THAT(refused.text, HasSubstr("--restart begins anew"));
  const Result restarted = RunProgram("prefixd-tools", arguments + " --restart");
  EXPECT_EQ(restarted.exit_status, 0) << restarted.text;
}

}  // namespace
}  // namespace prefixd
