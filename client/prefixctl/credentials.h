// How prefixctl connects: timeouts, token and certificates from flags, files and the environment.
#ifndef PREFIXD_CLIENT_PREFIXCTL_CREDENTIALS_H_
#define PREFIXD_CLIENT_PREFIXCTL_CREDENTIALS_H_

#include <functional>
#include <string>

#include "absl/status/statusor.h"
#include "client/client.h"
#include "client/prefixctl/options.h"

namespace prefixd::ctl {

// Returns an environment variable, or null.
using Environment = std::function<const char*(const char* name)>;

// Fills in the part of ClientOptions that `options` decide. The token is that of --token-file, else
// PREFIXD_TOKEN; it never comes from the command line, which other users can read.
// Errors name the file or variable: a token file that everybody may read, no or several words in
// it, certificates that cannot be read.
absl::StatusOr<ClientOptions> MakeClientOptions(const Options& options,
                                                const Environment& environment);

}  // namespace prefixd::ctl

#endif  // PREFIXD_CLIENT_PREFIXCTL_CREDENTIALS_H_
