// Text to token ids and back, as the model's own files say. Immutable after Load; safe from any
// thread.
#ifndef PREFIXD_ENGINE_TOKENIZER_TOKENIZER_H_
#define PREFIXD_ENGINE_TOKENIZER_TOKENIZER_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace prefixd {

// A stretch of the text to encode. Special tokens are recognised in trusted text (a chat template's
// own) and are plain text in what a user typed. Adjacent spans are one text for everything else.
struct TextSpan {
  absl::string_view text;  // Valid UTF-8.
  bool trusted = false;
};

class Tokenizer {
 public:
  virtual ~Tokenizer() = default;

  // Reads the first of tokenizer.json, tokenizer.model, and vocab.json with merges.txt that a
  // Hugging Face directory has and, where present, tokenizer_config.json and
  // special_tokens_map.json. Errors: INVALID_ARGUMENT or UNIMPLEMENTED naming file and key,
  // NOT_FOUND if there is none of these files.
  static absl::StatusOr<std::unique_ptr<const Tokenizer>> Load(const std::string& directory);

  // Encodes the concatenated spans. `add_special_tokens`: what the post-processor adds (BOS).
  // Linear (n log n) in the size of the text. Errors: INVALID_ARGUMENT for invalid UTF-8.
  virtual absl::StatusOr<std::vector<int32_t>> Encode(absl::Span<const TextSpan> spans,
                                                      bool add_special_tokens) const = 0;

  // The whole text of `ids`, as the decoder chain of the file says. Unknown ids are skipped.
  virtual std::string Decode(absl::Span<const int32_t> ids, bool skip_special_tokens) const = 0;

  // The raw bytes that one token stands for (byte tokens: one byte; word pieces with their space),
  // for log-probs and incremental decoding. Special tokens: their content. Unknown ids: empty.
  virtual std::string TokenBytes(int32_t id) const = 0;

  // Whether `id` is a byte of the fallback alphabet (`<0x0A>`): a run of these is decoded as a
  // whole. Bytes of byte-level tokenizers are not.
  virtual bool IsByteToken(int32_t /*id*/) const { return false; }

  virtual bool IsSpecial(int32_t id) const = 0;
  virtual std::optional<int32_t> TokenToId(absl::string_view token) const = 0;

  // Largest id + 1, added tokens included.
  virtual int32_t vocab_size() const = 0;
  virtual std::optional<int32_t> bos_token_id() const = 0;
  virtual std::optional<int32_t> eos_token_id() const = 0;

  // The chat template of the directory (chat_template.jinja, else tokenizer_config.json); empty if
  // there is none.
  virtual const std::string& chat_template() const = 0;

  // True if the decoder strips one leading space of the whole text (Llama).
  virtual bool strips_leading_space() const = 0;
};

}  // namespace prefixd

#endif  // PREFIXD_ENGINE_TOKENIZER_TOKENIZER_H_
