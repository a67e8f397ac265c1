// What the command line and a conversation say about retention.
#ifndef PREFIXD_CLIENT_PREFIXCTL_RETENTION_OPTIONS_H_
#define PREFIXD_CLIENT_PREFIXCTL_RETENTION_OPTIONS_H_

#include <string>

#include <CLI/CLI.hpp>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "client/prefixctl/options.h"
#include "prefixd/v1/generation_service.pb.h"

namespace prefixd::ctl {

// Adds --retention, --budget, --policy and --profile.
void AddRetentionOptions(CLI::App* command, Retention* retention);

// Whether `name` is a setting of retention: retention, budget, policy or profile.
bool IsRetentionSetting(absl::string_view name);

// Changes one; an empty value goes back to the server's default. Requires: IsRetentionSetting.
// Errors: INVALID_ARGUMENT.
absl::Status SetRetention(absl::string_view name, absl::string_view value, Retention* retention);

// Writes what is set; nothing at all if nothing is.
void Apply(const Retention& retention, v1::GenerateRequest* request);

}  // namespace prefixd::ctl

#endif  // PREFIXD_CLIENT_PREFIXCTL_RETENTION_OPTIONS_H_
