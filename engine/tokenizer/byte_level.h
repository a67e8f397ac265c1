// The printable stand-ins of the 256 bytes in byte-level tokenizers (space is U+0120). Pure
// functions; safe from any thread.
#ifndef PREFIXD_ENGINE_TOKENIZER_BYTE_LEVEL_H_
#define PREFIXD_ENGINE_TOKENIZER_BYTE_LEVEL_H_

#include <string>

#include "absl/strings/string_view.h"

namespace prefixd {

// Every byte of `text` as its stand-in.
std::string ToByteLevel(absl::string_view text);

// The bytes of a token. A token with any other character stands for its own UTF-8.
// Requires: `token` is valid UTF-8.
std::string FromByteLevel(absl::string_view token);

}  // namespace prefixd

#endif  // PREFIXD_ENGINE_TOKENIZER_BYTE_LEVEL_H_
