// Tokens that are cut out of the text before the model sees it: leftmost-longest, as
// huggingface/tokenizers finds them. A special token counts only inside one trusted span.
// Immutable after construction; safe from any thread.
#ifndef PREFIXD_ENGINE_TOKENIZER_ADDED_TOKENS_H_
#define PREFIXD_ENGINE_TOKENIZER_ADDED_TOKENS_H_

#include <bitset>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/string_view.h"
#include "engine/tokenizer/traced_text.h"

namespace prefixd {

struct AddedToken {
  int32_t id = 0;
  std::string content;
  bool single_word = false;  // Only where no word character touches it.
  bool lstrip = false;       // Swallows whitespace before it.
  bool rstrip = false;       // Swallows whitespace after it.
  bool normalized = false;   // Matched in normalised text.
  bool special = false;      // Matched in trusted text only; skipped at decoding.
  bool verbatim = false;     // Stands in normalised text as it is here, not normalised itself.
};

class AddedTokenMatcher {
 public:
  struct Segment {
    size_t begin = 0;
    size_t end = 0;
    std::optional<int32_t> id;  // Unset: text between tokens.
  };

  // The token is found where `pattern` stands. Later patterns replace equal earlier ones.
  // Requires: `pattern` is not empty.
  void Add(const AddedToken& token, absl::string_view pattern);

  // The segments of `text` in order; together they cover it.
  std::vector<Segment> Split(const TracedText& text) const;

 private:
  struct Match {
    size_t end = 0;
    const AddedToken* token = nullptr;  // Null: no match.
  };

  Match LongestAt(const TracedText& text, size_t position) const;
  bool IsAllowed(const AddedToken& token, const TracedText& text, size_t begin, size_t end) const;

  // A trie: edges (node << 8 | byte) -> node, and the token that ends at a node, or -1.
  absl::flat_hash_map<uint64_t, int32_t> edges_;
  std::vector<int32_t> token_at_node_ = {-1};
  std::vector<AddedToken> tokens_;
  std::bitset<256> first_bytes_;
};

}  // namespace prefixd

#endif  // PREFIXD_ENGINE_TOKENIZER_ADDED_TOKENS_H_
