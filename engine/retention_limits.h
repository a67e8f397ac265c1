// Ranges of retention parameters, for requests, tenants and options alike. Constants and pure
// functions.
#ifndef PREFIXD_ENGINE_RETENTION_LIMITS_H_
#define PREFIXD_ENGINE_RETENTION_LIMITS_H_

#include <cstdint>

#include "absl/strings/string_view.h"

namespace prefixd {

// Shares kept; at most 1.
inline constexpr double kMinRetentionBudget = 0.001;
inline constexpr int32_t kMaxRetentionStartSize = 1024;  // From 0.
inline constexpr int32_t kMaxRetentionProtect = 1024;    // From 1.
inline constexpr int32_t kMaxRetentionDistance = 65536;  // Either sign.
inline constexpr size_t kMaxRetentionNameBytes = 64;     // Of policies and profiles, from 1.
inline constexpr double kMaxGuardDrift = 100;            // Nats a token, from above 0.

// Whether `name` could name a policy: 1..64 of [a-z0-9-].
inline bool IsPolicyName(absl::string_view name) {
  return !name.empty() && name.size() <= kMaxRetentionNameBytes &&
         name.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789-") == absl::string_view::npos;
}

// Whether `name` could name a profile: 1..64 of [A-Za-z0-9._-], not "." or "..".
inline bool IsProfileName(absl::string_view name) {
  return !name.empty() && name.size() <= kMaxRetentionNameBytes && name != "." && name != ".." &&
         name.find_first_not_of(
             "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") ==
             absl::string_view::npos;
}

}  // namespace prefixd

#endif  // PREFIXD_ENGINE_RETENTION_LIMITS_H_
