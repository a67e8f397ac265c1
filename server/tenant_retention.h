// The block `retention` of a tenant in the tenants file: the defaults of its requests. Pure
// functions.
#ifndef PREFIXD_SERVER_TENANT_RETENTION_H_
#define PREFIXD_SERVER_TENANT_RETENTION_H_

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "engine/request.h"
#include "server/yaml_tree.h"

namespace prefixd {

// Reads the block; what it does not have stays unset. Whether policy and profile exist is for the
// engine to say. Errors: INVALID_ARGUMENT `name:line: ...` for unknown keys, values out of range
// and texts that are no names.
absl::StatusOr<RetentionParams> ReadTenantRetention(absl::string_view name, const YamlNode& node);

// The first difference in words, "budget is 0.2, was unset"; empty: there is none.
std::string RetentionDifference(const RetentionParams& now, const RetentionParams& before);

}  // namespace prefixd

#endif  // PREFIXD_SERVER_TENANT_RETENTION_H_
