#include "engine/prompt/template/characters.h"

#include <utf8proc.h>

#include <string>

#include "engine/tokenizer/unicode.h"

namespace prefixd::jinja {
namespace {

struct SpecialCase {
  uint32_t code_point;
  absl::string_view upper, title;
};

constexpr SpecialCase kSpecialCases[] = {
    {0xDF, "SS", "Ss"},
    {0x149, "\u02bcN", "\u02bcN"},
    {0x1F0, "J\u030c", "J\u030c"},
    {0x1E96, "H\u0331", "H\u0331"},
    {0x1E97, "T\u0308", "T\u0308"},
    {0x1E98, "W\u030a", "W\u030a"},
    {0x1E99, "Y\u030a", "Y\u030a"},
    {0x1E9A, "A\u02be", "A\u02be"},
    {0xFB00, "FF", "Ff"},
    {0xFB01, "FI", "Fi"},
    {0xFB02, "FL", "Fl"},
    {0xFB03, "FFI", "Ffi"},
    {0xFB04, "FFL", "Ffl"},
    {0xFB05, "ST", "St"},
    {0xFB06, "ST", "St"},
};

enum class Case { kUpper, kLower, kTitle };

std::string Mapped(uint32_t code_point, Case wanted) {
  std::string out;
  if (code_point < 0x80) {
    const bool letter = IsLetter(code_point);
    const uint32_t lower = letter ? code_point | 0x20 : code_point;
    const uint32_t upper = letter ? code_point & ~0x20u : code_point;
    out.push_back(static_cast<char>(wanted == Case::kLower ? lower : upper));
    return out;
  }
  if (wanted == Case::kLower) {
    if (code_point == 0x130) return "i\u0307";
    AppendUtf8(static_cast<uint32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(code_point))),
               &out);
    return out;
  }
  for (const SpecialCase& special : kSpecialCases) {
    if (special.code_point != code_point) continue;
    return std::string(wanted == Case::kUpper ? special.upper : special.title);
  }
  const auto point = static_cast<utf8proc_int32_t>(code_point);
  AppendUtf8(static_cast<uint32_t>(wanted == Case::kUpper ? utf8proc_toupper(point)
                                                          : utf8proc_totitle(point)),
             &out);
  return out;
}

bool HasCase(uint32_t code_point) {
  if (code_point < 0x80) return IsLetter(code_point);
  const utf8proc_category_t category = utf8proc_category(static_cast<utf8proc_int32_t>(code_point));
  return category == UTF8PROC_CATEGORY_LU || category == UTF8PROC_CATEGORY_LL ||
         category == UTF8PROC_CATEGORY_LT;
}

// Maps every character; `choose(code_point)` says to what.
template <typename Choose>
Text MapCase(const Text& text, Choose choose) {
  Text out;
  for (size_t i = 0; i < text.size();) {
    const Character c = CharacterAt(text.view(), i);
    out.Append(Mapped(c.code_point, choose(c.code_point)), text.mark(i));
    i += c.num_bytes;
  }
  return out;
}

}  // namespace

bool IsSpace(uint32_t c) {
  return (c >= 9 && c <= 13) || (c >= 28 && c <= 32) || c == 0x85 || c == 0xA0 || c == 0x1680 ||
         (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F ||
         c == 0x3000;
}

bool IsLineBreak(uint32_t c) {
  return (c >= 10 && c <= 13) || (c >= 28 && c <= 30) || c == 0x85 || c == 0x2028 || c == 0x2029;
}

bool IsPrintable(uint32_t code_point) {
  if (code_point < 0x80) return code_point >= 0x20 && code_point < 0x7F;
  switch (utf8proc_category(static_cast<utf8proc_int32_t>(code_point))) {
    case UTF8PROC_CATEGORY_CN:
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_CS:
    case UTF8PROC_CATEGORY_CO:
    case UTF8PROC_CATEGORY_ZS:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP:
      return false;
    default:
      return true;
  }
}

size_t CountCharacters(absl::string_view text) {
  size_t count = 0;
  for (const char byte : text) {
    if ((static_cast<uint8_t>(byte) & 0xC0) != 0x80) ++count;
  }
  return count;
}

std::vector<size_t> CharacterStarts(absl::string_view text) {
  std::vector<size_t> starts;
  for (size_t i = 0; i < text.size(); ++i) {
    if ((static_cast<uint8_t>(text[i]) & 0xC0) != 0x80) starts.push_back(i);
  }
  starts.push_back(text.size());
  return starts;
}

Text Upper(const Text& text) {
  return MapCase(text, [](uint32_t) { return Case::kUpper; });
}

Text Lower(const Text& text) {
  return MapCase(text, [](uint32_t) { return Case::kLower; });
}

Text Capitalize(const Text& text) {
  bool first = true;
  return MapCase(text, [&first](uint32_t) {
    const Case wanted = first ? Case::kTitle : Case::kLower;
    first = false;
    return wanted;
  });
}

Text TitleWords(const Text& text) {
  bool inside = false;
  return MapCase(text, [&inside](uint32_t code_point) {
    const Case wanted = inside ? Case::kLower : Case::kTitle;
    inside = HasCase(code_point);
    return wanted;
  });
}

Bounds Strip(absl::string_view text, const absl::string_view* chars, bool left, bool right) {
  const auto stripped = [&](const absl::string_view character, uint32_t code_point) {
    return chars != nullptr ? chars->find(character) != absl::string_view::npos
                            : IsSpace(code_point);
  };
  Bounds bounds{0, text.size()};
  while (left && bounds.begin < bounds.end) {
    const Character c = CharacterAt(text, bounds.begin);
    if (!stripped(text.substr(bounds.begin, c.num_bytes), c.code_point)) break;
    bounds.begin += c.num_bytes;
  }
  while (right && bounds.begin < bounds.end) {
    const Character c = CharacterBefore(text, bounds.end);
    if (!stripped(text.substr(bounds.end - c.num_bytes, c.num_bytes), c.code_point)) break;
    bounds.end -= c.num_bytes;
  }
  return bounds;
}

}  // namespace prefixd::jinja
