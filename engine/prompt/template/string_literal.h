// The value of a string literal. Pure; safe from any thread.
#ifndef PREFIXD_ENGINE_PROMPT_TEMPLATE_STRING_LITERAL_H_
#define PREFIXD_ENGINE_PROMPT_TEMPLATE_STRING_LITERAL_H_

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace prefixd::jinja {

// Replaces the escapes of Python (\n \t \\ \' \" \xHH \uHHHH \UHHHHHHHH \ooo, backslash-newline,
// ...); unknown ones stay as they are. `body` is what stands between the quotes. Errors:
// INVALID_ARGUMENT for a truncated escape or a code point that does not exist, UNIMPLEMENTED for
// \N{...}.
absl::StatusOr<std::string> UnescapeString(absl::string_view body);

}  // namespace prefixd::jinja

#endif  // PREFIXD_ENGINE_PROMPT_TEMPLATE_STRING_LITERAL_H_
