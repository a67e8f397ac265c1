// prefixctl hands calibrate and evaluate on to prefixd-tools. The program is copied into a folder
// of its own, where the test decides what is beside it.
#include <sys/stat.h>
#include <sys/wait.h>

#include <cstdio>
#include <filesystem>
#include <fstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "tests/client/run_prefixctl.h"

namespace prefixd::testing {
namespace {

using ::testing::HasSubstr;

class ToolsCommandTest : public ::testing::Test {
 protected:
  ToolsCommandTest() : path_(mkdtemp(name_)) {
    std::filesystem::create_directory(path_ + "/bin");
    std::filesystem::create_directory(path_ + "/elsewhere");
    std::filesystem::copy_file(PREFIXD_BINARY_DIR "/bin/prefixctl", path_ + "/bin/prefixctl");
  }
  ~ToolsCommandTest() override { std::filesystem::remove_all(path_); }

  // A prefixd-tools that says its arguments and ends with a code of its own.
  void PutTools(const std::string& folder, int exit_status, mode_t mode = 0755) {
    const std::string program = absl::StrCat(path_, "/", folder, "/prefixd-tools");
    std::ofstream(program) << "#!/bin/sh\nprintf '" << folder
                           << "'\nfor word in \"$@\"; do printf '<%s>' \"$word\"; done\nexit "
                           << exit_status << "\n";
    chmod(program.c_str(), mode);
  }

  // Runs through a shell, which knows the folder "elsewhere" as PATH; both streams together.
  RunResult Run(const std::string& arguments) {
    const std::string command =
        absl::StrCat("PATH=", path_, "/elsewhere ", path_, "/bin/prefixctl ", arguments, " 2>&1");
    RunResult result;
    FILE* const pipe = popen(command.c_str(), "r");
    char buffer[4096];
    for (size_t n; (n = fread(buffer, 1, sizeof(buffer), pipe)) > 0;) result.out.append(buffer, n);
    const int status = pclose(pipe);
    result.exit_status = WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
    return result;
  }

  char name_[32] = "/tmp/prefixctl_tools_XXXXXX";
  const std::string path_;
};

TEST_F(ToolsCommandTest, StartsTheOneBesideItWithAllArguments) {
  PutTools("bin", 6);
  PutTools("elsewhere", 7);
  const RunResult run = Run("evaluate --model 'a b' --json --help ''");
  EXPECT_EQ(run.out, "bin<evaluate><--model><a b><--json><--help><>");
  EXPECT_EQ(run.exit_status, 6);
  EXPECT_EQ(Run("calibrate").out, "bin<calibrate>");
  EXPECT_EQ(Run("evaluate classification --data x --class-set y").out,
            "bin<evaluate><classification><--data><x><--class-set><y>");
}

TEST_F(ToolsCommandTest, ElseTheOneOnThePath) {
  PutTools("elsewhere", 7);
  const RunResult run = Run("calibrate --out x");
  EXPECT_EQ(run.out, "elsewhere<calibrate><--out><x>");
  EXPECT_EQ(run.exit_status, 7);
}

TEST_F(ToolsCommandTest, SaysWhereItLooked) {
  const RunResult run = Run("evaluate --model m");
  EXPECT_EQ(run.exit_status, 1);
  EXPECT_EQ(run.out, absl::StrCat("prefixctl: evaluate needs the program prefixd-tools, which is "
                                  "neither beside prefixctl (",
                                  path_, "/bin) nor on PATH\n"));
}

TEST_F(ToolsCommandTest, SaysWhyItCannotBeStarted) {
  PutTools("bin", 0, 0644);
  PutTools("elsewhere", 0);
  const RunResult run = Run("evaluate");
  EXPECT_EQ(run.exit_status, 1);
  EXPECT_THAT(run.out, HasSubstr("cannot start "));
  EXPECT_THAT(run.out, HasSubstr("bin/prefixd-tools: Permission denied"));
}

TEST_F(ToolsCommandTest, IsListedAndGuessed) {
  PutTools("bin", 0);
  EXPECT_THAT(Run("--help").out, HasSubstr("evaluate"));
  EXPECT_THAT(Run("--help").out, HasSubstr("evaluate classification"));
  EXPECT_THAT(Run("evalaute").out, HasSubstr("did you mean \"evaluate\"?"));
  const RunResult late = Run("--quiet evaluate --model m");
  EXPECT_EQ(late.exit_status, 2);
  EXPECT_THAT(late.out, HasSubstr("evaluate comes first and takes flags of its own"));
}

}  // namespace
}  // namespace prefixd::testing
