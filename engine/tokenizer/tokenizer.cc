#include "engine/tokenizer/tokenizer.h"

#include <utility>

#include <nlohmann/json.hpp>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "base/json.h"
#include "base/status_macros.h"
#include "engine/tokenizer/gpt2_files.h"
#include "engine/tokenizer/limits.h"
#include "engine/tokenizer/sentencepiece_file.h"
#include "engine/tokenizer/tokenizer_parts.h"

namespace prefixd {
namespace {

absl::StatusOr<std::vector<AddedToken>> ReadAddedTokens(const JsonField& list) {
  std::vector<AddedToken> tokens;
  if (list.is_null()) return tokens;
  PREFIXD_ASSIGN_OR_RETURN(const size_t size, list.ArraySize());
  if (size > kMaxAddedTokens) {
    return list.Invalid(absl::StrCat(size, " tokens, the limit is ", kMaxAddedTokens));
  }
  absl::flat_hash_set<int32_t> ids;
  for (size_t i = 0; i < size; ++i) {
    PREFIXD_ASSIGN_OR_RETURN(const int32_t id, list.At(i)["id"].Id());
    PREFIXD_ASSIGN_OR_RETURN(AddedToken token, ReadAddedToken(list.At(i), id));
    if (!ids.insert(id).second) return list.At(i).Invalid(absl::StrCat("id ", id, " stands twice"));
    tokens.push_back(std::move(token));
  }
  return tokens;
}

absl::StatusOr<std::unique_ptr<const Tokenizer>> FromJson(const std::string& path,
                                                          TokenizerConfig config) {
  PREFIXD_ASSIGN_OR_RETURN(const nlohmann::json json, ReadJsonFile(path, kMaxTokenizerFileBytes));
  const JsonField file(&json, absl::StrCat(path, ":"));
  if (!file.value().is_object()) return file.Invalid("not an object");
  TokenizerParts parts;
  parts.where = file["added_tokens"].where();
  PREFIXD_ASSIGN_OR_RETURN(parts.model, ReadBpeParts(file["model"]));
  PREFIXD_ASSIGN_OR_RETURN(parts.normalizer, Normalizer::Create(file["normalizer"]));
  PREFIXD_ASSIGN_OR_RETURN(parts.pre_tokenizer, PreTokenizer::Create(file["pre_tokenizer"]));
  PREFIXD_ASSIGN_OR_RETURN(parts.decoder, Decoder::Create(file["decoder"]));
  PREFIXD_ASSIGN_OR_RETURN(parts.added_tokens, ReadAddedTokens(file["added_tokens"]));
  parts.post_processor = file["post_processor"];
  return BuildTokenizer(std::move(parts), std::move(config));
}

}  // namespace

absl::StatusOr<std::unique_ptr<const Tokenizer>> Tokenizer::Load(const std::string& directory) {
  PREFIXD_ASSIGN_OR_RETURN(TokenizerConfig config, TokenizerConfig::Read(directory));
  const std::string json = absl::StrCat(directory, "/tokenizer.json");
  const std::string pieces = absl::StrCat(directory, "/tokenizer.model");
  const std::string vocab = absl::StrCat(directory, "/vocab.json");
  const std::string merges = absl::StrCat(directory, "/merges.txt");
  if (FileExists(json)) return FromJson(json, std::move(config));
  if (FileExists(pieces)) return TokenizerFromSentencePiece(pieces, std::move(config));
  if (FileExists(vocab) && FileExists(merges)) {
    return TokenizerFromGpt2Files(vocab, merges, std::move(config));
  }
  return absl::NotFoundError(absl::StrCat(
      directory, ": no tokenizer.json, no tokenizer.model, no vocab.json with merges.txt"));
}

}  // namespace prefixd
