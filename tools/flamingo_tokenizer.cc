#include "tools/flamingo_tokenizer.h"

#include <memory>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "base/status_macros.h"
#include "engine/tokenizer/tokenizer.h"
#include "engine/tokenizer/tokenizer_config.h"

namespace prefixd::tools {
namespace {

constexpr char kEndOfChunk[] = "<|endofchunk|>", kImage[] = "<image>", kPadding[] = "<PAD>";
constexpr char kEndOfText[] = "<|endoftext|>";
constexpr char kConfigFile[] = "tokenizer_config.json", kMapFile[] = "special_tokens_map.json";

absl::StatusOr<nlohmann::ordered_json> ReadIfPresent(const std::string& path) {
  if (!FileExists(path)) return nlohmann::ordered_json::object();
  return ReadOrderedJson(path);
}

// Adds tokens to the configuration, one id after the other.
class TokenAdder {
 public:
  TokenAdder(const Tokenizer& tokenizer, nlohmann::ordered_json* config)
      : tokenizer_(tokenizer), config_(*config), next_(tokenizer.vocab_size()) {}

  int32_t Add(const std::string& token) {
    const std::optional<int32_t> known = tokenizer_.TokenToId(token);
    const int32_t id = known.has_value() ? *known : next_++;
    config_["added_tokens_decoder"][absl::StrCat(id)] = {{"content", token},     {"lstrip", false},
                                                         {"normalized", false},  {"rstrip", false},
                                                         {"single_word", false}, {"special", true}};
    return id;
  }

 private:
  const Tokenizer& tokenizer_;
  nlohmann::ordered_json& config_;
  int32_t next_;
};

absl::Status WriteConfigs(const std::string& directory, const std::string& padding,
                          nlohmann::ordered_json config, const OutputDirectory& out) {
  PREFIXD_ASSIGN_OR_RETURN(nlohmann::ordered_json map,
                           ReadIfPresent(absl::StrCat(directory, "/", kMapFile)));
  for (nlohmann::ordered_json* file : {&config, &map}) {
    (*file)["additional_special_tokens"] = {kEndOfChunk, kImage};
    (*file)["pad_token"] = padding;
  }
  PREFIXD_RETURN_IF_ERROR(out.WriteJson(kConfigFile, config));
  return out.WriteJson(kMapFile, map);
}

}  // namespace

absl::StatusOr<FlamingoTokens> WriteFlamingoTokenizer(const std::string& directory,
                                                      int64_t num_tokens,
                                                      const OutputDirectory& out) {
  PREFIXD_ASSIGN_OR_RETURN(const std::unique_ptr<const Tokenizer> tokenizer,
                           Tokenizer::Load(directory));
  PREFIXD_ASSIGN_OR_RETURN(const TokenizerConfig known, TokenizerConfig::Read(directory));
  PREFIXD_ASSIGN_OR_RETURN(nlohmann::ordered_json config,
                           ReadIfPresent(absl::StrCat(directory, "/", kConfigFile)));
  TokenAdder adder(*tokenizer, &config);
  FlamingoTokens tokens;
  tokens.end_of_chunk = adder.Add(kEndOfChunk);
  tokens.image = adder.Add(kImage);
  const std::optional<int32_t> padding =
      known.pad_token.empty() ? std::nullopt : tokenizer->TokenToId(known.pad_token);
  tokens.padding = padding.has_value() ? *padding : adder.Add(kPadding);
  std::optional<int32_t> end = tokenizer->TokenToId(kEndOfText);
  if (!end.has_value()) end = tokenizer->eos_token_id();
  if (!end.has_value()) {
    return absl::InvalidArgumentError(
        absl::StrCat(directory, ": the tokenizer has neither ", kEndOfText, " nor an eos_token"));
  }
  tokens.end_of_text = *end;
  PREFIXD_RETURN_IF_ERROR(out.CopyFiles(directory, kTokenizerFiles));
  PREFIXD_RETURN_IF_ERROR(WriteConfigs(directory, padding.has_value() ? known.pad_token : kPadding,
                                       std::move(config), out));
  PREFIXD_ASSIGN_OR_RETURN(const std::unique_ptr<const Tokenizer> written,
                           Tokenizer::Load(out.path()));
  if (written->vocab_size() != num_tokens) {
    return absl::InvalidArgumentError(
        absl::StrCat(directory, ": the tokenizer has ", written->vocab_size(),
                     " tokens with those of OpenFlamingo, the checkpoint's embeddings have ",
                     num_tokens, " rows"));
  }
  return tokens;
}

}  // namespace prefixd::tools
