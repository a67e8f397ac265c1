// --backend cuda and auto of the real daemon, with a driver and a module that only play them
// (tests/cuda_loader).
#include <dlfcn.h>
#include <stdlib.h>

#include <gtest/gtest.h>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "tests/e2e/daemon.h"

namespace prefixd::testing {
namespace {

// A variable of this process and its children.
class Variable {
 public:
  Variable(std::string name, const std::string& value) : name_(std::move(name)) {
    setenv(name_.c_str(), value.c_str(), 1);
  }
  ~Variable() { unsetenv(name_.c_str()); }

 private:
  const std::string name_;
};

const char kDriverPath[] = FAKE_CUDA_DIR "/driver";
const char kModule[] = FAKE_CUDA_DIR "/libfake_cuda_module.so";

// Runs the daemon until what comes after the backend fails: it cannot write its port.
RunResult Start(const std::vector<std::string>& flags) {
  std::vector<std::string> command = {
      BinaryPath("prefixd"), "--model",      SourcePath("models/demo"), "--listen", "127.0.0.1:0",
      "--port-file",         "/nowhere/port"};
  command.insert(command.end(), flags.begin(), flags.end());
  return RunProgram(command, absl::Seconds(20));
}

// The lines of `log` that hold `text`.
std::vector<std::string> Lines(const std::string& log, const std::string& text) {
  std::vector<std::string> found;
  for (const absl::string_view line : absl::StrSplit(log, '\n')) {
    if (absl::StrContains(line, text)) found.emplace_back(line);
  }
  return found;
}

TEST(CudaOption, WithoutADriverTheDaemonSaysSoInOneLine) {
  if (dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL) != nullptr) {
    GTEST_SKIP() << "this machine has a CUDA driver";
  }
  const RunResult run = Start({"--backend", "cuda"});
  EXPECT_EQ(run.exit_status, 78);
  const auto lines = Lines(run.err, "cuda: ");
  ASSERT_EQ(lines.size(), 1u) << run.err;
  EXPECT_TRUE(absl::StrContains(lines[0],
                                "error cannot start: cuda: no NVIDIA driver on this "
                                "machine (libcuda.so.1: "))
      << lines[0];
  EXPECT_EQ(Lines(run.err, "/nowhere/port.tmp").size(), 0u) << run.err;
}

TEST(CudaOption, AutoWithoutADriverTakesTheCpuAndSaysNothing) {
  if (dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL) != nullptr) {
    GTEST_SKIP() << "this machine has a CUDA driver";
  }
  const RunResult run = Start({"--backend", "auto"});
  EXPECT_EQ(Lines(run.err, "cuda: ").size(), 0u) << run.err;
  EXPECT_EQ(Lines(run.err, "cannot start: /nowhere/port").size(), 1u) << run.err;
  const RunResult verbose = Start({"--backend", "auto", "--log-level", "debug"});
  EXPECT_EQ(Lines(verbose.err, "debug cuda: no NVIDIA driver").size(), 1u) << verbose.err;
}

TEST(CudaOption, AnOldCardIsFatalIfAskedForAndTheCpuElse) {
  const Variable path("LD_LIBRARY_PATH", kDriverPath);
  const Variable old("PREFIXD_FAKE_CUDA_CAPABILITY", "75");
  const RunResult asked = Start({"--backend", "cuda"});
  EXPECT_EQ(asked.exit_status, 78);
  EXPECT_EQ(Lines(asked.err,
                  "error cannot start: cuda: card 0 (Fake Card 0) has compute "
                  "capability 7.5, needed: 8.0 or later")
                .size(),
            1u)
      << asked.err;
  const RunResult found = Start({"--backend", "auto"});
  EXPECT_EQ(Lines(found.err,
                  "info cuda: card 0 (Fake Card 0) has compute capability 7.5, needed: "
                  "8.0 or later; the CPU computes")
                .size(),
            1u)
      << found.err;
  EXPECT_EQ(Lines(found.err, "cannot start: /nowhere/port").size(), 1u) << found.err;
}

TEST(CudaOption, ACardThatIsTooSmallIsFatalIfAskedForAndTheCpuElse) {
  const Variable path("LD_LIBRARY_PATH", kDriverPath);
  const Variable memory("PREFIXD_FAKE_CUDA_MEMORY", "500000000");
  const RunResult asked = Start({"--backend", "cuda", "--cuda-module", kModule});
  EXPECT_EQ(asked.exit_status, 78);
  EXPECT_EQ(Lines(asked.err, "cannot start: the card has 500000000 bytes free, needed: ").size(),
            1u)
      << asked.err;
  const RunResult found = Start({"--backend", "auto", "--cuda-module", kModule});
  EXPECT_EQ(Lines(found.err, "info cuda: the card has 500000000 bytes free, needed: ").size(), 1u)
      << found.err;
  EXPECT_EQ(Lines(found.err, "cannot start: /nowhere/port").size(), 1u) << found.err;
}

TEST(CudaOption, ACardThatIsFoundIsTakenAndReported) {
  const Variable path("LD_LIBRARY_PATH", kDriverPath);
  const Variable cards("PREFIXD_FAKE_CUDA_DEVICES", "2");
  const Variable memory("PREFIXD_FAKE_CUDA_MEMORY", "2000000000");
  Daemon daemon({"--backend", "auto", "--cuda-module", kModule, "--cuda-device", "1",
                 "--feature-cache-memory", "64MiB"});
  grpc::ClientContext context;
  v1::GetServerInfoResponse info;
  ASSERT_TRUE(daemon.admin()->GetServerInfo(&context, {}, &info).ok());
  EXPECT_EQ(info.engine().backend(), "cuda");
  EXPECT_EQ(info.engine().level(), "");
  EXPECT_EQ(info.engine().device(), "Fake Card 1");
  EXPECT_EQ(info.engine().kv_dtype(), "bf16");  // The backend's own.
  // 90 % of what about 3.6 M weights, 512 MiB and the buffers leave.
  EXPECT_GT(info.engine().kv_memory_bytes(), uint64_t{1'000'000'000});
  EXPECT_LT(info.engine().kv_memory_bytes(), uint64_t{1'300'000'000});
  v1::GenerateRequest request = Ask("Where is the ring?");
  request.mutable_stopping()->set_max_tokens(4);
  const Answer answer = daemon.Generate(request);
  ASSERT_TRUE(answer.status.ok()) << answer.status.error_message();
  EXPECT_EQ(answer.finished.receipt().backend(), "cuda");
}

}  // namespace
}  // namespace prefixd::testing
