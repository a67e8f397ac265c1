// What a byte-pair model is made of, whichever file it came from, checked against the limits. A
// plain value.
#ifndef PREFIXD_ENGINE_TOKENIZER_BPE_PARTS_H_
#define PREFIXD_ENGINE_TOKENIZER_BPE_PARTS_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "engine/tokenizer/json_fields.h"

namespace prefixd {

struct BpeMerge {
  int32_t left = 0;
  int32_t right = 0;
  int32_t result = 0;
  int32_t rank = 0;  // Lowest first; the leftmost of equals.
};

struct BpeParts {
  absl::flat_hash_map<std::string, int32_t> vocab;  // Ids are distinct and below kMaxVocabSize.
  std::vector<BpeMerge> merges;                     // Of equal pairs the last one counts.
  std::optional<int32_t> unk_id;
  bool fuse_unk = false;
  bool byte_fallback = false;  // An unknown character becomes its bytes' tokens `<0xXX>`.
  bool ignore_merges = false;  // A word that is a token is that token.
  // Tokens that may arise on the way but not in the result, where they are split again
  // (SentencePiece).
  absl::flat_hash_set<int32_t> unused;
};

// Reads the `model` member of tokenizer.json. Errors: INVALID_ARGUMENT (ids negative, twice, too
// large; a merge whose parts or result are no tokens), UNIMPLEMENTED for other model types.
absl::StatusOr<BpeParts> ReadBpeParts(const JsonField& model);

// Fills `parts->vocab` from an object of token to id.
absl::Status ReadVocab(const JsonField& vocab, BpeParts* parts);

// Fills `parts->vocab` with tokens whose index is their id. Errors: INVALID_ARGUMENT that starts
// with `where`: too many, one empty, too long, not UTF-8 or twice.
absl::Status AddTokens(absl::Span<const std::string> tokens, absl::string_view where,
                       BpeParts* parts);

// Adds the merge of two tokens with the next rank. Errors: INVALID_ARGUMENT that starts with
// `where`.
absl::Status AddMerge(absl::string_view left, absl::string_view right, absl::string_view where,
                      BpeParts* parts);

// As AddMerge, of a text "left right".
absl::Status AddMerge(absl::string_view text, absl::string_view where, BpeParts* parts);

}  // namespace prefixd

#endif  // PREFIXD_ENGINE_TOKENIZER_BPE_PARTS_H_
