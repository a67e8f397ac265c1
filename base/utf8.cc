#include "base/utf8.h"

#include <cstdint>

namespace prefixd {

Utf8Prefix ScanUtf8(absl::string_view bytes) {
  using Kind = Utf8Prefix::Kind;
  const uint8_t lead = static_cast<uint8_t>(bytes[0]);
  if (lead < 0x80) return {Kind::kComplete, 1};
  if (lead < 0xC2 || lead > 0xF4) return {Kind::kInvalid, 1};
  const size_t length = lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
  // The second byte's range excludes overlong forms, surrogates and what is beyond U+10FFFF.
  const uint8_t low = lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80;
  const uint8_t high = lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF;
  for (size_t i = 1; i < length; ++i) {
    if (i == bytes.size()) return {Kind::kIncomplete, i};
    const uint8_t byte = static_cast<uint8_t>(bytes[i]);
    const bool fits = i == 1 ? byte >= low && byte <= high : (byte & 0xC0) == 0x80;
    if (!fits) return {Kind::kInvalid, i};
  }
  return {Kind::kComplete, length};
}

bool IsValidUtf8(absl::string_view text) {
  while (!text.empty()) {
    const Utf8Prefix prefix = ScanUtf8(text);
    if (prefix.kind != Utf8Prefix::Kind::kComplete) return false;
    text.remove_prefix(prefix.num_bytes);
  }
  return true;
}

}  // namespace prefixd
