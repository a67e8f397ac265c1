#include "client/prefixctl/session.h"

#include <cstdio>

#include "absl/strings/str_cat.h"
#include "client/prefixctl/exit_code.h"
#include "client/prefixctl/explain.h"
#include "client/prefixctl/json_events.h"

namespace prefixd::ctl {

void Print(absl::string_view text) {
  std::fwrite(text.data(), 1, text.size(), stdout);
  std::fflush(stdout);
}

void PrintLine(absl::string_view line) { Print(absl::StrCat(line, "\n")); }

int Fail(Session* session, const absl::Status& status) {
  const int exit_code = ExitCodeOf(status);
  if (session->options.json) {
    PrintLine(ErrorLine(status));
    return exit_code;
  }
  const Options& options = session->options;
  const bool asked_admin = options.command == Command::kPs;
  Explanation explanation = Explain(status, asked_admin ? AdminServer(options) : options.server);
  if (exit_code == kExitNotReady) {
    const auto info = session->client->GetServerInfo();
    if (info.ok() && info->state() == v1::SERVER_STATE_LOADING) {
      explanation.message = absl::StrCat("model still loading: ", LoadProgress(*info));
    }
  }
  session->messages.Error(explanation.message, explanation.next_step);
  return exit_code;
}

}  // namespace prefixd::ctl
