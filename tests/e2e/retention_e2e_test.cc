// KV budgets as clients, operators and the command line see them, on the real daemon.
#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <functional>
#include <thread>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "tests/e2e/daemon.h"
#include "tests/server/http_get.h"
#include "tests/weights/files.h"

namespace prefixd::testing {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr char kFirst[] = "Describe the image.";
constexpr char kSecond[] = "What is the background color?";
constexpr int kLayers = 6;

std::string Picture() {
  return *ReadFile(SourcePath("models/demo/pictures/picture-15.png"), 1 << 20);
}

v1::GenerateRequest AskUnder(const std::string& question, v1::RetentionScope scope, double budget) {
  v1::GenerateRequest request = Ask(question, Picture());
  request.mutable_retention()->set_scope(scope);
  request.mutable_retention()->set_budget(budget);
  return request;
}

const v1::RetentionReceipt& ReceiptOf(const Answer& answer) {
  return answer.finished.receipt().retention();
}

int64_t KeptOf(const v1::RetentionReceipt& receipt) {
  int64_t kept = 0;
  for (const int32_t layer : receipt.kept_tokens()) kept += layer;
  return kept;
}

v1::RetentionStats StatsOf(Daemon* daemon) {
  grpc::ClientContext context;
  v1::GetCacheStatsResponse stats;
  EXPECT_TRUE(daemon->admin()->GetCacheStats(&context, {}, &stats).ok());
  return stats.retention();
}

// Statistics are published a moment after an answer ends.
v1::RetentionStats StatsWhen(Daemon* daemon,
                             const std::function<bool(const v1::RetentionStats&)>& done) {
  v1::RetentionStats stats = StatsOf(daemon);
  for (int i = 0; i < 400 && !done(stats); ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
    stats = StatsOf(daemon);
  }
  return stats;
}

TEST(RetentionTest, ReceiptsSayWhatWasKept) {
  Daemon daemon;
  const Answer off = daemon.Generate(Ask(kFirst, Picture()));
  ASSERT_TRUE(off.status.ok()) << off.status.error_message();
  EXPECT_EQ(ReceiptOf(off).scope(), v1::RETENTION_SCOPE_OFF);
  EXPECT_EQ(ReceiptOf(off).kept_tokens_size(), 0);

  const Answer all = daemon.Generate(AskUnder(kFirst, v1::RETENTION_SCOPE_EXACT, 1.0));
  EXPECT_EQ(all.text(), off.text());
  EXPECT_EQ(ReceiptOf(all).saved_kv_bytes(), 0u);

  const Answer exact = daemon.Generate(AskUnder(kFirst, v1::RETENTION_SCOPE_EXACT, 0.25));
  ASSERT_TRUE(exact.status.ok()) << exact.status.error_message();
  const v1::RetentionReceipt& receipt = ReceiptOf(exact);
  const int64_t prompt = exact.finished.usage().prompt_tokens();
  EXPECT_EQ(receipt.scope(), v1::RETENTION_SCOPE_EXACT);
  EXPECT_EQ(receipt.policy(), "prefixkv");
  EXPECT_EQ(receipt.profile(), "");
  EXPECT_EQ(receipt.budget(), 0.25);
  EXPECT_EQ(receipt.selected_from(), prompt);
  ASSERT_EQ(receipt.kept_tokens_size(), kLayers);
  EXPECT_NEAR(static_cast<double>(KeptOf(receipt)), 0.25 * kLayers * static_cast<double>(prompt),
              0.51);
  EXPECT_GT(receipt.score_mass(), 0.5);
  EXPECT_LT(receipt.score_mass(), 1.0);
  EXPECT_FALSE(receipt.snapshot_hit());
  EXPECT_GT(receipt.decode_drops(), 0);
  // K and V of two heads of 32 float32.
  const uint64_t dropped = static_cast<uint64_t>(kLayers * prompt - KeptOf(receipt)) +
                           static_cast<uint64_t>(receipt.decode_drops());
  EXPECT_EQ(receipt.saved_kv_bytes(), dropped * 2 * 2 * 32 * 4);
  EXPECT_EQ(exact.finished.receipt().cache().evicted_tokens(), dropped / kLayers);
}

TEST(RetentionTest, ASecondSessionStartsFromTheSnapshot) {
  Daemon daemon;
  ASSERT_TRUE(daemon.Generate(AskUnder(kFirst, v1::RETENTION_SCOPE_SHARED, 0.5)).status.ok());
  v1::GenerateRequest request = AskUnder(kSecond, v1::RETENTION_SCOPE_SHARED, 0.5);
  const Answer second = daemon.Generate(request);
  ASSERT_TRUE(second.status.ok()) << second.status.error_message();
  EXPECT_EQ(ReceiptOf(second).scope(), v1::RETENTION_SCOPE_SHARED);
  EXPECT_TRUE(ReceiptOf(second).snapshot_hit());
  EXPECT_EQ(second.finished.receipt().cache().hit_tokens(), ReceiptOf(second).selected_from());
  EXPECT_EQ(second.finished.receipt().cache().images_encoded(), 0);
  request.set_bypass_prefix_cache(true);
  EXPECT_EQ(daemon.Generate(request).text(), second.text());
  const v1::RetentionStats stats =
      StatsWhen(&daemon, [](const auto& s) { return s.shared_requests() == 3; });
  EXPECT_EQ(stats.shared_requests(), 3u);
  EXPECT_EQ(stats.snapshot_hits(), 1u);
  EXPECT_EQ(stats.snapshots(), 1);
  EXPECT_GT(stats.snapshot_pages(), 0);
  // Text has nothing to share, which is said.
  v1::GenerateRequest text = Ask("How are you?");
  text.mutable_retention()->set_scope(v1::RETENTION_SCOPE_SHARED);
  const Answer refused = daemon.Generate(text);
  EXPECT_EQ(refused.status.error_code(), grpc::StatusCode::FAILED_PRECONDITION);
  EXPECT_EQ(refused.reason(), "FEATURE_UNSUPPORTED");
}

TEST(RetentionTest, BadValuesAreRefused) {
  Daemon daemon;
  const struct {
    const char* field;
    std::function<void(v1::RetentionParams*)> spoil;
  } rows[] = {
      {"retention.budget", [](auto* r) { r->set_budget(0); }},
      {"retention.budget", [](auto* r) { r->set_budget(1.5); }},
      {"retention.budget", [](auto* r) { r->set_budget(std::nan("")); }},
      {"retention.policy", [](auto* r) { r->set_policy("mystery"); }},
      {"retention.policy", [](auto* r) { r->set_policy("../etc"); }},
      {"retention.profile", [](auto* r) { r->set_profile("mystery"); }},
      {"retention.start_size", [](auto* r) { r->set_start_size(-1); }},
      {"retention.protect", [](auto* r) { r->set_protect(0); }},
      {"retention.distance", [](auto* r) { r->set_distance(1 << 20); }},
      {"retention.scope", [](auto* r) { r->set_scope(static_cast<v1::RetentionScope>(9)); }},
  };
  for (const auto& row : rows) {
    SCOPED_TRACE(row.field);
    v1::GenerateRequest request = Ask(kFirst, Picture());
    request.mutable_retention()->set_scope(v1::RETENTION_SCOPE_EXACT);
    row.spoil(request.mutable_retention());
    const Answer answer = daemon.Generate(request);
    EXPECT_EQ(answer.status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
    EXPECT_EQ(answer.reason(), "PARAMETER_OUT_OF_RANGE");
    EXPECT_EQ(answer.fields(), row.field) << answer.status.error_message();
  }
  EXPECT_TRUE(daemon.Serving());
}

TEST(RetentionTest, DefaultsOfTheServerAndTheCommandLine) {
  const TemporaryDirectory folder;
  folder.Write("prefixkv_demo_0.8.json", "[0.9, 0.9, 0.9, 0.9, 0.9, 0.3]");
  Daemon daemon({"--retention", "shared", "--retention-budget", "0.5", "--retention-profiles",
                 folder.path(), "--metrics-listen", "127.0.0.1:0", "--metrics-port-file",
                 folder.File("port"), "--guard-sample-rate", "1"});
  const Answer by_default = daemon.Generate(Ask(kFirst, Picture()));
  EXPECT_EQ(ReceiptOf(by_default).scope(), v1::RETENTION_SCOPE_SHARED);
  EXPECT_EQ(ReceiptOf(by_default).budget(), 0.5);
  // Nobody asked for this one to share: the whole prompt is compressed.
  const Answer text = daemon.Generate(Ask("How are you?"));
  EXPECT_EQ(ReceiptOf(text).scope(), v1::RETENTION_SCOPE_EXACT);

  const auto run = [&](std::vector<std::string> flags) {
    std::vector<std::string> command = {BinaryPath("prefixctl"),
                                        "run",
                                        "--server",
                                        daemon.address(),
                                        "--verbose",
                                        "-i",
                                        SourcePath("models/demo/pictures/picture-15.png"),
                                        kFirst};
    command.insert(command.end(), flags.begin(), flags.end());
    return RunProgram(command);
  };
  RunResult result = run({"--retention", "exact", "--budget", "0.2"});
  EXPECT_EQ(result.exit_status, 0) << result.err;
  EXPECT_THAT(result.err, HasSubstr("retention exact prefixkv 20 %: kept 31 of 156 tokens (min "));
  EXPECT_THAT(result.err, HasSubstr(" saved"));
  result = run({});
  EXPECT_THAT(result.err, HasSubstr("retention shared prefixkv 50 %: kept "));
  EXPECT_THAT(result.err, HasSubstr("; the compressed prefix was there"));
  result = run({"--retention", "exact", "--budget", "0.2", "--profile", "demo"});
  EXPECT_THAT(result.err, HasSubstr("retention exact prefixkv/demo 20 %: kept "));
  result = run({"--retention", "exact", "--budget", "0.1", "--profile", "demo"});
  EXPECT_NE(result.exit_status, 0);
  EXPECT_THAT(result.err, HasSubstr("retention.budget is 0.1, "));
  result = run({"--retention", "exact", "--budget", "7"});
  EXPECT_NE(result.exit_status, 0);

  grpc::ClientContext context;
  v1::ListModelsResponse models;
  ASSERT_TRUE(daemon.models()->ListModels(&context, {}, &models).ok());
  ASSERT_EQ(models.models_size(), 1);
  EXPECT_THAT(models.models(0).retention_policies(), ::testing::Contains("prefixkv"));
  EXPECT_THAT(models.models(0).retention_profiles(), ::testing::ElementsAre("demo"));
  EXPECT_EQ(models.models(0).retention_defaults().budget(), 0.5);

  // By the metrics and by the statistics: two answers by default, the command line's three.
  const v1::RetentionStats stats = StatsWhen(&daemon, [](const auto& s) {
    return s.guard().replayed() == 3 && s.exact_requests() == 3 && s.shared_requests() == 2;
  });
  EXPECT_EQ(stats.exact_requests(), 3u);
  EXPECT_EQ(stats.shared_requests(), 2u);
  EXPECT_EQ(stats.default_budget(), 0.5);
  EXPECT_EQ(stats.guard().sampled(), 3u);
  EXPECT_EQ(stats.guard().replayed(), 3u);
  EXPECT_EQ(stats.guard().dropped(), 0u);
  EXPECT_LE(stats.guard().agreement(), 1.0);
  EXPECT_GE(stats.guard().logprob_drift(), 0.0);
  int port = 0;
  std::ifstream(folder.File("port")) >> port;
  const std::string body = HttpGet(port, "/metrics").body;
  for (const std::string line :
       {"prefixd_retention_requests_total{scope=\"off\"} 0",
        "prefixd_retention_requests_total{scope=\"exact\"} 3",
        "prefixd_retention_requests_total{scope=\"shared\"} 2", "prefixd_retention_snapshots 1",
        "prefixd_retention_snapshot_hits_total 1", "prefixd_retention_default_budget_ratio 0.5",
        "prefixd_guard_sampled_total 3", "prefixd_guard_replayed_total 3",
        "prefixd_guard_raises_total 0"}) {
    EXPECT_THAT(body, HasSubstr("\n" + line + "\n"));
  }
}

TEST(RetentionTest, TheGuardRaisesAWrongDefault) {
  const TemporaryDirectory folder;
  Daemon daemon({"--retention", "exact", "--retention-budget", "0.1", "--retention-policy",
                 "random", "--guard-sample-rate", "1", "--metrics-listen", "127.0.0.1:0",
                 "--metrics-port-file", folder.File("port")});
  int requests = 0;
  v1::RetentionStats stats;
  while (stats.guard().raises() == 0 && requests < 100) {
    v1::GenerateRequest request = Ask(kFirst, Picture());
    request.mutable_sampling()->set_seed(static_cast<uint64_t>(requests));
    ASSERT_EQ(ReceiptOf(daemon.Generate(request)).budget(), 0.1);
    ++requests;
    stats = StatsWhen(&daemon, [requests](const auto& s) {
      return s.guard().replayed() == static_cast<uint64_t>(requests);
    });
  }
  EXPECT_EQ(stats.guard().raises(), 1u);
  EXPECT_DOUBLE_EQ(stats.default_budget(), 0.2);
  EXPECT_DOUBLE_EQ(ReceiptOf(daemon.Generate(Ask(kFirst, Picture()))).budget(), 0.2);
  const v1::GenerateRequest named = AskUnder(kFirst, v1::RETENTION_SCOPE_EXACT, 0.1);
  EXPECT_EQ(ReceiptOf(daemon.Generate(named)).budget(), 0.1);
  int port = 0;
  std::ifstream(folder.File("port")) >> port;
  const std::string body = HttpGet(port, "/metrics").body;
  EXPECT_THAT(body, HasSubstr("\nprefixd_guard_raises_total 1\n"));
  EXPECT_THAT(body, HasSubstr("\nprefixd_retention_default_budget_ratio 0.2\n"));
  // The last replay over, the daemon sleeps.
  std::this_thread::sleep_for(std::chrono::seconds(1));
  EXPECT_LE(daemon.QuietCpuTime(), 0.01 * kQuietWindow);
}

// The daemon refuses to start: status 78, one line.
std::string RefusedWith(const std::vector<std::string>& flags) {
  std::vector<std::string> command = {
      BinaryPath("prefixd"), "--model", SourcePath("models/demo"), "--listen", "127.0.0.1:0",
      "--log-level",         "warn"};
  command.insert(command.end(), flags.begin(), flags.end());
  const RunResult run = RunProgram(command, absl::Seconds(5));
  EXPECT_EQ(run.exit_status, 78) << run.err;
  EXPECT_EQ(std::count(run.err.begin(), run.err.end(), '\n'), 1) << run.err;
  return run.err;
}

TEST(RetentionTest, WrongOptionsKeepTheDaemonFromStarting) {
  EXPECT_THAT(RefusedWith({"--retention-policy", "mystery"}),
              AllOf(HasSubstr("mystery"), HasSubstr("known are full, prefixkv, ")));
  EXPECT_THAT(RefusedWith({"--retention", "on"}), HasSubstr("off, exact, shared"));
  EXPECT_THAT(RefusedWith({"--retention-budget", "0"}), HasSubstr("[0.001, 1]"));
  EXPECT_THAT(RefusedWith({"--retention-profile", "p"}), HasSubstr("retention_profiles"));
  EXPECT_THAT(RefusedWith({"--retention-profiles", "/nowhere"}), HasSubstr("/nowhere"));
  EXPECT_THAT(RefusedWith({"--guard-sample-rate", "2"}), HasSubstr("[0, 1]"));
}

// The catalogue of bad budget profiles.
TEST(RetentionTest, BadProfilesKeepTheDaemonFromStarting) {
  constexpr char kFile[] = "prefixkv_p_0.5.json";
  const auto list = [](int n, const char* entry) {
    std::string text = "[";
    for (int i = 0; i < n; ++i) absl::StrAppend(&text, i == 0 ? "" : ",", entry);
    return text + "]";
  };
  const struct {
    const char* row;
    std::string text;
    std::string named;
  } rows[] = {
      {"F1", "[]", "0 entries, but the model has 6 layers"},
      {"F1", list(5, "0.5"), "5 entries, but the model has 6 layers"},
      {"F1", list(7, "0.5"), "7 entries, but the model has 6 layers"},
      {"F1", list(1'000'000, "0.5"), "1048576"},
      {"F2", "[0.5,0.5,\"NaN\",0.5,0.5,0.5]",
       "entry 2 is \"NaN\", expected a number in [0, 0.999]"},
      {"F2", "[0.5,0.5,-0.1,0.5,0.5,0.5]", "entry 2 is -0.1, expected a number in [0, 0.999]"},
      {"F2", "[0.5,0.5,1.0,0.5,0.5,0.5]", "entry 2 is 1.0, expected a number in [0, 0.999]"},
      {"F2", "[0.5,0.5,1.5,0.5,0.5,0.5]", "entry 2 is 1.5, expected a number in [0, 0.999]"},
      {"F2", "[0.5,0.5,null,0.5,0.5,0.5]", "entry 2 is null"},
      {"F2", "[0.5,0.5,[0.5],0.5,0.5,0.5]", "entry 2 is [0.5]"},
      {"F3", list(6, "0.6"), "0.6"},
      {"F4", list(32, "0.5"), "32 entries, but the model has 6 layers"},
      {"F7", "{\"ratios\": [0.5,0.5,0.5,0.5,0.5,0.5]}", kFile},
      {"F7", "[0.5,0.5,0.5,0.5,0.5,0.5,]", kFile},
  };
  for (const auto& row : rows) {
    SCOPED_TRACE(absl::StrCat(row.row, " ", row.text.substr(0, 60)));
    const TemporaryDirectory folder;
    folder.Write(kFile, row.text);
    EXPECT_THAT(RefusedWith({"--retention-profiles", folder.path()}),
                AllOf(HasSubstr(kFile), HasSubstr(row.named)));
  }
  // F7: a gibibyte, which is not read.
  const TemporaryDirectory folder;
  folder.Write(kFile, "[");
  std::filesystem::resize_file(folder.File(kFile), 1u << 30);
  EXPECT_THAT(RefusedWith({"--retention-profiles", folder.path()}), HasSubstr("1048576"));
}

// F5: what must be kept is kept, whatever the profile says.
TEST(RetentionTest, AShortPromptKeepsWhatIsProtected) {
  const TemporaryDirectory folder;
  folder.Write("prefixkv_p_0.9.json", "[0.9925,0.9925,0.9925,0.9925,0.9925,0.4375]");
  Daemon daemon({"--retention-profiles", folder.path()});
  v1::GenerateRequest request;
  for (int i = 0; i < 6; ++i) request.mutable_tokens()->add_ids(300 + i);
  request.mutable_stopping()->set_max_tokens(8);
  request.mutable_stopping()->set_ignore_eos(true);
  v1::RetentionParams* const retention = request.mutable_retention();
  retention->set_scope(v1::RETENTION_SCOPE_EXACT);
  retention->set_budget(0.1);
  retention->set_profile("p");
  retention->set_start_size(4);
  const Answer answer = daemon.Generate(request);
  ASSERT_TRUE(answer.status.ok()) << answer.status.error_message();
  EXPECT_THAT(ReceiptOf(answer).kept_tokens(), ::testing::ElementsAre(5, 5, 5, 5, 5, 5));
}

}  // namespace
}  // namespace prefixd::testing
