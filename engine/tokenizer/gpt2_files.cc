#include "engine/tokenizer/gpt2_files.h"

#include <utility>

#include <nlohmann/json.hpp>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/file.h"
#include "base/json.h"
#include "base/status_macros.h"
#include "engine/tokenizer/limits.h"
#include "engine/tokenizer/tokenizer_parts.h"

namespace prefixd {
namespace {

constexpr char kEndOfText[] = "<|endoftext|>";

// One merge a line; a first line `#version` is skipped.
absl::Status ReadMergesText(absl::string_view text, const std::string& path, BpeParts* parts) {
  for (size_t line_number = 1; !text.empty(); ++line_number) {
    const size_t end = text.find('\n');
    absl::string_view line = text.substr(0, end);
    text = end == absl::string_view::npos ? absl::string_view() : text.substr(end + 1);
    absl::ConsumeSuffix(&line, "\r");
    if (line_number == 1 && absl::StartsWith(line, "#version")) continue;
    PREFIXD_RETURN_IF_ERROR(AddMerge(line, absl::StrCat(path, ":", line_number), parts));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<const Tokenizer>> TokenizerFromGpt2Files(
    const std::string& vocab_path, const std::string& merges_path, TokenizerConfig config) {
  TokenizerParts parts;
  parts.where = vocab_path;
  PREFIXD_ASSIGN_OR_RETURN(const nlohmann::json vocab,
                           ReadJsonFile(vocab_path, kMaxTokenizerFileBytes));
  PREFIXD_RETURN_IF_ERROR(ReadVocab(JsonField(&vocab, vocab_path), &parts.model));
  PREFIXD_ASSIGN_OR_RETURN(const std::string merges, ReadFile(merges_path, kMaxTokenizerFileBytes));
  PREFIXD_RETURN_IF_ERROR(ReadMergesText(merges, merges_path, &parts.model));
  const nlohmann::json words = {{"type", "ByteLevel"},
                                {"add_prefix_space", config.add_prefix_space.value_or(false)}};
  PREFIXD_ASSIGN_OR_RETURN(parts.pre_tokenizer,
                           PreTokenizer::Create(JsonField(&words, vocab_path)));
  PREFIXD_ASSIGN_OR_RETURN(parts.decoder, Decoder::Create(JsonField(&words, vocab_path)));
  const auto end_of_text = parts.model.vocab.find(kEndOfText);
  if (end_of_text != parts.model.vocab.end()) {
    parts.added_tokens.push_back(
        {.id = end_of_text->second, .content = kEndOfText, .special = true});
    if (config.bos_token.empty()) config.bos_token = kEndOfText;
    if (config.eos_token.empty()) config.eos_token = kEndOfText;
  }
  return BuildTokenizer(std::move(parts), std::move(config));
}

}  // namespace prefixd
