// Reads the configuration file: one flat YAML mapping from option keys to scalars.
#ifndef PREFIXD_SERVER_CONFIG_FILE_H_
#define PREFIXD_SERVER_CONFIG_FILE_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace prefixd {

// Larger files are refused unread.
inline constexpr size_t kMaxConfigFileBytes = 1 << 20;

struct ConfigEntry {
  std::string key;
  std::string value;
  int line = 0;  // From 1.
};

// Parses the text of a file; `name` stands in errors. Keys are in order and distinct; whether they
// are options is not checked. Errors: INVALID_ARGUMENT `name:line: ...` for anything but one flat
// mapping of scalars: syntax errors, a key twice, no value, lists, anchors, aliases, tags.
absl::StatusOr<std::vector<ConfigEntry>> ParseConfig(absl::string_view name,
                                                     const std::string& text);

// As ParseConfig, of a regular file of at most kMaxConfigFileBytes.
absl::StatusOr<std::vector<ConfigEntry>> ReadConfigFile(const std::string& path);

}  // namespace prefixd

#endif  // PREFIXD_SERVER_CONFIG_FILE_H_
