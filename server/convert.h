// From the wire to the engine's Request. Everything that can be checked without tokenising is
// checked here, all violations at once; field paths are those of the proto. Pure functions.
#ifndef PREFIXD_SERVER_CONVERT_H_
#define PREFIXD_SERVER_CONVERT_H_

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "engine/engine.h"
#include "engine/request.h"
#include "prefixd/v1/generation_service.pb.h"
#include "server/request_limits.h"
#include "server/violations.h"

namespace prefixd {

// Takes the message apart: texts and images are moved, not copied. Parameters that are not set get
// the defaults of the model. `id`, `tenant` and `deadline` are left for the caller.
// Errors: INVALID_ARGUMENT (PARAMETER_OUT_OF_RANGE, INPUT_INVALID, IMAGE_TOO_LARGE,
// IMAGE_FORMAT_UNSUPPORTED, IMAGE_COUNT_MISMATCH, CONTEXT_LENGTH_EXCEEDED); NOT_FOUND
// (MODEL_NOT_FOUND); FAILED_PRECONDITION (FEATURE_UNSUPPORTED) for a chat or an image that the
// model does not take; UNIMPLEMENTED (FEATURE_UNSUPPORTED) for reserved fields.
absl::StatusOr<Request> ConvertGenerateRequest(v1::GenerateRequest message,
                                               const EngineModelInfo& model,
                                               const RequestLimits& limits);

// The same for CountTokens: only what concerns the input and the cache is set.
absl::StatusOr<Request> ConvertCountTokensRequest(v1::CountTokensRequest message,
                                                  const EngineModelInfo& model,
                                                  const RequestLimits& limits);

// Checks the name of a model; empty means the one that is served. A malformed name is a violation.
// Errors: NOT_FOUND for a name that is not served.
absl::Status CheckModelName(absl::string_view field, const std::string& name,
                            const EngineModelInfo& model, Violations* violations);

// Adds a violation unless `id`, if there is one, is a request id.
void CheckRequestId(const std::string& id, Violations* violations);

// Adds a violation unless `name` is `prefixes/` and 1..63 of [a-z0-9-].
void CheckPrefixName(absl::string_view field, absl::string_view name, Violations* violations);

// The same for `classSets/`.
void CheckClassSetName(absl::string_view field, absl::string_view name, Violations* violations);

// Whether `id`, of a prefix or a class set, has 1..63 of [a-z0-9-].
bool IsPrefixId(absl::string_view id);

// Whether `id` has 1..128 characters of [A-Za-z0-9._:/-].
bool IsRequestId(absl::string_view id);

}  // namespace prefixd

#endif  // PREFIXD_SERVER_CONVERT_H_
