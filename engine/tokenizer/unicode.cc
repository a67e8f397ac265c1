#include "engine/tokenizer/unicode.h"

#include <utf8proc.h>

#include <algorithm>
#include <vector>

#include "base/check.h"

namespace prefixd {
namespace {

uint8_t ByteAt(absl::string_view text, size_t position) {
  return static_cast<uint8_t>(text[position]);
}

bool IsContinuation(uint8_t byte) { return (byte & 0xC0) == 0x80; }

utf8proc_category_t CategoryOf(uint32_t code_point) {
  return utf8proc_category(static_cast<utf8proc_int32_t>(code_point));
}

int CombiningClass(utf8proc_int32_t code_point) {
  return utf8proc_get_property(code_point)->combining_class;
}

// Sorts every run of combining marks by its class. utf8proc's own sort is quadratic in the run.
void ReorderMarks(std::vector<utf8proc_int32_t>* points) {
  const auto by_class = [](utf8proc_int32_t a, utf8proc_int32_t b) {
    return CombiningClass(a) < CombiningClass(b);
  };
  for (size_t begin = 0; begin < points->size();) {
    if (CombiningClass((*points)[begin]) == 0) {
      ++begin;
      continue;
    }
    size_t end = begin;
    while (end < points->size() && CombiningClass((*points)[end]) != 0) ++end;
    std::stable_sort(points->begin() + begin, points->begin() + end, by_class);
    begin = end;
  }
}

}  // namespace

Character CharacterAt(absl::string_view text, size_t position) {
  const uint32_t lead = ByteAt(text, position);
  if (lead < 0x80) return {lead, 1};
  const auto tail = [&](size_t i) { return ByteAt(text, position + i) & 0x3Fu; };
  if (lead < 0xE0) return {(lead & 0x1F) << 6 | tail(1), 2};
  if (lead < 0xF0) return {(lead & 0x0F) << 12 | tail(1) << 6 | tail(2), 3};
  return {(lead & 0x07) << 18 | tail(1) << 12 | tail(2) << 6 | tail(3), 4};
}

Character CharacterBefore(absl::string_view text, size_t position) {
  size_t start = position - 1;
  while (IsContinuation(ByteAt(text, start))) --start;
  return CharacterAt(text, start);
}

void AppendUtf8(uint32_t code_point, std::string* out) {
  utf8proc_uint8_t bytes[4];
  const utf8proc_ssize_t size =
      utf8proc_encode_char(static_cast<utf8proc_int32_t>(code_point), bytes);
  out->append(reinterpret_cast<const char*>(bytes), static_cast<size_t>(size));
}

std::string DecodeUtf8Lossily(absl::string_view bytes) {
  std::string text;
  while (!bytes.empty()) {
    const Utf8Prefix prefix = ScanUtf8(bytes);
    if (prefix.kind == Utf8Prefix::Kind::kComplete) {
      text.append(bytes.data(), prefix.num_bytes);
    } else {
      text += kReplacementCharacter;
    }
    bytes.remove_prefix(prefix.num_bytes);
  }
  return text;
}

bool IsLetter(uint32_t code_point) {
  if (code_point < 0x80) return (code_point | 0x20) >= 'a' && (code_point | 0x20) <= 'z';
  const utf8proc_category_t category = CategoryOf(code_point);
  return category >= UTF8PROC_CATEGORY_LU && category <= UTF8PROC_CATEGORY_LO;
}

bool IsNumber(uint32_t code_point) {
  if (code_point < 0x80) return code_point >= '0' && code_point <= '9';
  const utf8proc_category_t category = CategoryOf(code_point);
  return category >= UTF8PROC_CATEGORY_ND && category <= UTF8PROC_CATEGORY_NO;
}

bool IsWhitespace(uint32_t code_point) {
  if (code_point < 0x80) return code_point == ' ' || (code_point >= 9 && code_point <= 13);
  return code_point == 0x85 || code_point == 0xA0 || code_point == 0x1680 ||
         (code_point >= 0x2000 && code_point <= 0x200A) || code_point == 0x2028 ||
         code_point == 0x2029 || code_point == 0x202F || code_point == 0x205F ||
         code_point == 0x3000;
}

bool IsWord(uint32_t code_point) {
  if (code_point == 0x200C || code_point == 0x200D) return true;  // Join_Control.
  // Other_Alphabetic symbols: circled and squared Latin letters.
  if ((code_point >= 0x24B6 && code_point <= 0x24E9) ||
      (code_point >= 0x1F130 && code_point <= 0x1F149) ||
      (code_point >= 0x1F150 && code_point <= 0x1F169) ||
      (code_point >= 0x1F170 && code_point <= 0x1F189)) {
    return true;
  }
  const utf8proc_category_t category = CategoryOf(code_point);
  return (category >= UTF8PROC_CATEGORY_LU && category <= UTF8PROC_CATEGORY_NL) ||
         category == UTF8PROC_CATEGORY_PC;
}

std::string ComposeNfc(absl::string_view text) {
  const bool ascii =
      std::all_of(text.begin(), text.end(), [](char c) { return static_cast<uint8_t>(c) < 0x80; });
  if (ascii) return std::string(text);
  std::vector<utf8proc_int32_t> points;
  points.reserve(text.size());
  for (size_t i = 0; i < text.size();) {
    const Character character = CharacterAt(text, i);
    utf8proc_int32_t parts[8];
    int boundary_class = 0;
    const utf8proc_ssize_t count =
        utf8proc_decompose_char(static_cast<utf8proc_int32_t>(character.code_point), parts, 8,
                                UTF8PROC_DECOMPOSE, &boundary_class);
    PREFIXD_CHECK(count >= 0 && count <= 8);
    points.insert(points.end(), parts, parts + count);
    i += character.num_bytes;
  }
  ReorderMarks(&points);
  const utf8proc_ssize_t size =
      utf8proc_normalize_utf32(points.data(), static_cast<utf8proc_ssize_t>(points.size()),
                               static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_COMPOSE));
  PREFIXD_CHECK(size >= 0);
  std::string composed;
  composed.reserve(text.size());
  for (utf8proc_ssize_t i = 0; i < size; ++i) {
    AppendUtf8(static_cast<uint32_t>(points[static_cast<size_t>(i)]), &composed);
  }
  return composed;
}

}  // namespace prefixd
