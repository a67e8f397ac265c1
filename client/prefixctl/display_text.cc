#include "client/prefixctl/display_text.h"

#include <utf8proc.h>

#include <algorithm>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace prefixd::ctl {
namespace {

constexpr char kReplacement[] = "\xEF\xBF\xBD";

struct Character {
  absl::string_view bytes;
  utf8proc_int32_t code = -1;  // -1: a byte that is no UTF-8.
};

// The character at the beginning of `text`. Requires: not empty.
Character First(absl::string_view text) {
  Character first;
  const auto* const begin = reinterpret_cast<const utf8proc_uint8_t*>(text.data());
  const utf8proc_ssize_t size =
      utf8proc_iterate(begin, static_cast<utf8proc_ssize_t>(text.size()), &first.code);
  if (size <= 0) first.code = -1;
  first.bytes = text.substr(0, size > 0 ? static_cast<size_t>(size) : 1);
  return first;
}

// Control characters, and those that turn the direction of what follows.
bool IsHarmful(utf8proc_int32_t code) {
  return code < 0x20 || (code >= 0x7F && code < 0xA0) || code == 0x061C || code == 0x200E ||
         code == 0x200F || (code >= 0x2028 && code <= 0x202E) || (code >= 0x2066 && code <= 0x2069);
}

int ColumnsOf(const Character& character) {
  return character.code < 0 ? 1 : std::max(0, utf8proc_charwidth(character.code));
}

std::vector<Character> Split(absl::string_view text) {
  std::vector<Character> characters;
  while (!text.empty()) {
    characters.push_back(First(text));
    text.remove_prefix(characters.back().bytes.size());
  }
  return characters;
}

// As many of `characters`, from the first on, as fit; the rest is dropped.
void Cut(int columns, std::vector<Character>* characters) {
  int used = 0;
  size_t count = 0;
  for (const Character& character : *characters) {
    used += ColumnsOf(character);
    if (used > columns) break;
    ++count;
  }
  characters->resize(count);
}

std::string Join(const std::vector<Character>& characters) {
  std::string out;
  for (const Character& character : characters) absl::StrAppend(&out, character.bytes);
  return out;
}

const char* CutMark(bool utf8) { return utf8 ? "…" : "~"; }

}  // namespace

std::string OneLine(absl::string_view text, bool utf8) {
  std::string out;
  for (const Character& character : Split(text)) {
    if (utf8) {
      absl::StrAppend(&out, IsHarmful(character.code) ? kReplacement : character.bytes);
    } else {
      out += IsHarmful(character.code) || character.code > 0x7E ? '?' : character.bytes[0];
    }
  }
  return out;
}

int Columns(absl::string_view line) {
  int columns = 0;
  for (const Character& character : Split(line)) columns += ColumnsOf(character);
  return columns;
}

std::string Fit(absl::string_view line, int columns, bool utf8) {
  if (Columns(line) <= columns) return std::string(line);
  std::vector<Character> characters = Split(line);
  Cut(columns - 1, &characters);
  return absl::StrCat(Join(characters), CutMark(utf8));
}

std::string FitTail(absl::string_view line, int columns, bool utf8) {
  if (Columns(line) <= columns) return std::string(line);
  std::vector<Character> characters = Split(line);
  std::reverse(characters.begin(), characters.end());
  Cut(columns - 1, &characters);
  std::reverse(characters.begin(), characters.end());
  return absl::StrCat(CutMark(utf8), Join(characters));
}

std::string Quoted(absl::string_view bytes, bool utf8) {
  std::string out = "\"";
  for (const Character& character : Split(bytes)) {
    if (character.code == '\n') {
      absl::StrAppend(&out, "\\n");
    } else if (character.code == '"' || character.code == '\\') {
      absl::StrAppend(&out, "\\", character.bytes);
    } else if (IsHarmful(character.code) || (!utf8 && character.code > 0x7E)) {
      for (const char c : character.bytes) {
        absl::StrAppendFormat(&out, "\\x%02x", static_cast<unsigned char>(c));
      }
    } else {
      absl::StrAppend(&out, character.bytes);
    }
  }
  return absl::StrCat(out, "\"");
}

}  // namespace prefixd::ctl
