#include "tests/prompt_template/template_testing.h"

#include "base/status_macros.h"

namespace prefixd::jinja {

using nlohmann::ordered_json;

absl::StatusOr<Value> ValueOf(const ordered_json& json, Heap* heap) {
  if (json.is_null()) return Value::None();
  if (json.is_boolean()) return Value(json.get<bool>());
  if (json.is_number_integer()) return Value(json.get<int64_t>());
  if (json.is_number()) return Value(json.get<double>());
  if (json.is_string()) return heap->NewText(Text(json.get<std::string>(), Mark::kUser));
  if (json.is_array()) {
    std::vector<Value> items;
    for (const ordered_json& item : json) {
      PREFIXD_ASSIGN_OR_RETURN(const Value value, ValueOf(item, heap));
      items.push_back(value);
    }
    return heap->NewList(std::move(items));
  }
  Dict dict;
  for (const auto& [key, item] : json.items()) {
    PREFIXD_ASSIGN_OR_RETURN(const Value name, heap->NewString(key));
    PREFIXD_ASSIGN_OR_RETURN(const Value value, ValueOf(item, heap));
    dict.entries.emplace_back(name, value);
  }
  return heap->NewDict(std::move(dict));
}

absl::StatusOr<Text> RenderJson(const std::string& source, const ordered_json& variables,
                                const RenderOptions& options) {
  PREFIXD_ASSIGN_OR_RETURN(const auto parsed, Template::Parse(source));
  return parsed->Render(
      [&](Heap* heap) -> absl::StatusOr<Variables> {
        Variables made;
        for (const auto& [name, json] : variables.items()) {
          PREFIXD_ASSIGN_OR_RETURN(const Value value, ValueOf(json, heap));
          made.emplace_back(name, value);
        }
        return made;
      },
      options);
}

}  // namespace prefixd::jinja
