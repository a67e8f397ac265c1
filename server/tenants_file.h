// The tenants file: who may use the server, with which tokens, and with what share.
// docs/operations.md shows one; deploy/tenants.example.yaml is another.
#ifndef PREFIXD_SERVER_TENANTS_FILE_H_
#define PREFIXD_SERVER_TENANTS_FILE_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "engine/options.h"
#include "server/token_table.h"

namespace prefixd {

// Larger files are refused unread.
inline constexpr size_t kMaxTenantsFileBytes = 1 << 20;
inline constexpr size_t kMaxTenants = 1000;
inline constexpr size_t kMaxTenantNameBytes = 64;

struct TenantsFile {
  std::vector<TenantOptions> tenants;        // At least one, in order of the file, names distinct.
  std::shared_ptr<const TokenTable> tokens;  // Shared: calls look up while a reload replaces it.
};

// Parses the text of a file; `name` stands in errors. Errors: INVALID_ARGUMENT `name:line: ...`
// with the value and its range, for whatever is not exactly understood: unknown keys (with what may
// have been meant), values out of range, a name or token twice, page floors that add up to more
// than the pool, no tenant.
absl::StatusOr<TenantsFile> ParseTenantsFile(absl::string_view name, const std::string& text);

// As ParseTenantsFile, of a file that only its owner and group may open. Errors also:
// PERMISSION_DENIED, NOT_FOUND.
absl::StatusOr<TenantsFile> ReadTenantsFile(const std::string& path);

// Reads the file again while the server runs and returns the new tokens; the tenants of the engine
// stay as they were at the start. Errors (the old tokens go on): those of ReadTenantsFile;
// FAILED_PRECONDITION for a tenant that is not among `running`, or numbers or retention that
// differ, which only a restart can change. A tenant may go: its tokens are withdrawn. Operators'
// tokens may change, but not come or go altogether.
absl::StatusOr<std::shared_ptr<const TokenTable>> ReloadTokens(
    const std::string& path, const std::vector<TenantOptions>& running, bool has_operators);

}  // namespace prefixd

#endif  // PREFIXD_SERVER_TENANTS_FILE_H_
