// What every command of prefixctl works with. Main thread only.
#ifndef PREFIXD_CLIENT_PREFIXCTL_SESSION_H_
#define PREFIXD_CLIENT_PREFIXCTL_SESSION_H_

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "client/client.h"
#include "client/prefixctl/interrupts.h"
#include "client/prefixctl/messages.h"
#include "client/prefixctl/options.h"
#include "client/prefixctl/terminal.h"

namespace prefixd::ctl {

struct Session {
  Options options;
  Terminal terminal;
  Messages messages;
  Interrupts* interrupts;
  std::unique_ptr<Client> client;  // Null only if the address is malformed; no command runs then.
};

// Where AdminService is asked.
inline const std::string& AdminServer(const Options& options) {
  return options.admin_server.empty() ? options.server : options.admin_server;
}

// Writes to stdout at once.
void Print(absl::string_view text);
void PrintLine(absl::string_view line);

// Tells of an error: a line of JSON on stdout with --json, else words on stderr. Where the model is
// still loading it asks the server how far it is. Returns the exit code.
int Fail(Session* session, const absl::Status& status);

}  // namespace prefixd::ctl

#endif  // PREFIXD_CLIENT_PREFIXCTL_SESSION_H_
