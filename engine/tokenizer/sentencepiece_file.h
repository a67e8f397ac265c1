// A SentencePiece model file (tokenizer.model): the few fields of it that a BPE tokenizer needs.
// Source: google/sentencepiece, sentencepiece_model.proto.
#ifndef PREFIXD_ENGINE_TOKENIZER_SENTENCEPIECE_FILE_H_
#define PREFIXD_ENGINE_TOKENIZER_SENTENCEPIECE_FILE_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "engine/tokenizer/sentence_pieces.h"
#include "engine/tokenizer/tokenizer.h"
#include "engine/tokenizer/tokenizer_config.h"

namespace prefixd {

struct SentencePieceModel {
  SentencePieces pieces;
  int64_t bos_id = 1, eos_id = 2;  // Negative: none.
};

// Errors, without the file's name: INVALID_ARGUMENT for bytes that are no such message or lack its
// specifications, UNIMPLEMENTED naming another model type (unigram, word, char) or normalisation.
absl::StatusOr<SentencePieceModel> ParseSentencePieceModel(absl::string_view bytes);

// The tokenizer of a file. Without another word in `config` it puts the file's BOS before a text.
// Errors: as ParseSentencePieceModel and PartsOfPieces, after `path`.
absl::StatusOr<std::unique_ptr<const Tokenizer>> TokenizerFromSentencePiece(const std::string& path,
                                                                            TokenizerConfig config);

}  // namespace prefixd

#endif  // PREFIXD_ENGINE_TOKENIZER_SENTENCEPIECE_FILE_H_
