// One question to the server, with the answer shown as it comes.
#ifndef PREFIXD_CLIENT_PREFIXCTL_ASK_H_
#define PREFIXD_CLIENT_PREFIXCTL_ASK_H_

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "client/prefixctl/answer.h"
#include "client/prefixctl/session.h"
#include "prefixd/v1/generation_service.pb.h"

namespace prefixd::ctl {

// Sends `request` and shows the answer: JSON lines with --json, nothing with --detect, else text on
// stdout (wrapped on a terminal), then log-probabilities if they were asked for, then a summary
// with --verbose. Ctrl-C cancels. Errors: those of the call, not shown; `answer` holds what came
// before.
absl::Status Ask(Session* session, const v1::GenerateRequest& request, Answer* answer);

// The bytes of an image file of at most 32 MiB; "-" reads stdin.
// Errors: INVALID_ARGUMENT, IMAGE_UNREADABLE.
absl::StatusOr<std::string> ReadImage(const std::string& path);

// All of stdin. Errors: INVALID_ARGUMENT above `max_bytes`.
absl::StatusOr<std::string> ReadStdin(size_t max_bytes);

}  // namespace prefixd::ctl

#endif  // PREFIXD_CLIENT_PREFIXCTL_ASK_H_
