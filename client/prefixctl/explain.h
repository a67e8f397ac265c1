// Errors in the words of someone who wants to go on: what happened, and what to do next.
#ifndef PREFIXD_CLIENT_PREFIXCTL_EXPLAIN_H_
#define PREFIXD_CLIENT_PREFIXCTL_EXPLAIN_H_

#include <string>

#include "absl/status/status.h"
#include "prefixd/v1/admin_service.pb.h"

namespace prefixd::ctl {

struct Explanation {
  std::string message;
  std::string next_step;  // Empty if there is nothing to say.
};

// Explains the error of a call to `server`.
Explanation Explain(const absl::Status& status, const std::string& server);

// Whether a server answered a question to AdminService, but only that it does not answer it: it is
// not served there, or not to this caller.
bool TellsNothing(const absl::Status& status);

// "62 % (4.0 of 6.5 MB)", or "starting" before anything is read.
std::string LoadProgress(const v1::GetServerInfoResponse& info);

}  // namespace prefixd::ctl

#endif  // PREFIXD_CLIENT_PREFIXCTL_EXPLAIN_H_
