// The one table of options: it drives flags, environment, configuration file, help, the generated
// reference (docs/configuration.md) and the start-up dump. Constant; safe from any thread.
#ifndef PREFIXD_SERVER_OPTION_TABLE_H_
#define PREFIXD_SERVER_OPTION_TABLE_H_

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "server/options.h"

namespace prefixd {

// Where an option's value lives in ServerOptions; the type decides how it is spelled:
// bytes as `32MiB` (B, KiB, MiB, GiB, TiB), durations as `60s` (ms, s, m, h), bool as true or
// false, double as a decimal without exponent, `0.25`.
using OptionField = std::variant<std::string& (*)(ServerOptions&), bool& (*)(ServerOptions&),
                                 int32_t& (*)(ServerOptions&), uint64_t& (*)(ServerOptions&),
                                 absl::Duration& (*)(ServerOptions&), double& (*)(ServerOptions&)>;

struct OptionSpec {
  absl::string_view name;   // As a flag: "kv-memory". Environment PREFIXD_KV_MEMORY, key kv_memory.
  absl::string_view group;  // Heading in the reference.
  OptionField field;
  int64_t min = 0;  // Inclusive; bytes, or milliseconds of a duration.
  int64_t max = 0;
  double low = 0;  // The same of a double.
  double high = 0;
  absl::string_view zero_word;             // Spells 0, such as "auto"; then the digit 0 is refused.
  std::vector<absl::string_view> choices;  // Of a string; empty: any text.
  absl::string_view help;
  bool reloadable = false;  // May change while the daemon runs.
  bool in_file = true;      // Whether the configuration file may set it.

  std::string Flag() const;         // "--kv-memory"
  std::string Environment() const;  // "PREFIXD_KV_MEMORY"
  std::string Key() const;          // "kv_memory"
  std::string TypeName() const;  // "bytes", "duration", "integer", "number", "boolean" or "string".
  std::string Range() const;     // "[1, 256] or auto"; empty: any text.
};

// All options in order of the reference.
absl::Span<const OptionSpec> OptionTable();

// Returns the option with this flag name, or null.
const OptionSpec* FindOption(absl::string_view name);

// Parses `text` strictly into the option's field. Errors: INVALID_ARGUMENT with the value and the
// range; the option is not named.
absl::Status SetOption(const OptionSpec& spec, absl::string_view text, ServerOptions* options);

// Returns the option's value as SetOption would read it.
std::string FormatOption(const OptionSpec& spec, const ServerOptions& options);

// Returns the candidate that is at most two edits from `text`, or an empty string.
std::string ClosestName(absl::string_view text, absl::Span<const std::string> candidates);

}  // namespace prefixd

#endif  // PREFIXD_SERVER_OPTION_TABLE_H_
