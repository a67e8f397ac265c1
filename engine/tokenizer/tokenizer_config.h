// The files beside tokenizer.json: tokenizer_config.json, special_tokens_map.json and the chat
// template. Absent files leave everything unset.
#ifndef PREFIXD_ENGINE_TOKENIZER_TOKENIZER_CONFIG_H_
#define PREFIXD_ENGINE_TOKENIZER_TOKENIZER_CONFIG_H_

#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/tokenizer/added_tokens.h"
#include "engine/tokenizer/json_fields.h"

namespace prefixd {

struct TokenizerConfig {
  std::optional<bool> add_bos_token, add_eos_token;
  std::optional<bool> add_prefix_space;  // vocab.json: a space before every text.
  std::optional<bool> legacy;            // tokenizer.model: a space after every special token, too.
  std::string bos_token, eos_token;      // Empty: none.
  std::string unk_token, pad_token;      // As these; only chat templates name them.
  std::vector<AddedToken> added_tokens;  // added_tokens_decoder; their flags win over the file's.
  std::string chat_template;

  // Errors: INVALID_ARGUMENT naming file and key.
  static absl::StatusOr<TokenizerConfig> Read(const std::string& directory);
};

// Reads the flags of an added token. Errors: INVALID_ARGUMENT for an empty or too long content.
absl::StatusOr<AddedToken> ReadAddedToken(const JsonField& field, int32_t id);

}  // namespace prefixd

#endif  // PREFIXD_ENGINE_TOKENIZER_TOKENIZER_CONFIG_H_
