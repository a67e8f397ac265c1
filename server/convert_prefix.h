// From the messages of PrefixService to the engine's values and back. Pure functions.
#ifndef PREFIXD_SERVER_CONVERT_PREFIX_H_
#define PREFIXD_SERVER_CONVERT_PREFIX_H_

#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "engine/engine.h"
#include "prefixd/v1/prefix_service.pb.h"
#include "server/request_limits.h"
#include "server/violations.h"

namespace prefixd {

// Takes the message apart; `tenant` and `deadline` are left for the caller.
// Errors: those of ConvertGenerateRequest for the model and the input; INVALID_ARGUMENT,
// PARAMETER_OUT_OF_RANGE for the other fields. All violations at once.
absl::StatusOr<PrefixSpec> ConvertCreatePrefixRequest(v1::CreatePrefixRequest message,
                                                      const EngineModelInfo& model,
                                                      const RequestLimits& limits);

// The new time to live; unset: as before. Errors: INVALID_ARGUMENT for it or a malformed name.
absl::StatusOr<std::optional<absl::Duration>> ConvertTouchPrefixRequest(
    const v1::TouchPrefixRequest& message);

// OK, or INVALID_ARGUMENT for a malformed name.
absl::Status CheckPrefixRequestName(absl::string_view name);

// `wall_now`: the time for people at which `prefix` was read.
void ToProto(const PrefixInfo& prefix, const std::string& model, absl::Time wall_now,
             v1::Prefix* out);

}  // namespace prefixd

#endif  // PREFIXD_SERVER_CONVERT_PREFIX_H_
