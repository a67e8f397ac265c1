#include "server/yaml_fields.h"

#include <algorithm>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "server/option_table.h"

namespace prefixd {

const YamlNode* FindYamlChild(const YamlNode& map, absl::string_view key) {
  for (size_t i = 0; i < map.keys.size(); ++i) {
    if (map.keys[i] == key) return &map.children[i];
  }
  return nullptr;
}

absl::Status CheckYamlKeys(absl::string_view name, const YamlNode& map, absl::string_view what,
                           const std::vector<std::string>& known) {
  if (map.kind != YamlNode::Kind::kMap) {
    return YamlError(name, map.line, absl::StrCat(what, ": expected `key: value`"));
  }
  for (size_t i = 0; i < map.keys.size(); ++i) {
    const std::string& key = map.keys[i];
    if (std::find(known.begin(), known.end(), key) != known.end()) continue;
    const std::string guess = ClosestName(key.substr(0, 128), known);
    return YamlError(
        name, map.key_lines[i],
        absl::StrCat("unknown key `", key.substr(0, 128), "`",
                     guess.empty() ? "" : absl::StrCat("; did you mean `", guess, "`?")));
  }
  return absl::OkStatus();
}

absl::StatusOr<double> ReadYamlNumber(absl::string_view name, const YamlNode& node,
                                      const YamlNumber& spec) {
  double value = 0;
  int32_t integer = 0;
  bool parsed = node.kind == YamlNode::Kind::kScalar;
  if (parsed && spec.integer) {
    parsed = absl::SimpleAtoi(node.scalar, &integer);
    value = integer;
  } else if (parsed) {
    parsed = absl::SimpleAtod(node.scalar, &value);
  }
  // Written so that NaN is outside.
  const bool inside =
      value <= spec.high && (spec.low_allowed ? value >= spec.low : value > spec.low);
  if (parsed && inside) return value;
  const std::string range =
      absl::StrFormat("%c%.10g, %.10g]", spec.low_allowed ? '[' : '(', spec.low, spec.high);
  return YamlError(name, node.line,
                   absl::StrCat(spec.key, ": `", node.scalar.substr(0, 64), "` is not ",
                                spec.integer ? "an integer" : "a number", " in the range ", range));
}

}  // namespace prefixd
