// The vocabulary of a SentencePiece BPE model, from a tokenizer.model or a GGUF file, and its
// translation into the parts of a tokenizer. Source: google/sentencepiece, Kudo and Richardson 2018
// (arXiv:1808.06226).
#ifndef PREFIXD_ENGINE_TOKENIZER_SENTENCE_PIECES_H_
#define PREFIXD_ENGINE_TOKENIZER_SENTENCE_PIECES_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/tokenizer/normalizer.h"
#include "engine/tokenizer/tokenizer_parts.h"

namespace prefixd {

// The numbers of the file formats.
enum class PieceType : int32_t {
  kNormal = 1,
  kUnknown = 2,
  kControl = 3,
  kUserDefined = 4,
  kUnused = 5,
  kByte = 6,
};

// Of the kinds above. Anything else gives an unset value.
std::optional<PieceType> PieceTypeOf(int64_t number);

struct SentencePieces {
  std::vector<std::string> texts;  // By id.
  std::vector<float> scores;       // As many.
  std::vector<PieceType> types;    // As many.
  bool byte_fallback = false;
  Normalizer::Spaces spaces;
  bool prefix_first_text_only = false;  // No dummy prefix after a special token.
};

// Of two adjacent pieces whose concatenation is a piece those with the highest score are joined
// first, the leftmost of equals. UNKNOWN and CONTROL pieces become special added tokens,
// USER_DEFINED ones ordinary added tokens found in the normalised text.
// Errors: INVALID_ARGUMENT that starts with `where`: what AddTokens says; scores that are not
// finite; not one UNKNOWN piece; byte fallback without 256 BYTE pieces; pieces so long that their
// splits are too many.
absl::StatusOr<TokenizerParts> PartsOfPieces(SentencePieces pieces, const std::string& where);

}  // namespace prefixd

#endif  // PREFIXD_ENGINE_TOKENIZER_SENTENCE_PIECES_H_
