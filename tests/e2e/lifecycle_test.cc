// Start, idle, drain and end of the daemon, and the first answer through prefixctl.
#include <signal.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <functional>
#include <thread>

#include <gtest/gtest.h>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/file.h"
#include "tests/e2e/daemon.h"

namespace prefixd::testing {
namespace {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr int kSlowdown = 10;  // Of sanitized code.
#else
constexpr int kSlowdown = 1;
#endif
constexpr absl::Duration kTimeToServing = absl::Seconds(1 * kSlowdown);
constexpr absl::Duration kTimeToFirstToken = absl::Milliseconds(300 * kSlowdown);

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
  EXPECT_LE(Median(times), kTimeToFirstToken);
}

TEST(Lifecycle, AnIdleDaemonTakesNoCpu) {
  Daemon daemon;
  ASSERT_TRUE(daemon.Generate(Ask("Describe the image.", Picture())).status.ok());
  Sleep(absl::Seconds(1));
  EXPECT_LE(daemon.QuietCpuTime(), 0.01 * kQuietWindow);
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

// A copy of the demo model that a test may spoil.
class SpoiltModel {
 public:
  SpoiltModel() : folder_(::testing::TempDir() + "prefixd_spoilt_model") {
    std::filesystem::remove_all(folder_);
    std::filesystem::create_directories(folder_);
    for (const auto& entry : std::filesystem::directory_iterator(SourcePath("models/demo"))) {
      if (entry.is_regular_file()) std::filesystem::copy(entry.path(), folder_);
    }
  }
  ~SpoiltModel() { std::filesystem::remove_all(folder_); }

  const std::string& folder() const { return folder_; }
  std::string Read(const std::string& name) const {
    return *ReadFile(folder_ + "/" + name, 64 << 20);
  }
  void Write(const std::string& name, const std::string& bytes) const {
    std::ofstream(folder_ + "/" + name, std::ios::binary) << bytes;
  }
  void Replace(const std::string& name, const std::string& from, const std::string& to) const {
    std::string text = Read(name);
    const size_t at = text.find(from);
    ASSERT_NE(at, std::string::npos) << name << " " << from;
    Write(name, text.replace(at, from.size(), to));
  }

 private:
  const std::string folder_;
};

TEST(Lifecycle, RefusesToStartWithASpoiltModel) {
  using Spoil = std::function<void(const SpoiltModel&)>;
  const struct {
    const char* row;
    Spoil spoil;
    const char* named;
  } rows[] = {
      {"D1", [](auto& m) { m.Write("model.safetensors", "1234"); }, "model.safetensors"},
      {"D2",
       [](auto& m) {
         m.Write("model.safetensors", std::string(8, '\xFF') + m.Read("config.json"));
       },
       "model.safetensors"},
      {"D6", [](auto& m) { m.Write("model.safetensors", m.Read("model.safetensors") + "tail"); },
       "model.safetensors"},
      {"D10",
       [](auto& m) {
         m.Replace("config.json", "\"intermediate_size\": 384", "\"intermediate_size\": 388");
       },
       "mlp"},
      {"D15",
       [](auto& m) {
         std::filesystem::rename(m.folder() + "/model.safetensors",
                                 m.folder() + "/pytorch_model.bin");
       },
       "unsupported"},
      {"E1", [](auto& m) { m.Write("tokenizer.json", "\xEF\xBB\xBF" + m.Read("tokenizer.json")); },
       "tokenizer.json"},
      {"E5",
       [](auto& m) {
         m.Replace("tokenizer.json", "\"pre_tokenizer\": null",
                   "\"pre_tokenizer\": {\"type\": \"Evil\"}");
       },
       "pre_tokenizer"},
      {"E10",
       [](auto& m) {
         m.Replace("config.json", "\"num_attention_heads\": 6", "\"num_attention_heads\": 5");
       },
       "num_attention_heads"},
      {"E12",
       [](auto& m) {
         m.Replace("config.json", "\"model_type\": \"llava\"", "\"model_type\": \"mystery\"");
       },
       "mystery"},
      {"E13", [](auto& m) { m.Replace("preprocessor_config.json", "0.26862954", "0"); },
       "image_std"},
      {"E14",
       [](auto& m) {
         m.Replace("generation_config.json", "\"eos_token_id\": 2", "\"eos_token_id\": 99999");
       },
       "eos_token_id"},
  };
  for (const auto& row : rows) {
    SCOPED_TRACE(row.row);
    const SpoiltModel model;
    row.spoil(model);
    ExpectRefused({"--model", model.folder(), "--listen", "127.0.0.1:0"}, row.named);
  }
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
