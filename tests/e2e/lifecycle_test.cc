// Start, idle, drain and end of the daemon, and the first answer through prefixctl.
#include <signal.h>

#include <algorithm>
#include <fstream>
#include <thread>

#include <gtest/gtest.h>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/file.h"
#include "tests/e2e/daemon.h"

namespace prefixd::testing {
namespace {

constexpr absl::Duration kTimeToServing = absl::Seconds(1);

void Sleep(absl::Duration duration) {
  std::this_thread::sleep_for(absl::ToChronoNanoseconds(duration));
}

std::string Picture() {
  return *ReadFile(SourcePath("models/demo/pictures/picture-15.png"), 1 << 20);
}

absl::Duration Median(std::vector<absl::Duration> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

TEST(Lifecycle, ServesTheDemoModelWithinASecond) {
  std::vector<absl::Duration> times;
  for (int i = 0; i < 5; ++i) times.push_back(Daemon().time_to_serving());
  std::printf("time to serving: %s (median of 5)\n", absl::FormatDuration(Median(times)).c_str());
  EXPECT_LE(Median(times), kTimeToServing);
}

TEST(Lifecycle, PrefixctlShowsItsFirstTokenWithin300Ms) {
  Daemon daemon;
  std::vector<absl::Duration> times;
  for (int i = 0; i < 5; ++i) {
    // One token: from the start of the program to its end.
    const absl::Time begin = absl::Now();
    const RunResult run = RunProgram(
        {BinaryPath("prefixctl"), "run", "--server", daemon.address(), "--max-tokens", "1", "-i",
         SourcePath("models/demo/pictures/picture-15.png"), "Describe the image."});
    times.push_back(absl::Now() - begin);
    ASSERT_EQ(run.exit_status, 0) << run.err;
    EXPECT_TRUE(absl::StrContains(run.out, "The")) << run.out;
  }
  std::printf("prefixctl run, one token: %s (median of 5)\n",
              absl::FormatDuration(Median(times)).c_str());
  EXPECT_LE(Median(times), absl::Milliseconds(300));
}

TEST(Lifecycle, AnIdleDaemonTakesNoCpu) {
  Daemon daemon;
  ASSERT_TRUE(daemon.Generate(Ask("Describe the image.", Picture())).status.ok());
  Sleep(absl::Seconds(1));
  const absl::Duration before = daemon.CpuTime();
  Sleep(absl::Seconds(3));
  EXPECT_LE(daemon.CpuTime() - before, absl::Milliseconds(30));
}

TEST(Lifecycle, SigtermFinishesRunningStreamsAndExitsCleanly) {
  Daemon daemon({"--drain-delay", "200ms", "--drain-timeout", "30s"});
  Answer answer;
  std::jthread caller([&] {
    v1::GenerateRequest request = Ask("Describe the image.", Picture());
    request.mutable_stopping()->set_ignore_eos(true);
    request.mutable_stopping()->set_max_tokens(600);
    answer = daemon.Generate(request);
  });
  Sleep(absl::Milliseconds(100));
  daemon.Signal(SIGTERM);
  EXPECT_EQ(daemon.WaitExit(absl::Seconds(30)), 0);
  caller.join();
  EXPECT_TRUE(answer.status.ok()) << answer.status.error_message();
  EXPECT_EQ(answer.finished.usage().completion_tokens(), 600);
}

TEST(Lifecycle, AShortDrainCutsStreamsWithUnavailable) {
  Daemon daemon({"--drain-delay", "0s", "--drain-timeout", "50ms"});
  std::vector<Answer> answers(8);
  std::vector<std::jthread> callers;
  for (Answer& answer : answers) {
    callers.emplace_back([&] {
      v1::GenerateRequest request = Ask("Describe the image.", Picture());
      request.mutable_stopping()->set_ignore_eos(true);
      request.mutable_stopping()->set_max_tokens(1800);
      answer = daemon.Generate(request);
    });
  }
  Sleep(absl::Milliseconds(300));
  daemon.Signal(SIGTERM);
  EXPECT_EQ(daemon.WaitExit(absl::Seconds(10)), 0);
  callers.clear();
  for (const Answer& answer : answers) {
    EXPECT_EQ(answer.status.error_code(), grpc::StatusCode::UNAVAILABLE);
    EXPECT_EQ(answer.reason(), "DRAINING");
  }
}

TEST(Lifecycle, ASecondSignalShortensTheDrain) {
  Daemon daemon({"--drain-delay", "30s", "--drain-timeout", "60s"});
  daemon.Signal(SIGTERM);
  Sleep(absl::Milliseconds(100));
  daemon.Signal(SIGINT);
  EXPECT_EQ(daemon.WaitExit(absl::Seconds(5)), 0);
}

// Starting with something wrong ends within five seconds with status 78 and one line that names it.
void ExpectRefused(const std::vector<std::string>& flags, const std::string& named) {
  std::vector<std::string> command = {BinaryPath("prefixd")};
  command.insert(command.end(), flags.begin(), flags.end());
  const RunResult run = RunProgram(command, absl::Seconds(5));
  EXPECT_EQ(run.exit_status, 78) << run.err;
  EXPECT_TRUE(absl::StrContains(run.err, named)) << run.err;
}

TEST(Lifecycle, RefusesToStartWithSomethingWrong) {
  const std::string demo = SourcePath("models/demo");
  ExpectRefused({"--model", "/nowhere"}, "/nowhere");
  ExpectRefused({"--model", demo, "--kv-memory", "1KiB"}, "kv");
  ExpectRefused({"--model", demo, "--threads", "10x"}, "threads");
  ExpectRefused({"--model", demo, "--no-such-flag"}, "no-such-flag");
  ExpectRefused({"--model", demo, "--cpu-level", "sse9"}, "sse9");
  ExpectRefused({"--model", demo, "--listen", "127.0.0.1:70000"}, "70000");
  ExpectRefused({"--model", demo, "--listen", "0.0.0.0:0"}, "insecure");
}

TEST(Lifecycle, ASecondDaemonOnTheSamePortIsRefused) {
  Daemon daemon;
  const RunResult run = RunProgram(
      {BinaryPath("prefixd"), "--model", SourcePath("models/demo"), "--listen", daemon.address()},
      absl::Seconds(5));
  EXPECT_EQ(run.exit_status, 78) << run.err;
  EXPECT_TRUE(daemon.Serving());
}

}  // namespace
}  // namespace prefixd::testing
