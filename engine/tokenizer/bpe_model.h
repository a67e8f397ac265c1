// Byte-pair encoding of one word, as huggingface/tokenizers computes it: the adjacent pair of
// lowest rank is merged first, the leftmost of equals. Immutable after Create; safe from any
// thread.
#ifndef PREFIXD_ENGINE_TOKENIZER_BPE_MODEL_H_
#define PREFIXD_ENGINE_TOKENIZER_BPE_MODEL_H_

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "engine/tokenizer/json_fields.h"

namespace prefixd {

class BpeModel {
 public:
  // Reads the `model` member of tokenizer.json. Errors: INVALID_ARGUMENT (ids negative, twice, too
  // large; a merge whose parts or result are no tokens), UNIMPLEMENTED for other model types.
  static absl::StatusOr<std::unique_ptr<const BpeModel>> Create(const JsonField& model);

  // Appends the ids of `word`. O(n log n) in its length. Requires: valid UTF-8.
  void Encode(absl::string_view word, std::vector<int32_t>* ids) const;

  std::optional<int32_t> TokenToId(absl::string_view token) const;
  const absl::flat_hash_map<std::string, int32_t>& vocab() const { return vocab_; }

 private:
  struct Merge {
    int32_t rank = 0;
    int32_t result_id = 0;
  };

  BpeModel() = default;
  absl::Status ReadOptions(const JsonField& model);
  absl::Status ReadVocab(const JsonField& vocab);
  absl::Status ReadMerges(const JsonField& merges);
  absl::Status AddMerge(const JsonField& entry, int32_t rank);
  void AppendCharacters(absl::string_view word, std::vector<int32_t>* ids) const;
  bool AppendBytes(absl::string_view character, std::vector<int32_t>* ids) const;
  const Merge* FindMerge(int32_t left, int32_t right) const;
  void MergeAll(std::vector<int32_t>* ids, size_t begin) const;

  // Constant after Create.
  absl::flat_hash_map<std::string, int32_t> vocab_;
  absl::flat_hash_map<uint64_t, Merge> merges_;  // left id << 32 | right id.
  std::array<int32_t, 256> byte_ids_;            // -1: no such token.
  std::array<int32_t, 128> ascii_ids_;           // -1: no such token.
  std::optional<int32_t> unk_id_;
  bool fuse_unk_ = false;
  bool byte_fallback_ = false;
  bool ignore_merges_ = false;
};

}  // namespace prefixd

#endif  // PREFIXD_ENGINE_TOKENIZER_BPE_MODEL_H_
