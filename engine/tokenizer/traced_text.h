// Text that remembers which trusted span each byte came from. A plain value.
#ifndef PREFIXD_ENGINE_TOKENIZER_TRACED_TEXT_H_
#define PREFIXD_ENGINE_TOKENIZER_TRACED_TEXT_H_

#include <cstdint>
#include <string>
#include <vector>

namespace prefixd {

inline constexpr int32_t kUntrusted = -1;

struct TracedText {
  std::string text;
  std::vector<int32_t> owner;  // One a byte: the index of its trusted span, or kUntrusted.

  TracedText Slice(size_t begin, size_t end) const {
    return {text.substr(begin, end - begin),
            {owner.begin() + static_cast<ptrdiff_t>(begin),
             owner.begin() + static_cast<ptrdiff_t>(end)}};
  }
  // The common owner of [begin, end), or kUntrusted. Requires: begin <= end <= size.
  int32_t OwnerOf(size_t begin, size_t end) const {
    if (begin == end) return kUntrusted;
    for (size_t i = begin + 1; i < end; ++i) {
      if (owner[i] != owner[begin]) return kUntrusted;
    }
    return owner[begin];
  }
};

}  // namespace prefixd

#endif  // PREFIXD_ENGINE_TOKENIZER_TRACED_TEXT_H_
