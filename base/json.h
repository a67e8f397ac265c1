// A strict JSON reader for files from outside: no duplicate keys, bounded depth, finite numbers,
// valid UTF-8, nothing after the value. Built on nlohmann-json.
#ifndef PREFIXD_BASE_JSON_H_
#define PREFIXD_BASE_JSON_H_

#include <cstddef>
#include <string>

#include <nlohmann/json_fwd.hpp>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace prefixd {

// The deepest nesting that ParseJson accepts.
inline constexpr int kMaxJsonDepth = 64;

// Errors: INVALID_ARGUMENT that says what is wrong and at which byte.
// The caller bounds the size of `text`. Keys come out sorted.
absl::StatusOr<nlohmann::json> ParseJson(absl::string_view text);

// As ParseJson, of a regular file of at most `max_bytes`. Errors name the file.
absl::StatusOr<nlohmann::json> ReadJsonFile(const std::string& path, size_t max_bytes);

}  // namespace prefixd

#endif  // PREFIXD_BASE_JSON_H_
