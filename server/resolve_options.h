// Puts the sources of options together: flag over environment over file over default.
#ifndef PREFIXD_SERVER_RESOLVE_OPTIONS_H_
#define PREFIXD_SERVER_RESOLVE_OPTIONS_H_

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "server/config_file.h"
#include "server/options.h"

namespace prefixd {

enum class OptionOrigin { kDefault, kFile, kEnvironment, kFlag };

absl::string_view OptionOriginName(OptionOrigin origin);  // "default", "file", "env", "flag".

struct ResolvedOptions {
  ServerOptions options;
  std::vector<OptionOrigin> origins;  // In order of OptionTable().
};

// A flag as given: the option's name without dashes, and its text.
struct FlagValue {
  std::string name;
  std::string text;
};

// Returns the value of an environment variable, or nullopt.
using EnvironmentLookup = std::function<std::optional<std::string>(const std::string& name)>;

EnvironmentLookup ProcessEnvironment();

// Resolves all options, reading the file that `config` names, if any. What concerns several options
// at once is not checked. Errors: INVALID_ARGUMENT that names the flag, the variable or the file
// and line.
absl::StatusOr<ResolvedOptions> ResolveOptions(const std::vector<FlagValue>& flags,
                                               const EnvironmentLookup& environment);

// Sets the options that a file names. Errors name the file and line, and what may have been meant.
absl::Status ApplyConfig(absl::string_view name, const std::vector<ConfigEntry>& entries,
                         ResolvedOptions* resolved);

// One line for each group of options, such as "config listen=127.0.0.1:50051(default) ...".
std::vector<std::string> DescribeOptions(const ResolvedOptions& resolved);

}  // namespace prefixd

#endif  // PREFIXD_SERVER_RESOLVE_OPTIONS_H_
