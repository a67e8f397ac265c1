#include "client/prefixctl/tools.h"

#include <errno.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <iterator>

#include "client/prefixctl/exit_code.h"

namespace prefixd::ctl {
namespace {

constexpr char kProgram[] = "prefixd-tools";

// Empty where it cannot be told.
std::string OwnDirectory() {
  std::error_code error;
  const std::filesystem::path self = std::filesystem::read_symlink("/proc/self/exe", error);
  return error ? "" : self.parent_path().string();
}

}  // namespace

bool IsToolsCommand(const std::vector<std::string>& arguments) {
  return !arguments.empty() &&
         std::any_of(std::begin(kToolsCommands), std::end(kToolsCommands),
                     [&](const ToolsCommand& command) { return arguments[0] == command.name; });
}

int RunTools(const std::vector<std::string>& arguments) {
  const std::string directory = OwnDirectory();
  const std::string beside = directory.empty() ? "" : directory + "/" + kProgram;
  std::vector<char*> argv = {const_cast<char*>(kProgram)};
  for (const std::string& argument : arguments) {
    argv.push_back(const_cast<char*>(argument.c_str()));
  }
  argv.push_back(nullptr);
  std::string tried = beside;
  if (!beside.empty()) ::execv(beside.c_str(), argv.data());  // Returns only on failure.
  int error = beside.empty() ? ENOENT : errno;
  if (error == ENOENT) {
    ::execvp(kProgram, argv.data());
    error = errno;
    tried = kProgram;
  }
  if (error == ENOENT) {
    std::fprintf(stderr,
                 "prefixctl: %s needs the program %s, which is neither beside prefixctl (%s) nor "
                 "on PATH\n",
                 arguments[0].c_str(), kProgram, directory.empty() ? "unknown" : directory.c_str());
  } else {
    std::fprintf(stderr, "prefixctl: cannot start %s: %s\n", tried.c_str(), std::strerror(error));
  }
  return kExitFailed;
}

}  // namespace prefixd::ctl
