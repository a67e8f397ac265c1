// prefixd: serves a vision-language model over gRPC.
#include <cstdio>
#include <exception>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/clock.h"
#include "base/log.h"
#include "engine/engine.h"
#include "server/command_line.h"
#include "server/config_reference.h"
#include "server/daemon.h"
#include "server/option_table.h"
#include "server/resolve_options.h"
#include "server/stop_signal.h"

namespace prefixd {
namespace {

constexpr int kExitInvalidFile = 6;  // Of `prefixd config check`.

int Fail(int exit_status, const absl::Status& status) {
  std::fprintf(stderr, "prefixd: %s\n", std::string(status.message()).c_str());
  return exit_status;
}

// Checks what a file says, apart from flags and environment. A file need not name a model.
absl::Status CheckConfigFile(const std::string& path) {
  absl::StatusOr<ResolvedOptions> resolved =
      ResolveOptions({{"config", path}}, [](const std::string&) { return std::nullopt; });
  if (!resolved.ok()) return resolved.status();
  ServerOptions& options = resolved->options;
  if (options.engine.model_path.empty()) options.engine.model_path = ".";
  absl::Status status = ValidateServerOptions(options);
  if (status.ok()) status = options.engine.Validate();
  if (status.ok()) return status;
  return absl::InvalidArgumentError(absl::StrCat(path, ": ", status.message()));
}

LogLevel ParseLogLevel(const std::string& text) {
  if (text == "trace") return LogLevel::kTrace;
  if (text == "debug") return LogLevel::kDebug;
  if (text == "warn") return LogLevel::kWarn;
  return text == "error" ? LogLevel::kError : LogLevel::kInfo;
}

int Serve(const ResolvedOptions& resolved) {
  const ServerOptions& options = resolved.options;
  if (const absl::Status status = ValidateServerOptions(options); !status.ok()) {
    return Fail(kExitConfig, status);
  }
  ConfigureLog(ParseLogLevel(options.log_level),
               options.log_format == "json" ? LogFormat::kJson : LogFormat::kText);
  PREFIXD_LOG(kInfo, "prefixd ", PREFIXD_VERSION, " starts");
  for (const std::string& line : DescribeOptions(resolved)) PREFIXD_LOG(kInfo, line);
  SignalThread::BlockSignals();
  StopSignal stop;
  SignalThread signals(&stop);
  const MonotonicClock clock;
  return RunDaemon(options, &Engine::Open, &clock, &stop);
}

int Main(const std::vector<std::string>& arguments) {
  const absl::StatusOr<CommandLine> line = ParseCommandLine(arguments);
  if (!line.ok()) return Fail(kExitConfig, line.status());
  if (line->command == Command::kPrintText) {
    std::fputs(line->text.c_str(), stdout);
    return kExitOk;
  }
  if (line->command == Command::kConfigCheck) {
    const absl::Status status = CheckConfigFile(line->check_file);
    return status.ok() ? kExitOk : Fail(kExitInvalidFile, status);
  }
  const absl::StatusOr<ResolvedOptions> resolved =
      ResolveOptions(line->flags, ProcessEnvironment());
  if (!resolved.ok()) return Fail(kExitConfig, resolved.status());
  if (line->command == Command::kConfigPrint) {
    std::fputs(OptionsAsConfig(*resolved, line->show_origin).c_str(), stdout);
    return kExitOk;
  }
  return Serve(*resolved);
}

}  // namespace
}  // namespace prefixd

int main(int argc, char** argv) {
  try {
    return prefixd::Main(std::vector<std::string>(argv + 1, argv + argc));
  } catch (const std::exception& e) {
    std::fprintf(stderr, "prefixd: %s\n", e.what());
    return prefixd::kExitEngineFailed;
  }
}
