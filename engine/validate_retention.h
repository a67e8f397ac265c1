// What EngineOptions::Validate checks of retention and of the quality guard. Pure functions.
#ifndef PREFIXD_ENGINE_VALIDATE_RETENTION_H_
#define PREFIXD_ENGINE_VALIDATE_RETENTION_H_

#include "absl/status/status.h"
#include "engine/options.h"

namespace prefixd {

// Checks the options retention_* and guard_*. Errors: INVALID_ARGUMENT naming the option, its value
// and its range.
absl::Status ValidateRetention(const EngineOptions& options);

// Checks the defaults of one tenant. `options` has the directory of profiles. Errors likewise,
// naming the tenant.
absl::Status ValidateRetention(const EngineOptions& options, const TenantOptions& tenant);

}  // namespace prefixd

#endif  // PREFIXD_ENGINE_VALIDATE_RETENTION_H_
