// Parses a template: the part of Jinja that chat templates use (docs/chat_templates.md). Unknown
// tags, filters, tests and methods are found here, not while a request waits. Pure; safe from any
// thread.
#ifndef PREFIXD_ENGINE_PROMPT_TEMPLATE_PARSER_H_
#define PREFIXD_ENGINE_PROMPT_TEMPLATE_PARSER_H_

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "engine/prompt/template/ast.h"

namespace prefixd::jinja {

// Errors: INVALID_ARGUMENT (malformed, too long, nested too deep) or UNIMPLEMENTED (not in the
// subset), naming line and construct.
absl::StatusOr<Block> ParseTemplate(absl::string_view source);

}  // namespace prefixd::jinja

#endif  // PREFIXD_ENGINE_PROMPT_TEMPLATE_PARSER_H_
