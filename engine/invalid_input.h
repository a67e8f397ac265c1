// The error for a part of a request that says something impossible.
#ifndef PREFIXD_ENGINE_INVALID_INPUT_H_
#define PREFIXD_ENGINE_INVALID_INPUT_H_

#include <string>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "base/error.h"
#include "engine/error_reasons.h"

namespace prefixd {

// INVALID_ARGUMENT, INPUT_INVALID: "field: problem", with the field as violated one.
inline absl::Status InvalidInput(absl::string_view field, absl::string_view problem) {
  return MakeError(absl::StatusCode::kInvalidArgument, absl::StrCat(field, ": ", problem),
                   ErrorDetail{.reason = reason::kInputInvalid,
                               .field_violations = {{std::string(field), std::string(problem)}}});
}

}  // namespace prefixd

#endif  // PREFIXD_ENGINE_INVALID_INPUT_H_
