// The parts of a tokenizer, whichever files they came from, and the tokenizer that they make.
#ifndef PREFIXD_ENGINE_TOKENIZER_TOKENIZER_PARTS_H_
#define PREFIXD_ENGINE_TOKENIZER_TOKENIZER_PARTS_H_

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/tokenizer/added_tokens.h"
#include "engine/tokenizer/bpe_parts.h"
#include "engine/tokenizer/decoder.h"
#include "engine/tokenizer/json_fields.h"
#include "engine/tokenizer/normalizer.h"
#include "engine/tokenizer/pre_tokenizer.h"
#include "engine/tokenizer/tokenizer.h"
#include "engine/tokenizer/tokenizer_config.h"

namespace prefixd {

struct TokenizerParts {
  std::string where;  // Names file and key of the added tokens in errors.
  BpeParts model;
  Normalizer normalizer;
  PreTokenizer pre_tokenizer;
  std::optional<Decoder> decoder;           // Required.
  std::vector<AddedToken> added_tokens;     // Ids are distinct.
  std::optional<JsonField> post_processor;  // Of tokenizer.json; unset: adds nothing by itself.
};

// Puts the parts together; what `config` says wins. Special tokens never arise from untrusted text,
// whatever the model's merges say.
// Errors: INVALID_ARGUMENT naming file and key for tokens whose ids contradict each other.
absl::StatusOr<std::unique_ptr<const Tokenizer>> BuildTokenizer(TokenizerParts parts,
                                                                TokenizerConfig config);

}  // namespace prefixd

#endif  // PREFIXD_ENGINE_TOKENIZER_TOKENIZER_PARTS_H_
