// Whether bytes are UTF-8, and where a character ends. Pure functions; safe from any thread.
#ifndef PREFIXD_BASE_UTF8_H_
#define PREFIXD_BASE_UTF8_H_

#include <cstddef>

#include "absl/strings/string_view.h"

namespace prefixd {

bool IsValidUtf8(absl::string_view text);

// What stands at the front of `bytes`.
struct Utf8Prefix {
  enum class Kind {
    kComplete,    // `num_bytes` bytes of one valid character.
    kInvalid,     // `num_bytes` bytes of a maximal invalid subpart: one U+FFFD.
    kIncomplete,  // All `num_bytes` bytes; more could complete the character.
  };
  Kind kind = Kind::kComplete;
  size_t num_bytes = 0;
};

// Requires: `bytes` is not empty.
Utf8Prefix ScanUtf8(absl::string_view bytes);

}  // namespace prefixd

#endif  // PREFIXD_BASE_UTF8_H_
