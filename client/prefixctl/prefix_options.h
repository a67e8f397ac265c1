// The command line of `prefix` and of what `run` says about the cache.
#ifndef PREFIXD_CLIENT_PREFIXCTL_PREFIX_OPTIONS_H_
#define PREFIXD_CLIENT_PREFIXCTL_PREFIX_OPTIONS_H_

#include <string>
#include <utility>
#include <vector>

#include <CLI/CLI.hpp>

#include "absl/strings/string_view.h"
#include "client/prefixctl/options.h"

namespace prefixd::ctl {

// Adds --prefix, --no-cache and --cache-salt.
void AddCacheOptions(CLI::App* command, Options* options);

// Adds `prefix` with its commands, and `cache prefixes`; `commands` learns them. Call it last: it
// uses the command `cache` if there is one.
void AddPrefixCommands(CLI::App* app, Options* options,
                       std::vector<std::pair<CLI::App*, Command>>* commands);

// "cat" and "prefixes/cat" name the same prefix; an empty name stays empty.
std::string FullPrefixName(absl::string_view name);

// Writes them into a GenerateRequest or CountTokensRequest.
template <typename Request>
void ApplyCacheOptions(const Options& options, Request* request) {
  request->set_prefix(FullPrefixName(options.prefix));
  request->set_bypass_prefix_cache(options.no_cache);
  request->set_cache_salt(options.cache_salt);
}

}  // namespace prefixd::ctl

#endif  // PREFIXD_CLIENT_PREFIXCTL_PREFIX_OPTIONS_H_
