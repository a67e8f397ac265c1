// Cuts a template into tokens, with the whitespace rules of chat templates (trim_blocks,
// lstrip_blocks, one newline at the end dropped). Pure; safe from any thread.
#ifndef PREFIXD_ENGINE_PROMPT_TEMPLATE_LEXER_H_
#define PREFIXD_ENGINE_PROMPT_TEMPLATE_LEXER_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace prefixd::jinja {

struct Token {
  enum class Kind {
    kData,  // Text outside of tags.
    kBlockBegin,
    kBlockEnd,
    kPrintBegin,
    kPrintEnd,
    kName,
    kString,  // `text` is its value.
    kInteger,
    kFloat,
    kOperator,  // `text` is the operator: one of ( ) [ ] { } . , : | ; = ~ + - * / // % ** and
                // comparisons.
    kEnd,
  };
  Kind kind = Kind::kEnd;
  std::string text;
  int line = 0;
};

// Requires: `source` is valid UTF-8. The last token is kEnd. Errors: INVALID_ARGUMENT (malformed)
// or UNIMPLEMENTED, naming the line.
absl::StatusOr<std::vector<Token>> Tokenize(absl::string_view source);

// An error that names a line. Requires: `code` is not OK.
absl::Status SyntaxError(absl::StatusCode code, int line, absl::string_view problem);

}  // namespace prefixd::jinja

#endif  // PREFIXD_ENGINE_PROMPT_TEMPLATE_LEXER_H_
