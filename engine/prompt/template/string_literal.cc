#include "engine/prompt/template/string_literal.h"

#include <cstdint>
#include <optional>

#include "absl/strings/ascii.h"
#include "engine/tokenizer/unicode.h"

namespace prefixd::jinja {
namespace {

constexpr absl::string_view kLetters = "abfnrtv";
constexpr absl::string_view kControls = "\a\b\f\n\r\t\v";

// The number that `count` hexadecimal digits spell, or nothing.
std::optional<uint32_t> Hexadecimal(absl::string_view text, size_t count) {
  if (text.size() < count) return std::nullopt;
  uint32_t value = 0;
  for (const char c : text.substr(0, count)) {
    if (!absl::ascii_isxdigit(static_cast<unsigned char>(c))) return std::nullopt;
    const char lower = absl::ascii_tolower(static_cast<unsigned char>(c));
    value = value * 16 + static_cast<uint32_t>(lower <= '9' ? lower - '0' : lower - 'a' + 10);
  }
  return value;
}

bool IsOctal(char c) { return c >= '0' && c <= '7'; }

}  // namespace

absl::StatusOr<std::string> UnescapeString(absl::string_view body) {
  std::string out;
  for (size_t i = 0; i < body.size(); ++i) {
    if (body[i] != '\\' || i + 1 == body.size()) {
      out.push_back(body[i]);
      continue;
    }
    const char c = body[++i];
    if (c == '\n') continue;
    if (c == '\\' || c == '\'' || c == '"') {
      out.push_back(c);
    } else if (const size_t letter = kLetters.find(c); letter != absl::string_view::npos) {
      out.push_back(kControls[letter]);
    } else if (c == 'x' || c == 'u' || c == 'U') {
      const size_t digits = c == 'x' ? 2 : c == 'u' ? 4 : 8;
      const std::optional<uint32_t> point = Hexadecimal(body.substr(i + 1), digits);
      if (!point || *point > 0x10FFFF || (*point >= 0xD800 && *point < 0xE000)) {
        return absl::InvalidArgumentError("an escape that is no character");
      }
      AppendUtf8(*point, &out);
      i += digits;
    } else if (IsOctal(c)) {
      uint32_t point = 0;
      size_t digits = 0;
      for (; digits < 3 && i + digits < body.size() && IsOctal(body[i + digits]); ++digits) {
        point = point * 8 + static_cast<uint32_t>(body[i + digits] - '0');
      }
      AppendUtf8(point, &out);
      i += digits - 1;
    } else if (c == 'N') {
      return absl::UnimplementedError("an escape by a character's name");
    } else {
      out.push_back('\\');
      out.push_back(c);
    }
  }
  return out;
}

}  // namespace prefixd::jinja
