// Values as text, in Python's spelling. One render, one thread.
#ifndef PREFIXD_ENGINE_PROMPT_TEMPLATE_PRINT_H_
#define PREFIXD_ENGINE_PROMPT_TEMPLATE_PRINT_H_

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/prompt/template/heap.h"
#include "engine/prompt/template/text.h"
#include "engine/prompt/template/value.h"

namespace prefixd::jinja {

// str(value); undefined is empty. Appends to `out`. Errors: INVALID_ARGUMENT for what has no text
// (functions, generators) and for lists that are nested too deep or too long.
absl::Status AppendStr(const Value& value, Heap* heap, Text* out);
absl::StatusOr<Text> Str(const Value& value, Heap* heap);

// repr(float).
std::string FloatRepr(double real);

// json.dumps(value).
struct JsonOptions {
  bool ensure_ascii = false;
  bool sort_keys = false;
  bool multiline = false;  // Items on lines of their own, indented.
  Text indent;             // For each level.
  Text item_separator{", "};
  Text key_separator{": "};
};
// Errors: as AppendStr, for values that JSON does not know.
absl::StatusOr<Text> ToJson(const Value& value, const JsonOptions& options, Heap* heap);

}  // namespace prefixd::jinja

#endif  // PREFIXD_ENGINE_PROMPT_TEMPLATE_PRINT_H_
