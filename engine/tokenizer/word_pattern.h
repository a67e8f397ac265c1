// The word regexes of byte-level tokenizers, matched by hand in linear time. Only these are known;
// no regex from a file is ever compiled. Pure functions; safe from any thread.
#ifndef PREFIXD_ENGINE_TOKENIZER_WORD_PATTERN_H_
#define PREFIXD_ENGINE_TOKENIZER_WORD_PATTERN_H_

#include <cstddef>
#include <optional>

#include "absl/strings/string_view.h"

namespace prefixd {

enum class WordPattern { kGpt2, kLlama3 };

// The pattern whose regex has exactly this text.
std::optional<WordPattern> FindWordPattern(absl::string_view regex);

// The text of its regex.
absl::string_view RegexOf(WordPattern pattern);

// The end of the word that starts at `begin`. Both patterns match at every position, so the words
// cover the text. Requires: `text` is valid UTF-8, `begin` < size and starts a character.
size_t WordEnd(WordPattern pattern, absl::string_view text, size_t begin);

}  // namespace prefixd

#endif  // PREFIXD_ENGINE_TOKENIZER_WORD_PATTERN_H_
