// prefixctl: asks a prefixd server, from the shell or in a conversation.
#include <algorithm>
#include <clocale>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "client/prefixctl/commands.h"
#include "client/prefixctl/credentials.h"
#include "client/prefixctl/exit_code.h"
#include "client/prefixctl/tools.h"

namespace prefixd::ctl {
namespace {

constexpr absl::Duration kUnaryTimeout = absl::Seconds(10);
// How long `version` and `wait` listen to a server that may not be there.
constexpr absl::Duration kShortTimeout = absl::Seconds(2);

absl::Duration UnaryTimeout(const Options& options) {
  if (options.command == Command::kWait) {
    return std::min(kShortTimeout, options.timeout.value_or(kShortTimeout));
  }
  // A view that waits longer is stale.
  if (options.command == Command::kTop) return options.timeout.value_or(kShortTimeout);
  if (options.command == Command::kVersion) return options.timeout.value_or(kShortTimeout);
  return options.timeout.value_or(kUnaryTimeout);
}

int Run(Session* session) {
  switch (session->options.command) {
    case Command::kRun:
      return RunAsk(session);
    case Command::kCount:
      return RunCount(session);
    case Command::kModelsList:
      return RunModelsList(session);
    case Command::kModelsShow:
      return RunModelsShow(session);
    case Command::kPs:
      return RunPs(session);
    case Command::kHealth:
      return RunHealth(session);
    case Command::kWait:
      return RunWait(session);
    case Command::kVersion:
      return RunVersion(session);
    case Command::kPrefixCreate:
      return RunPrefixCreate(session);
    case Command::kPrefixList:
      return RunPrefixList(session);
    case Command::kPrefixShow:
      return RunPrefixShow(session);
    case Command::kPrefixTouch:
      return RunPrefixTouch(session);
    case Command::kPrefixRelease:
      return RunPrefixRelease(session);
    case Command::kCacheStats:
      return RunCacheStats(session);
    case Command::kCacheFlush:
      return RunCacheFlush(session);
    case Command::kTop:
      return RunTop(session);
    case Command::kClassify:
      return RunClassify(session);
    case Command::kClassSetList:
      return RunClassSetList(session);
    case Command::kClassSetGet:
      return RunClassSetGet(session);
    case Command::kClassSetCreate:
      return RunClassSetCreate(session);
    case Command::kClassSetDelete:
      return RunClassSetDelete(session);
    case Command::kScore:
      return RunScore(session);
    case Command::kDoctor:
      break;
  }
  return RunDoctor(session);
}

int Main(const std::vector<std::string>& arguments) {
  std::setlocale(LC_ALL, "");
  if (IsToolsCommand(arguments)) return RunTools(arguments);
  auto parsed = ParseOptions(arguments);
  if (const EarlyExit* exit = std::get_if<EarlyExit>(&parsed)) {
    std::fputs(exit->out.c_str(), stdout);
    std::fputs(exit->err.c_str(), stderr);
    return exit->exit_code;
  }
  Interrupts interrupts;  // Before gRPC starts threads.
  const Options& options = std::get<Options>(parsed);
  const Terminal terminal = DetectTerminal(options.no_color);
  Session session{.options = options,
                  .terminal = terminal,
                  .messages = Messages(terminal, options.quiet),
                  .interrupts = &interrupts};
  auto connection = MakeClientOptions(options, [](const char* name) { return std::getenv(name); });
  if (!connection.ok()) {
    session.messages.Error(connection.status().message(), "");
    return kExitUsage;
  }
  connection->unary_timeout = UnaryTimeout(options);
  // Every run is a new client: whether the server has a picture is asked rather than remembered.
  connection->image_digests = ImageDigests::kAlways;
  auto client = Client::Connect(options.server, *connection);
  if (!client.ok()) {
    session.messages.Error(client.status().message(), "see prefixctl --help");
    return kExitUsage;
  }
  session.client = *std::move(client);
  return Run(&session);
}

}  // namespace
}  // namespace prefixd::ctl

int main(int argc, char** argv) {
  return prefixd::ctl::Main(std::vector<std::string>(argv + 1, argv + argc));
}
