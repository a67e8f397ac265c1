// The decoder chain of tokenizer.json: Sequence, ByteLevel, Replace of a string, ByteFallback,
// Fuse, Strip of one leading space, Metaspace. Immutable after Create; safe from any thread.
#ifndef PREFIXD_ENGINE_TOKENIZER_DECODER_H_
#define PREFIXD_ENGINE_TOKENIZER_DECODER_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "engine/tokenizer/json_fields.h"

namespace prefixd {

class Decoder {
 public:
  // Reads the `decoder` member. Errors: UNIMPLEMENTED naming the type; also for a missing decoder
  // and for chains whose text cannot be known token by token.
  static absl::StatusOr<Decoder> Create(const JsonField& field);

  // The text of the tokens, as huggingface/tokenizers gives it: valid UTF-8.
  std::string Decode(std::vector<std::string> tokens) const;

  // The bytes that one token stands for, wherever it stands but at the front of a text.
  std::string TokenBytes(const std::string& token) const;

  // The byte of a `<0xXX>` token, if the chain takes it as one.
  std::optional<uint8_t> FallbackByte(absl::string_view token) const;

  bool strips_leading_space() const { return strips_leading_space_; }

 private:
  enum class Kind { kByteLevel, kReplace, kByteFallback, kFuse, kStripLeft, kMetaspace };
  struct Step {
    Kind kind = Kind::kFuse;
    std::string pattern;
    std::string content;
    bool drops_leading_mark = false;  // Metaspace.
  };

  Decoder() = default;
  absl::Status AddSteps(const JsonField& field);
  absl::Status CheckChain(const JsonField& field);
  static absl::Status CheckStrip(const JsonField& field);

  std::vector<Step> steps_;
  bool byte_level_ = false;
  bool byte_fallback_ = false;
  bool strips_leading_space_ = false;
};

}  // namespace prefixd

#endif  // PREFIXD_ENGINE_TOKENIZER_DECODER_H_
