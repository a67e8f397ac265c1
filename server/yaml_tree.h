// A YAML document as a small tree with line numbers, read strictly: the files that operators write
// have mappings, lists and scalars, and nothing that a reader could misunderstand.
#ifndef PREFIXD_SERVER_YAML_TREE_H_
#define PREFIXD_SERVER_YAML_TREE_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace prefixd {

inline constexpr int kMaxYamlDepth = 8;
inline constexpr int kMaxYamlNodes = 1 << 17;

struct YamlNode {
  enum class Kind { kNull, kScalar, kList, kMap };

  Kind kind = Kind::kNull;
  int line = 0;                   // From 1.
  std::string scalar;             // Of kScalar.
  std::vector<std::string> keys;  // Of kMap: distinct, one for each child.
  std::vector<int> key_lines;
  std::vector<YamlNode> children;  // Of kList and kMap.
};

// Returns INVALID_ARGUMENT `name:line: why`.
absl::Status YamlError(absl::string_view name, int line, absl::string_view why);

// Parses the text of a file; `name` stands in errors. An empty document is kNull. Errors:
// INVALID_ARGUMENT for bad syntax, carriage returns, a key twice, a key that is no scalar, anchors,
// aliases, tags, a second document, too much depth or too many nodes.
absl::StatusOr<YamlNode> ParseYamlTree(absl::string_view name, const std::string& text);

}  // namespace prefixd

#endif  // PREFIXD_SERVER_YAML_TREE_H_
