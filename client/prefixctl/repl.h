// The conversation on a terminal: history, commands that begin with a slash, Ctrl-C.
#ifndef PREFIXD_CLIENT_PREFIXCTL_REPL_H_
#define PREFIXD_CLIENT_PREFIXCTL_REPL_H_

#include "client/prefixctl/session.h"

namespace prefixd::ctl {

// Reads questions until /bye or the end of input. Returns the exit code. Requires: stdin and stdout
// are a terminal. The history of what was typed lives in memory only.
int RunRepl(Session* session);

}  // namespace prefixd::ctl

#endif  // PREFIXD_CLIENT_PREFIXCTL_REPL_H_
