#include "server/resolve_options.h"

#include <cstdlib>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "server/option_table.h"

namespace prefixd {
namespace {

// Sets the option at `index` of the table and remembers where the value came from.
absl::Status Set(size_t index, absl::string_view text, OptionOrigin origin,
                 absl::string_view source, ResolvedOptions* resolved) {
  const absl::Status status = SetOption(OptionTable()[index], text, &resolved->options);
  if (!status.ok()) {
    return absl::InvalidArgumentError(absl::StrCat(source, ": ", status.message()));
  }
  resolved->origins[index] = origin;
  return absl::OkStatus();
}

absl::Status ApplyEnvironment(const EnvironmentLookup& environment, ResolvedOptions* resolved) {
  const absl::Span<const OptionSpec> table = OptionTable();
  for (size_t i = 0; i < table.size(); ++i) {
    const std::string name = table[i].Environment();
    const std::optional<std::string> text = environment(name);
    if (!text) continue;
    PREFIXD_RETURN_IF_ERROR(Set(i, *text, OptionOrigin::kEnvironment, name, resolved));
  }
  return absl::OkStatus();
}

absl::Status ApplyFlags(const std::vector<FlagValue>& flags, ResolvedOptions* resolved) {
  const absl::Span<const OptionSpec> table = OptionTable();
  for (const FlagValue& flag : flags) {
    for (size_t i = 0; i < table.size(); ++i) {
      if (table[i].name != flag.name) continue;
      PREFIXD_RETURN_IF_ERROR(Set(i, flag.text, OptionOrigin::kFlag, table[i].Flag(), resolved));
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::string_view OptionOriginName(OptionOrigin origin) {
  switch (origin) {
    case OptionOrigin::kFile:
      return "file";
    case OptionOrigin::kEnvironment:
      return "env";
    case OptionOrigin::kFlag:
      return "flag";
    case OptionOrigin::kDefault:
      break;
  }
  return "default";
}

EnvironmentLookup ProcessEnvironment() {
  return [](const std::string& name) -> std::optional<std::string> {
    const char* value = std::getenv(name.c_str());
    if (value == nullptr) return std::nullopt;
    return std::string(value);
  };
}

absl::Status ApplyConfig(absl::string_view name, const std::vector<ConfigEntry>& entries,
                         ResolvedOptions* resolved) {
  const absl::Span<const OptionSpec> table = OptionTable();
  std::vector<std::string> keys;
  for (const OptionSpec& spec : table) {
    if (spec.in_file) keys.push_back(spec.Key());
  }
  for (const ConfigEntry& entry : entries) {
    const std::string source = absl::StrCat(name, ":", entry.line);
    size_t index = 0;
    while (index < table.size() && !(table[index].in_file && table[index].Key() == entry.key)) {
      ++index;
    }
    if (index == table.size()) {
      const std::string guess = ClosestName(entry.key, keys);
      return absl::InvalidArgumentError(
          absl::StrCat(source, ": unknown key `", entry.key, "`",
                       guess.empty() ? "" : absl::StrCat("; did you mean `", guess, "`?")));
    }
    PREFIXD_RETURN_IF_ERROR(Set(index, entry.value, OptionOrigin::kFile,
                                absl::StrCat(source, ": ", entry.key), resolved));
  }
  return absl::OkStatus();
}

absl::StatusOr<ResolvedOptions> ResolveOptions(const std::vector<FlagValue>& flags,
                                               const EnvironmentLookup& environment) {
  ResolvedOptions resolved;
  resolved.origins.assign(OptionTable().size(), OptionOrigin::kDefault);
  // Where the file is must be known before what it says, which the other two override.
  ResolvedOptions first = resolved;
  PREFIXD_RETURN_IF_ERROR(ApplyEnvironment(environment, &first));
  PREFIXD_RETURN_IF_ERROR(ApplyFlags(flags, &first));
  if (!first.options.config.empty()) {
    PREFIXD_ASSIGN_OR_RETURN(const std::vector<ConfigEntry> entries,
                             ReadConfigFile(first.options.config));
    PREFIXD_RETURN_IF_ERROR(ApplyConfig(first.options.config, entries, &resolved));
  }
  PREFIXD_RETURN_IF_ERROR(ApplyEnvironment(environment, &resolved));
  PREFIXD_RETURN_IF_ERROR(ApplyFlags(flags, &resolved));
  return resolved;
}

std::vector<std::string> DescribeOptions(const ResolvedOptions& resolved) {
  const absl::Span<const OptionSpec> table = OptionTable();
  std::vector<std::string> lines;
  absl::string_view group;
  for (size_t i = 0; i < table.size(); ++i) {
    if (table[i].group != group) {
      group = table[i].group;
      lines.push_back("config");
    }
    absl::StrAppend(&lines.back(), " ", table[i].Key(), "=",
                    FormatOption(table[i], resolved.options), "(",
                    OptionOriginName(resolved.origins[i]), ")");
  }
  return lines;
}

}  // namespace prefixd
