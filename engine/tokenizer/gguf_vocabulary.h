// The tokenizer that a GGUF file carries in its metadata. Plain values and one function; safe from
// any thread. Source of the keys: the GGUF v3 format.
#ifndef PREFIXD_ENGINE_TOKENIZER_GGUF_VOCABULARY_H_
#define PREFIXD_ENGINE_TOKENIZER_GGUF_VOCABULARY_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/tokenizer/tokenizer.h"

namespace prefixd {

// Field by field what the keys `tokenizer.ggml.*` say; an absent key leaves its field unset.
struct GgufVocabulary {
  std::string model;                // "gpt2": byte-level BPE. "llama": SentencePiece BPE.
  std::string pre;                  // gpt2: how the text is cut into words.
  std::vector<std::string> tokens;  // By id.
  std::vector<float> scores;        // llama: one a token.
  std::vector<int32_t> types;       // One a token, or none: all normal. 1 normal, 2 unknown,
                                    // 3 control, 4 user-defined, 5 unused, 6 byte.
  std::vector<std::string> merges;  // gpt2: "left right", best first.
  std::optional<int32_t> bos, eos, eot, unknown, padding;
  std::optional<bool> add_bos;           // Unset: llama, and gpt2 with pre "llama-bpe".
  std::optional<bool> add_eos;           // Unset: no.
  std::optional<bool> add_space_prefix;  // llama; unset: yes.
  std::string chat_template;             // `tokenizer.chat_template`, or empty.
};

// `pre` may be empty, "default", "gpt-2", "smollm", "llama-bpe" (also "llama3" and "llama-v3").
// Tokens of type 2 and 3 are special: never found in untrusted text; those of type 4 are found in
// any. `path` names the file in errors.
// Errors: INVALID_ARGUMENT (sizes that differ, ids out of range, an empty token, a token twice, one
// that is not UTF-8, scores that are not finite, merges of what is no token, limits of limits.h),
// UNIMPLEMENTED naming another model or `pre`.
absl::StatusOr<std::unique_ptr<const Tokenizer>> TokenizerFromGguf(GgufVocabulary vocabulary,
                                                                   const std::string& path);

}  // namespace prefixd

#endif  // PREFIXD_ENGINE_TOKENIZER_GGUF_VOCABULARY_H_
