#include "engine/tokenizer/word_pattern.h"

#include <cstdint>

#include "engine/tokenizer/unicode.h"

namespace prefixd {
namespace {

constexpr absl::string_view kGpt2Regex =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";
constexpr absl::string_view kLlama3Regex =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|)"
    R"( ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

constexpr size_t kUnlimited = static_cast<size_t>(-1);

bool IsNewline(uint32_t c) { return c == '\r' || c == '\n'; }
bool IsOther(uint32_t c) { return !IsWhitespace(c) && !IsLetter(c) && !IsNumber(c); }

// The end of the run of at most `limit` characters of a class that starts at `position`.
template <typename Class>
size_t RunEnd(absl::string_view text, size_t position, Class in_class, size_t limit = kUnlimited) {
  for (size_t count = 0; position < text.size() && count < limit; ++count) {
    const Character character = CharacterAt(text, position);
    if (!in_class(character.code_point)) break;
    position += character.num_bytes;
  }
  return position;
}

// Lower case where the case-insensitive contractions need it; U+017F folds to s.
uint32_t Folded(uint32_t c) {
  if (c >= 'A' && c <= 'Z') return c + 0x20;
  return c == 0x17F ? 's' : c;
}

// The end of 's 't 're 've 'm 'll 'd at `begin`, or `begin`.
size_t ContractionEnd(absl::string_view text, size_t begin, bool ignore_case) {
  if (text[begin] != '\'' || begin + 1 == text.size()) return begin;
  const auto fold = [&](uint32_t c) { return ignore_case ? Folded(c) : c; };
  const Character first = CharacterAt(text, begin + 1);
  const size_t after_first = begin + 1 + first.num_bytes;
  const uint32_t a = fold(first.code_point);
  if (a == 's' || a == 't' || a == 'm' || a == 'd') return after_first;
  if (after_first == text.size()) return begin;
  const Character second = CharacterAt(text, after_first);
  const uint32_t b = fold(second.code_point);
  const bool pair = ((a == 'r' || a == 'v') && b == 'e') || (a == 'l' && b == 'l');
  return pair ? after_first + second.num_bytes : begin;
}

// \s+(?!\S)|\s+ : the run without its last character if a word follows and something remains.
size_t EndOfWhitespace(absl::string_view text, size_t begin) {
  const size_t end = RunEnd(text, begin, IsWhitespace);
  if (end == text.size()) return end;
  const size_t shorter = end - CharacterBefore(text, end).num_bytes;
  return shorter > begin ? shorter : end;
}

size_t Gpt2WordEnd(absl::string_view text, size_t begin) {
  if (const size_t end = ContractionEnd(text, begin, false); end > begin) return end;
  const size_t start = text[begin] == ' ' ? begin + 1 : begin;
  if (start < text.size()) {
    const uint32_t first = CharacterAt(text, start).code_point;
    if (IsLetter(first)) return RunEnd(text, start, IsLetter);
    if (IsNumber(first)) return RunEnd(text, start, IsNumber);
    if (IsOther(first)) return RunEnd(text, start, IsOther);
  }
  return EndOfWhitespace(text, begin);
}

size_t Llama3WordEnd(absl::string_view text, size_t begin) {
  if (const size_t end = ContractionEnd(text, begin, true); end > begin) return end;
  const Character first = CharacterAt(text, begin);
  const uint32_t c = first.code_point;
  const size_t after_first = begin + first.num_bytes;
  if (IsLetter(c)) return RunEnd(text, begin, IsLetter);
  if (!IsNewline(c) && !IsNumber(c)) {
    if (const size_t end = RunEnd(text, after_first, IsLetter); end > after_first) return end;
  }
  if (IsNumber(c)) return RunEnd(text, begin, IsNumber, 3);
  const size_t start = c == ' ' ? after_first : begin;
  if (const size_t end = RunEnd(text, start, IsOther); end > start) {
    return RunEnd(text, end, IsNewline);
  }
  // \s*[\r\n]+ : up to the last newline of the run.
  size_t last_newline_end = begin;
  size_t end = begin;
  while (end < text.size()) {
    const Character character = CharacterAt(text, end);
    if (!IsWhitespace(character.code_point)) break;
    end += character.num_bytes;
    if (IsNewline(character.code_point)) last_newline_end = end;
  }
  return last_newline_end > begin ? last_newline_end : EndOfWhitespace(text, begin);
}

}  // namespace

std::optional<WordPattern> FindWordPattern(absl::string_view regex) {
  if (regex == kGpt2Regex) return WordPattern::kGpt2;
  if (regex == kLlama3Regex) return WordPattern::kLlama3;
  return std::nullopt;
}

absl::string_view RegexOf(WordPattern pattern) {
  return pattern == WordPattern::kGpt2 ? kGpt2Regex : kLlama3Regex;
}

size_t WordEnd(WordPattern pattern, absl::string_view text, size_t begin) {
  return pattern == WordPattern::kGpt2 ? Gpt2WordEnd(text, begin) : Llama3WordEnd(text, begin);
}

}  // namespace prefixd
