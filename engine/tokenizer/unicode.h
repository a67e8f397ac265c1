// Unicode classes, UTF-8 stepping and canonical composition, as the tokenizer files mean them.
// Pure functions; safe from any thread. Tables: utf8proc.
#ifndef PREFIXD_ENGINE_TOKENIZER_UNICODE_H_
#define PREFIXD_ENGINE_TOKENIZER_UNICODE_H_

#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"
#include "base/utf8.h"

namespace prefixd {

inline constexpr char kReplacementCharacter[] = "\xEF\xBF\xBD";  // U+FFFD.

// One character of a text: its code point and where it lies.
struct Character {
  uint32_t code_point = 0;
  size_t num_bytes = 0;
};

// Requires: `text` is valid UTF-8 and `position` is the start of a character in it.
Character CharacterAt(absl::string_view text, size_t position);

// Requires: as CharacterAt; `position` > 0 is the end of a character. Returns the one before it.
Character CharacterBefore(absl::string_view text, size_t position);

void AppendUtf8(uint32_t code_point, std::string* out);

// Every maximal invalid subpart becomes one U+FFFD.
std::string DecodeUtf8Lossily(absl::string_view bytes);

bool IsLetter(uint32_t code_point);      // \p{L}
bool IsNumber(uint32_t code_point);      // \p{N}
bool IsWhitespace(uint32_t code_point);  // \s, the White_Space property.
bool IsWord(uint32_t code_point);        // \w of a Unicode regex.

// Canonical composition. Linear but for the sort of one run of combining marks (n log n).
// Requires: `text` is valid UTF-8.
std::string ComposeNfc(absl::string_view text);

}  // namespace prefixd

#endif  // PREFIXD_ENGINE_TOKENIZER_UNICODE_H_
