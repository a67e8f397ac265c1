#include "engine/tokenizer/tokenizer_config.h"

#include <utility>

#include <nlohmann/json.hpp>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "base/json.h"
#include "base/status_macros.h"
#include "engine/tokenizer/limits.h"

namespace prefixd {
namespace {

// A token given by its text, or by an object with `content`.
absl::StatusOr<std::string> TokenText(const JsonField& field) {
  if (field.value().is_object()) return field["content"].StringOr("");
  return field.StringOr("");
}

absl::Status ReadSpecialTokens(const JsonField& file, TokenizerConfig* config) {
  const std::pair<const char*, std::string*> tokens[] = {{"bos_token", &config->bos_token},
                                                         {"eos_token", &config->eos_token},
                                                         {"unk_token", &config->unk_token},
                                                         {"pad_token", &config->pad_token}};
  for (const auto& [name, token] : tokens) {
    PREFIXD_ASSIGN_OR_RETURN(const std::string text, TokenText(file[name]));
    if (token->empty()) *token = text;
  }
  return absl::OkStatus();
}

absl::Status ReadAddedTokens(const JsonField& decoder, TokenizerConfig* config) {
  if (decoder.is_null()) return absl::OkStatus();
  if (!decoder.value().is_object()) return decoder.Invalid("not an object");
  if (decoder.value().size() > kMaxAddedTokens) {
    return decoder.Invalid(
        absl::StrCat(decoder.value().size(), " tokens, the limit is ", kMaxAddedTokens));
  }
  for (const auto& [key, value] : decoder.value().items()) {
    const JsonField field(&value, absl::StrCat(decoder.where(), ".", key));
    int32_t id = 0;
    if (!absl::SimpleAtoi(key, &id) || id < 0 || static_cast<size_t>(id) >= kMaxVocabSize) {
      return field.Invalid("the key is not a token id");
    }
    PREFIXD_ASSIGN_OR_RETURN(AddedToken token, ReadAddedToken(field, id));
    config->added_tokens.push_back(std::move(token));
  }
  return absl::OkStatus();
}

// A template, or a list of named ones of which `default` is taken.
absl::StatusOr<std::string> TemplateText(const JsonField& field) {
  if (!field.value().is_array()) return field.StringOr("");
  for (size_t i = 0; i < field.value().size(); ++i) {
    PREFIXD_ASSIGN_OR_RETURN(const std::string name, field.At(i)["name"].String());
    if (name == "default") return field.At(i)["template"].String();
  }
  return std::string();
}

absl::Status ReadChatTemplate(const std::string& directory, TokenizerConfig* config) {
  const std::string jinja = absl::StrCat(directory, "/chat_template.jinja");
  if (FileExists(jinja)) {
    PREFIXD_ASSIGN_OR_RETURN(config->chat_template, ReadFile(jinja, kMaxChatTemplateBytes));
    return absl::OkStatus();
  }
  const std::string json = absl::StrCat(directory, "/chat_template.json");
  if (!FileExists(json)) return absl::OkStatus();
  PREFIXD_ASSIGN_OR_RETURN(const nlohmann::json file, ReadJsonFile(json, kMaxChatTemplateBytes));
  PREFIXD_ASSIGN_OR_RETURN(config->chat_template,
                           TemplateText(JsonField(&file, "chat_template.json:")["chat_template"]));
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<AddedToken> ReadAddedToken(const JsonField& field, int32_t id) {
  AddedToken token{.id = id};
  PREFIXD_ASSIGN_OR_RETURN(token.content, field["content"].String());
  if (token.content.empty() || token.content.size() > kMaxTokenBytes) {
    return field["content"].Invalid(
        absl::StrCat(token.content.size(), " bytes, the range is [1, ", kMaxTokenBytes, "]"));
  }
  PREFIXD_ASSIGN_OR_RETURN(token.single_word, field["single_word"].BoolOr(false));
  PREFIXD_ASSIGN_OR_RETURN(token.lstrip, field["lstrip"].BoolOr(false));
  PREFIXD_ASSIGN_OR_RETURN(token.rstrip, field["rstrip"].BoolOr(false));
  PREFIXD_ASSIGN_OR_RETURN(token.special, field["special"].BoolOr(false));
  PREFIXD_ASSIGN_OR_RETURN(token.normalized, field["normalized"].BoolOr(!token.special));
  return token;
}

absl::StatusOr<TokenizerConfig> TokenizerConfig::Read(const std::string& directory) {
  TokenizerConfig config;
  const std::string path = absl::StrCat(directory, "/tokenizer_config.json");
  if (FileExists(path)) {
    PREFIXD_ASSIGN_OR_RETURN(const nlohmann::json json, ReadJsonFile(path, kMaxTokenizerFileBytes));
    const JsonField file(&json, "tokenizer_config.json:");
    const std::pair<const char*, std::optional<bool>*> flags[] = {
        {"add_bos_token", &config.add_bos_token},
        {"add_eos_token", &config.add_eos_token},
        {"add_prefix_space", &config.add_prefix_space},
        {"legacy", &config.legacy}};
    for (const auto& [key, flag] : flags) {
      if (file[key].is_null()) continue;
      PREFIXD_ASSIGN_OR_RETURN(*flag, file[key].BoolOr(false));
    }
    PREFIXD_RETURN_IF_ERROR(ReadSpecialTokens(file, &config));
    PREFIXD_RETURN_IF_ERROR(ReadAddedTokens(file["added_tokens_decoder"], &config));
    PREFIXD_ASSIGN_OR_RETURN(config.chat_template, TemplateText(file["chat_template"]));
  }
  const std::string map_path = absl::StrCat(directory, "/special_tokens_map.json");
  if (FileExists(map_path)) {
    PREFIXD_ASSIGN_OR_RETURN(const nlohmann::json json,
                             ReadJsonFile(map_path, kMaxTokenizerFileBytes));
    PREFIXD_RETURN_IF_ERROR(
        ReadSpecialTokens(JsonField(&json, "special_tokens_map.json:"), &config));
  }
  PREFIXD_RETURN_IF_ERROR(ReadChatTemplate(directory, &config));
  return config;
}

}  // namespace prefixd
