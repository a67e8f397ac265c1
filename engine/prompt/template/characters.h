// What Python's str means by white space, case and printable characters. Pure functions; safe from
// any thread. Case and categories come from utf8proc; of the mappings to several characters only
// those of Latin letters and ligatures are known, and a capital sigma has one small letter.
#ifndef PREFIXD_ENGINE_PROMPT_TEMPLATE_CHARACTERS_H_
#define PREFIXD_ENGINE_PROMPT_TEMPLATE_CHARACTERS_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/strings/string_view.h"
#include "engine/prompt/template/text.h"

namespace prefixd::jinja {

bool IsSpace(uint32_t code_point);      // str.isspace.
bool IsLineBreak(uint32_t code_point);  // str.splitlines.
bool IsPrintable(uint32_t code_point);  // str.isprintable: repr shows it as it is.

// All below require valid UTF-8.
size_t CountCharacters(absl::string_view text);
// Where each character begins, and the end of the text.
std::vector<size_t> CharacterStarts(absl::string_view text);

Text Upper(const Text& text);
Text Lower(const Text& text);
Text Capitalize(const Text& text);  // First character as a title's, the others lower.
Text TitleWords(const Text& text);  // str.title: words are runs of letters with case.

// [begin, end) of `text` without white space (or without the characters of `chars`).
struct Bounds {
  size_t begin = 0;
  size_t end = 0;
};
Bounds Strip(absl::string_view text, const absl::string_view* chars, bool left, bool right);

}  // namespace prefixd::jinja

#endif  // PREFIXD_ENGINE_PROMPT_TEMPLATE_CHARACTERS_H_
