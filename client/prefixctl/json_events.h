// The lines of --json. Their keys are a contract with scripts: docs/client.md. Free functions.
#ifndef PREFIXD_CLIENT_PREFIXCTL_JSON_EVENTS_H_
#define PREFIXD_CLIENT_PREFIXCTL_JSON_EVENTS_H_

#include <string>

#include "absl/status/status.h"
#include "client/prefixctl/answer.h"
#include "prefixd/v1/admin_service.pb.h"
#include "prefixd/v1/generation_service.pb.h"
#include "prefixd/v1/model_service.pb.h"
#include "prefixd/v1/prefix_service.pb.h"

namespace prefixd::ctl {

// The line of `event`, without line feed. `answer` holds all events up to this one: the line of
// `finished` has the whole text. Empty for events of a newer server.
std::string EventLine(const v1::GenerateResponse& event, const Answer& answer);

// {"event":"error",...}: the error of a call or of the client itself.
std::string ErrorLine(const absl::Status& status);

// One line for `models`, `ps`, `prefix` and `count`.
std::string ModelLine(const v1::Model& model);
std::string RequestLine(const v1::RequestSummary& request);
std::string PrefixLine(const v1::Prefix& prefix);
std::string TokenCountLine(const v1::CountTokensResponse& count);

}  // namespace prefixd::ctl

#endif  // PREFIXD_CLIENT_PREFIXCTL_JSON_EVENTS_H_
