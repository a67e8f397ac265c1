// Byte-pair encoding of one word, as huggingface/tokenizers computes it: the adjacent pair of
// lowest rank is merged first, the leftmost of equals. Immutable once its tokens are hidden;
// then safe from any thread.
#ifndef PREFIXD_ENGINE_TOKENIZER_BPE_MODEL_H_
#define PREFIXD_ENGINE_TOKENIZER_BPE_MODEL_H_

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "engine/tokenizer/bpe_parts.h"

namespace prefixd {

class BpeModel {
 public:
  // Requires: ids of `parts` are in its vocab.
  explicit BpeModel(BpeParts parts);

  // Appends the ids of `word`. O(n log n) in its length. Requires: valid UTF-8.
  void Encode(absl::string_view word, std::vector<int32_t>* ids) const;

  std::optional<int32_t> TokenToId(absl::string_view token) const;
  const absl::flat_hash_map<std::string, int32_t>& vocab() const { return parts_.vocab; }

  // No word becomes the token from now on, though it keeps its name: neither a merge nor a
  // character nor a whole word gives it. For special tokens; the unknown token stays one.
  void Hide(absl::Span<const int32_t> ids);

 private:
  struct Merge {
    int32_t rank = 0;
    int32_t result_id = 0;
  };

  using MergeMap = absl::flat_hash_map<uint64_t, Merge>;  // left id << 32 | right id.
  // How an unused token arose last, for splitting it again.
  using Splits = absl::flat_hash_map<int32_t, std::pair<int32_t, int32_t>>;

  std::optional<int32_t> WordId(absl::string_view word) const;
  void AppendCharacters(absl::string_view word, std::vector<int32_t>* ids) const;
  bool AppendBytes(absl::string_view character, std::vector<int32_t>* ids) const;
  const Merge* FindMerge(int32_t left, int32_t right) const;
  void MergeAll(std::vector<int32_t>* ids, size_t begin) const;

  void SplitUnused(const Splits& splits, std::vector<int32_t>* ids, size_t begin) const;

  BpeParts parts_;  // Without the merges.
  MergeMap merges_;
  absl::flat_hash_set<int32_t> hidden_;
  std::array<int32_t, 256> byte_ids_;   // -1: no such token.
  std::array<int32_t, 128> ascii_ids_;  // -1: no such token.
};

}  // namespace prefixd

#endif  // PREFIXD_ENGINE_TOKENIZER_BPE_MODEL_H_
