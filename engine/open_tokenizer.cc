#include "engine/open_tokenizer.h"

#include <cstdint>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "base/status_macros.h"
#include "engine/weights/gguf.h"

namespace prefixd {
namespace {

absl::Status ReadId(const GgufMetadata& metadata, absl::string_view key,
                    std::optional<int32_t>* out) {
  if (!metadata.Has(key)) return absl::OkStatus();
  int64_t id = 0;
  PREFIXD_RETURN_IF_ERROR(metadata.Int(key, &id));
  if (id < 0 || id > INT32_MAX) return metadata.Error(key, absl::StrCat(id, " is no token id"));
  *out = static_cast<int32_t>(id);
  return absl::OkStatus();
}

absl::Status ReadFlag(const GgufMetadata& metadata, absl::string_view key,
                      std::optional<bool>* out) {
  if (!metadata.Has(key)) return absl::OkStatus();
  bool flag = false;
  PREFIXD_RETURN_IF_ERROR(metadata.Bool(key, &flag));
  *out = flag;
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<GgufVocabulary> ReadGgufVocabulary(const GgufMetadata& metadata) {
  GgufVocabulary v;
  if (!metadata.Has("tokenizer.ggml.model")) {
    return metadata.Error("tokenizer.ggml.model", "is missing");
  }
  PREFIXD_RETURN_IF_ERROR(metadata.String("tokenizer.ggml.model", &v.model));
  PREFIXD_RETURN_IF_ERROR(metadata.String("tokenizer.ggml.pre", &v.pre));
  PREFIXD_RETURN_IF_ERROR(metadata.Strings("tokenizer.ggml.tokens", &v.tokens));
  PREFIXD_RETURN_IF_ERROR(metadata.Floats("tokenizer.ggml.scores", &v.scores));
  PREFIXD_RETURN_IF_ERROR(metadata.Ints("tokenizer.ggml.token_type", &v.types));
  PREFIXD_RETURN_IF_ERROR(metadata.Strings("tokenizer.ggml.merges", &v.merges));
  PREFIXD_RETURN_IF_ERROR(ReadId(metadata, "tokenizer.ggml.bos_token_id", &v.bos));
  PREFIXD_RETURN_IF_ERROR(ReadId(metadata, "tokenizer.ggml.eos_token_id", &v.eos));
  PREFIXD_RETURN_IF_ERROR(ReadId(metadata, "tokenizer.ggml.eot_token_id", &v.eot));
  PREFIXD_RETURN_IF_ERROR(ReadId(metadata, "tokenizer.ggml.unknown_token_id", &v.unknown));
  PREFIXD_RETURN_IF_ERROR(ReadId(metadata, "tokenizer.ggml.padding_token_id", &v.padding));
  PREFIXD_RETURN_IF_ERROR(ReadFlag(metadata, "tokenizer.ggml.add_bos_token", &v.add_bos));
  PREFIXD_RETURN_IF_ERROR(ReadFlag(metadata, "tokenizer.ggml.add_eos_token", &v.add_eos));
  PREFIXD_RETURN_IF_ERROR(
      ReadFlag(metadata, "tokenizer.ggml.add_space_prefix", &v.add_space_prefix));
  PREFIXD_RETURN_IF_ERROR(metadata.String("tokenizer.chat_template", &v.chat_template));
  return v;
}

absl::StatusOr<std::unique_ptr<const Tokenizer>> OpenTokenizer(const std::string& model_path) {
  PREFIXD_ASSIGN_OR_RETURN(const std::optional<std::string> gguf, FindGgufFile(model_path));
  if (!gguf.has_value()) return Tokenizer::Load(model_path);
  PREFIXD_ASSIGN_OR_RETURN(const File file, File::Open(*gguf));
  PREFIXD_ASSIGN_OR_RETURN(const GgufHeader header, ReadGgufHeader(file));
  PREFIXD_ASSIGN_OR_RETURN(GgufVocabulary vocabulary, ReadGgufVocabulary(header.metadata));
  return TokenizerFromGguf(std::move(vocabulary), *gguf);
}

}  // namespace prefixd
