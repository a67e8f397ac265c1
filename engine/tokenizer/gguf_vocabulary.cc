#include "engine/tokenizer/gguf_vocabulary.h"

#include <algorithm>
#include <utility>

#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "base/status_macros.h"
#include "engine/tokenizer/limits.h"
#include "engine/tokenizer/sentence_pieces.h"
#include "engine/tokenizer/tokenizer_parts.h"
#include "engine/tokenizer/word_pattern.h"

namespace prefixd {
namespace {

using nlohmann::json;

absl::Status Invalid(const std::string& where, absl::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat(where, ": ", what));
}

absl::StatusOr<std::vector<PieceType>> ReadTypes(const GgufVocabulary& vocabulary,
                                                 const std::string& where) {
  std::vector<PieceType> types(vocabulary.tokens.size(), PieceType::kNormal);
  if (vocabulary.types.empty()) return types;
  if (vocabulary.types.size() != types.size()) {
    return Invalid(where,
                   absl::StrCat(vocabulary.types.size(), " entries for ", types.size(), " tokens"));
  }
  for (size_t id = 0; id < types.size(); ++id) {
    const std::optional<PieceType> type = PieceTypeOf(vocabulary.types[id]);
    if (!type) {
      return Invalid(where, absl::StrCat("token ", id, " has type ", vocabulary.types[id]));
    }
    types[id] = *type;
  }
  return types;
}

absl::Status CheckIds(const GgufVocabulary& vocabulary, const std::string& where) {
  const std::pair<const char*, std::optional<int32_t>> ids[] = {
      {"bos_token_id", vocabulary.bos},         {"eos_token_id", vocabulary.eos},
      {"eot_token_id", vocabulary.eot},         {"unknown_token_id", vocabulary.unknown},
      {"padding_token_id", vocabulary.padding},
  };
  for (const auto& [key, id] : ids) {
    if (!id) continue;
    if (*id < 0 || static_cast<size_t>(*id) >= vocabulary.tokens.size()) {
      return Invalid(absl::StrCat(where, key),
                     absl::StrCat("id ", *id, " of ", vocabulary.tokens.size(), " tokens"));
    }
  }
  return absl::OkStatus();
}

bool IsLlama3(absl::string_view pre) {
  return pre == "llama-bpe" || pre == "llama3" || pre == "llama-v3";
}

absl::StatusOr<PreTokenizer> WordsOf(const std::string& pre, const std::string& where) {
  const json words = {{"type", "ByteLevel"}, {"add_prefix_space", false}};
  json steps = json::array();
  if (pre == "smollm") {
    steps = {{{"type", "Digits"}, {"individual_digits", true}}, words};
  } else if (IsLlama3(pre)) {
    steps = {{{"type", "Split"},
              {"pattern", {{"Regex", RegexOf(WordPattern::kLlama3)}}},
              {"behavior", "Isolated"}},
             {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", false}}};
  } else if (pre.empty() || pre == "default" || pre == "gpt-2") {
    steps.push_back(words);
  } else {
    return absl::UnimplementedError(
        absl::StrCat(where, ": `", pre.substr(0, 64), "` is not supported"));
  }
  const json sequence = {{"type", "Sequence"}, {"pretokenizers", steps}};
  return PreTokenizer::Create(JsonField(&sequence, where));
}

absl::StatusOr<TokenizerParts> ByteLevelParts(GgufVocabulary* vocabulary,
                                              const std::string& where) {
  TokenizerParts parts;
  parts.where = absl::StrCat(where, "tokens");
  PREFIXD_ASSIGN_OR_RETURN(parts.pre_tokenizer,
                           WordsOf(vocabulary->pre, absl::StrCat(where, "pre")));
  PREFIXD_ASSIGN_OR_RETURN(const std::vector<PieceType> types,
                           ReadTypes(*vocabulary, absl::StrCat(where, "token_type")));
  PREFIXD_RETURN_IF_ERROR(AddTokens(vocabulary->tokens, parts.where, &parts.model));
  const std::string merges = absl::StrCat(where, "merges");
  if (vocabulary->merges.size() > kMaxMerges) {
    return Invalid(merges,
                   absl::StrCat(vocabulary->merges.size(), " merges, the limit is ", kMaxMerges));
  }
  parts.model.merges.reserve(vocabulary->merges.size());
  for (const std::string& merge : vocabulary->merges) {
    PREFIXD_RETURN_IF_ERROR(AddMerge(merge, merges, &parts.model));
  }
  parts.model.ignore_merges = IsLlama3(vocabulary->pre);
  for (size_t id = 0; id < types.size(); ++id) {
    const bool special = types[id] == PieceType::kUnknown || types[id] == PieceType::kControl;
    if (!special && types[id] != PieceType::kUserDefined) continue;
    parts.added_tokens.push_back(
        {.id = static_cast<int32_t>(id), .content = vocabulary->tokens[id], .special = special});
  }
  const json decoder = {{"type", "ByteLevel"}};
  PREFIXD_ASSIGN_OR_RETURN(parts.decoder, Decoder::Create(JsonField(&decoder, where)));
  return parts;
}

absl::StatusOr<TokenizerParts> PieceParts(GgufVocabulary* vocabulary, const std::string& where) {
  SentencePieces pieces;
  if (vocabulary->scores.size() != vocabulary->tokens.size()) {
    return Invalid(absl::StrCat(where, "scores"),
                   absl::StrCat(vocabulary->scores.size(), " entries for ",
                                vocabulary->tokens.size(), " tokens"));
  }
  PREFIXD_ASSIGN_OR_RETURN(pieces.types, ReadTypes(*vocabulary, absl::StrCat(where, "token_type")));
  for (const PieceType type : pieces.types) pieces.byte_fallback |= type == PieceType::kByte;
  // Some converters call the unknown token a control token.
  const auto is_unknown = [](PieceType type) { return type == PieceType::kUnknown; };
  if (vocabulary->unknown && std::none_of(pieces.types.begin(), pieces.types.end(), is_unknown)) {
    pieces.types[static_cast<size_t>(*vocabulary->unknown)] = PieceType::kUnknown;
  }
  pieces.scores = std::move(vocabulary->scores);
  pieces.texts = std::move(vocabulary->tokens);
  // Converters write the spaces of these as spaces; the normalised text has marks.
  for (size_t id = 0; id < pieces.texts.size(); ++id) {
    if (pieces.types[id] != PieceType::kUserDefined) continue;
    pieces.texts[id] = absl::StrReplaceAll(pieces.texts[id], {{" ", "\xE2\x96\x81"}});
  }
  pieces.spaces.add_dummy_prefix = vocabulary->add_space_prefix.value_or(true);
  return PartsOfPieces(std::move(pieces), absl::StrCat(where, "tokens"));
}

}  // namespace

absl::StatusOr<std::unique_ptr<const Tokenizer>> TokenizerFromGguf(GgufVocabulary vocabulary,
                                                                   const std::string& path) {
  const std::string where = absl::StrCat(path, ": tokenizer.ggml.");
  const bool byte_level = vocabulary.model == "gpt2";
  if (!byte_level && vocabulary.model != "llama") {
    return absl::UnimplementedError(
        absl::StrCat(where, "model: `", vocabulary.model.substr(0, 64), "` is not supported"));
  }
  PREFIXD_RETURN_IF_ERROR(CheckIds(vocabulary, where));
  TokenizerConfig config;
  if (vocabulary.bos) config.bos_token = vocabulary.tokens[static_cast<size_t>(*vocabulary.bos)];
  if (vocabulary.eos) config.eos_token = vocabulary.tokens[static_cast<size_t>(*vocabulary.eos)];
  config.add_bos_token = vocabulary.add_bos.value_or(!byte_level || IsLlama3(vocabulary.pre));
  config.add_eos_token = vocabulary.add_eos.value_or(false);
  if (vocabulary.chat_template.size() > kMaxChatTemplateBytes) {
    return Invalid(absl::StrCat(path, ": tokenizer.chat_template"),
                   absl::StrCat(vocabulary.chat_template.size(), " bytes, the limit is ",
                                kMaxChatTemplateBytes));
  }
  config.chat_template = std::move(vocabulary.chat_template);
  PREFIXD_ASSIGN_OR_RETURN(TokenizerParts parts, byte_level ? ByteLevelParts(&vocabulary, where)
                                                            : PieceParts(&vocabulary, where));
  return BuildTokenizer(std::move(parts), std::move(config));
}

}  // namespace prefixd
