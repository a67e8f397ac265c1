// Fields of a mapping in a YamlNode, read strictly. Pure functions; errors are INVALID_ARGUMENT
// `name:line: ...`, where `name` is that of the file.
#ifndef PREFIXD_SERVER_YAML_FIELDS_H_
#define PREFIXD_SERVER_YAML_FIELDS_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "server/yaml_tree.h"

namespace prefixd {

// What a number may be; `high` is inside.
struct YamlNumber {
  absl::string_view key;  // Stands in errors.
  double low = 0, high = 0;
  bool low_allowed = true;  // Whether `low` itself is.
  bool integer = false;
};

// The child of this key, or null.
const YamlNode* FindYamlChild(const YamlNode& map, absl::string_view key);

// Checks that `map` is a mapping with keys among `known` alone; a wrong key is named with what may
// have been meant. `what` names the mapping.
absl::Status CheckYamlKeys(absl::string_view name, const YamlNode& map, absl::string_view what,
                           const std::vector<std::string>& known);

// Reads a number in its range. An integer fits 32 bits.
absl::StatusOr<double> ReadYamlNumber(absl::string_view name, const YamlNode& node,
                                      const YamlNumber& spec);

}  // namespace prefixd

#endif  // PREFIXD_SERVER_YAML_FIELDS_H_
