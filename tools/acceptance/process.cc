#include "tools/acceptance/process.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <thread>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/file.h"

namespace prefixd::acceptance {
namespace {

double Now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

}  // namespace

std::string ProcessResult::Describe() const {
  if (timed_out) return absl::StrCat("was killed after ", static_cast<int>(seconds), " s");
  if (signal != 0) return absl::StrCat("ended by signal ", signal);
  return absl::StrCat("ended with status ", exit_code);
}

absl::StatusOr<ProcessResult> RunProcess(const std::vector<std::string>& argv,
                                         const std::string& log, int timeout_seconds) {
  std::vector<char*> arguments;
  for (const std::string& argument : argv) arguments.push_back(const_cast<char*>(argument.c_str()));
  arguments.push_back(nullptr);
  const int out = open(log.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (out < 0) return absl::InvalidArgumentError(absl::StrCat(log, ": cannot be written"));
  const double start = Now();
  const pid_t child = fork();
  if (child == 0) {
    setpgid(0, 0);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    const int in = open("/dev/null", O_RDONLY);
    dup2(in, 0);
    dup2(out, 1);
    dup2(out, 2);
    execvp(arguments[0], arguments.data());
    _exit(127);
  }
  close(out);
  if (child < 0) return absl::InternalError("fork fails");
  setpgid(child, child);
  ProcessResult result;
  int status = 0;
  while (waitpid(child, &status, WNOHANG) == 0) {
    if (!result.timed_out && Now() - start > timeout_seconds) {
      result.timed_out = true;
      kill(-child, SIGKILL);
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  result.seconds = Now() - start;
  if (WIFEXITED(status)) result.exit_code = WEXITSTATUS(status);
  if (WIFSIGNALED(status)) result.signal = WTERMSIG(status);
  return result;
}

std::string FindProgram(const std::string& name) {
  const char* const path = std::getenv("PATH");
  if (path == nullptr) return "";
  for (const absl::string_view folder : absl::StrSplit(path, ':')) {
    const std::string file = absl::StrCat(folder, "/", name);
    if (access(file.c_str(), X_OK) == 0 && FileExists(file)) return file;
  }
  return "";
}

std::string OutputOf(const std::vector<std::string>& argv) {
  std::string name = (std::filesystem::temp_directory_path() / "prefixd_output_XXXXXX").string();
  const int file = mkstemp(name.data());
  if (file < 0) return "";
  close(file);
  std::string text;
  if (const auto result = RunProcess(argv, name, 30); result.ok() && result->ok()) {
    text = ReadFile(name, 1 << 20).value_or("");
  }
  unlink(name.c_str());
  return std::string(absl::StripAsciiWhitespace(text));
}

}  // namespace prefixd::acceptance
