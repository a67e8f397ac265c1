#include <algorithm>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/status_macros.h"
#include "engine/tokenizer/bpe_model.h"
#include "engine/tokenizer/limits.h"
#include "engine/tokenizer/post_processor.h"
#include "engine/tokenizer/tokenizer_parts.h"
#include "engine/tokenizer/traced_text.h"
#include "engine/tokenizer/unicode.h"

namespace prefixd {
namespace {

// The pipeline of the `tokenizers` library: added tokens in the raw text, normalisation, added
// tokens in the normalised text, words, BPE; specials around it.
class BpeTokenizer final : public Tokenizer {
 public:
  static absl::StatusOr<std::unique_ptr<const Tokenizer>> Create(TokenizerParts parts,
                                                                 TokenizerConfig config);

  absl::StatusOr<std::vector<int32_t>> Encode(absl::Span<const TextSpan> spans,
                                              bool add_special_tokens) const override;
  std::string Decode(absl::Span<const int32_t> ids, bool skip_special_tokens) const override;
  std::string TokenBytes(int32_t id) const override;
  bool IsByteToken(int32_t id) const override {
    return id >= 0 && id < vocab_size() && !IsSpecial(id) &&
           decoder_.FallbackByte(tokens_[static_cast<size_t>(id)]).has_value();
  }
  bool IsSpecial(int32_t id) const override {
    const AddedToken* const added = FindAdded(id);
    return added != nullptr && added->special;
  }
  std::optional<int32_t> TokenToId(absl::string_view token) const override;
  int32_t vocab_size() const override { return static_cast<int32_t>(tokens_.size()); }
  std::optional<int32_t> bos_token_id() const override { return bos_id_; }
  std::optional<int32_t> eos_token_id() const override { return eos_id_; }
  const std::string& chat_template() const override { return chat_template_; }
  bool strips_leading_space() const override { return decoder_.strips_leading_space(); }

 private:
  explicit BpeTokenizer(TokenizerParts* parts)
      : model_(std::move(parts->model)),
        normalizer_(std::move(parts->normalizer)),
        pre_tokenizer_(std::move(parts->pre_tokenizer)),
        decoder_(*std::move(parts->decoder)) {}

  absl::Status AddToken(absl::string_view where, const AddedToken& token);
  void IndexPatterns();
  std::string PatternOf(const AddedToken& token) const;
  absl::Status IndexTokens(absl::string_view where);
  void HideSpecialTokens();
  absl::Status ApplyConfig(const std::optional<JsonField>& post_processor,
                           const TokenizerConfig& config);

  void EncodeRaw(const TracedText& text, std::vector<int32_t>* ids) const;
  void EncodeNormalized(const TracedText& text, bool begins_text, std::vector<int32_t>* ids) const;
  const AddedToken* FindAdded(int32_t id) const {
    const auto it = added_.find(id);
    return it == added_.end() ? nullptr : &it->second;
  }

  BpeModel model_;
  Normalizer normalizer_;
  PreTokenizer pre_tokenizer_;
  Decoder decoder_;
  PostProcessor post_processor_;
  absl::flat_hash_map<int32_t, AddedToken> added_;
  absl::flat_hash_map<std::string, int32_t> added_ids_;
  AddedTokenMatcher raw_matcher_, normalized_matcher_;
  std::vector<std::string> tokens_;  // By id; empty: no such token.
  std::optional<int32_t> bos_id_, eos_id_;
  std::string chat_template_;
};

absl::StatusOr<std::unique_ptr<const Tokenizer>> BpeTokenizer::Create(TokenizerParts parts,
                                                                      TokenizerConfig config) {
  PREFIXD_CHECK(parts.decoder.has_value());
  std::unique_ptr<BpeTokenizer> tokenizer(new BpeTokenizer(&parts));
  for (const AddedToken& token : parts.added_tokens) {
    PREFIXD_RETURN_IF_ERROR(tokenizer->AddToken(parts.where, token));
  }
  for (const AddedToken& token : config.added_tokens) {
    PREFIXD_RETURN_IF_ERROR(tokenizer->AddToken(parts.where, token));
  }
  tokenizer->IndexPatterns();
  PREFIXD_RETURN_IF_ERROR(tokenizer->IndexTokens(parts.where));
  tokenizer->HideSpecialTokens();
  PREFIXD_RETURN_IF_ERROR(tokenizer->ApplyConfig(parts.post_processor, config));
  tokenizer->chat_template_ = std::move(config.chat_template);
  return tokenizer;
}

void BpeTokenizer::IndexPatterns() {
  // In order of ids: among equal patterns the last one counts.
  std::vector<const AddedToken*> ordered;
  for (const auto& [id, token] : added_) ordered.push_back(&token);
  std::sort(ordered.begin(), ordered.end(),
            [](const AddedToken* a, const AddedToken* b) { return a->id < b->id; });
  for (const AddedToken* token : ordered) {
    const std::string pattern = PatternOf(*token);
    if (pattern.empty()) continue;
    (token->normalized ? normalized_matcher_ : raw_matcher_).Add(*token, pattern);
  }
}

void BpeTokenizer::HideSpecialTokens() {
  std::vector<int32_t> special;
  for (const auto& [id, token] : added_) {
    if (token.special) special.push_back(id);
  }
  model_.Hide(special);
}

std::string BpeTokenizer::PatternOf(const AddedToken& token) const {
  if (!token.normalized || token.verbatim) return token.content;
  std::vector<int32_t> owner(token.content.size(), kUntrusted);
  return normalizer_.Apply({token.content, std::move(owner)}).text;
}

absl::Status BpeTokenizer::AddToken(absl::string_view where, const AddedToken& token) {
  const std::optional<int32_t> in_model = model_.TokenToId(token.content);
  const auto by_content = added_ids_.find(token.content);
  const std::optional<int32_t> known =
      by_content != added_ids_.end() ? std::optional<int32_t>(by_content->second) : in_model;
  if (known && *known != token.id) {
    return absl::InvalidArgumentError(absl::StrCat(where, ": \"", token.content.substr(0, 64),
                                                   "\" has id ", token.id, " and id ", *known));
  }
  const auto it = added_.find(token.id);
  if (it != added_.end() && it->second.content != token.content) {
    return absl::InvalidArgumentError(absl::StrCat(where, ": id ", token.id, " is \"",
                                                   it->second.content.substr(0, 64), "\" and \"",
                                                   token.content.substr(0, 64), "\""));
  }
  added_[token.id] = token;
  added_ids_[token.content] = token.id;
  return absl::OkStatus();
}

absl::Status BpeTokenizer::IndexTokens(absl::string_view where) {
  int32_t largest = -1;
  for (const auto& [token, id] : model_.vocab()) largest = std::max(largest, id);
  for (const auto& [id, token] : added_) largest = std::max(largest, id);
  const size_t size = static_cast<size_t>(largest) + 1;
  const size_t count = model_.vocab().size() + added_.size();
  if (size > 4 * count + kMaxUnusedIds) {
    return absl::InvalidArgumentError(
        absl::StrCat(where, ": id ", largest, " beside only ", count, " tokens"));
  }
  tokens_.resize(size);
  for (const auto& [token, id] : model_.vocab()) tokens_[static_cast<size_t>(id)] = token;
  for (const auto& [id, token] : added_) {
    std::string& slot = tokens_[static_cast<size_t>(id)];
    if (!slot.empty() && slot != token.content) {
      return absl::InvalidArgumentError(
          absl::StrCat(where, ": id ", id, " is \"", slot.substr(0, 64),
                       "\" in the vocabulary and \"", token.content.substr(0, 64), "\" here"));
    }
    // The reference decodes a normalised token as its pattern: with the space before it.
    slot = token.special ? token.content : PatternOf(token);
  }
  return absl::OkStatus();
}

absl::Status BpeTokenizer::ApplyConfig(const std::optional<JsonField>& post_processor,
                                       const TokenizerConfig& config) {
  const std::pair<const std::string*, std::optional<int32_t>*> named[] = {
      {&config.bos_token, &bos_id_}, {&config.eos_token, &eos_id_}};
  for (const auto& [token, id] : named) {
    if (token->empty()) continue;
    *id = TokenToId(*token);
    if (!*id) {
      return absl::InvalidArgumentError(
          absl::StrCat("tokenizer_config.json: ", id == &bos_id_ ? "bos_token" : "eos_token",
                       ": \"", token->substr(0, 64), "\" is no token"));
    }
  }
  if (post_processor) {
    PREFIXD_ASSIGN_OR_RETURN(
        post_processor_, PostProcessor::Create(*post_processor, [this](absl::string_view token) {
          return TokenToId(token);
        }));
  }
  if (config.add_bos_token && bos_id_) post_processor_.SetBos(*bos_id_, *config.add_bos_token);
  if (config.add_eos_token && eos_id_) post_processor_.SetEos(*eos_id_, *config.add_eos_token);
  return absl::OkStatus();
}

absl::StatusOr<std::vector<int32_t>> BpeTokenizer::Encode(absl::Span<const TextSpan> spans,
                                                          bool add_special_tokens) const {
  TracedText text;
  for (size_t i = 0; i < spans.size(); ++i) {
    if (!IsValidUtf8(spans[i].text)) {
      return absl::InvalidArgumentError("the text is not valid UTF-8");
    }
    text.text.append(spans[i].text.data(), spans[i].text.size());
    text.owner.resize(text.text.size(), spans[i].trusted ? static_cast<int32_t>(i) : kUntrusted);
  }
  std::vector<int32_t> ids;
  if (add_special_tokens) ids = post_processor_.prefix();
  EncodeRaw(text, &ids);
  if (add_special_tokens) {
    ids.insert(ids.end(), post_processor_.suffix().begin(), post_processor_.suffix().end());
  }
  return ids;
}

void BpeTokenizer::EncodeRaw(const TracedText& text, std::vector<int32_t>* ids) const {
  for (const AddedTokenMatcher::Segment& segment : raw_matcher_.Split(text)) {
    if (segment.id) {
      ids->push_back(*segment.id);
    } else if (segment.begin < segment.end) {
      EncodeNormalized(normalizer_.Apply(text.Slice(segment.begin, segment.end)),
                       segment.begin == 0, ids);
    }
  }
}

void BpeTokenizer::EncodeNormalized(const TracedText& text, bool begins_text,
                                    std::vector<int32_t>* ids) const {
  for (const AddedTokenMatcher::Segment& segment : normalized_matcher_.Split(text)) {
    if (segment.id) {
      ids->push_back(*segment.id);
      continue;
    }
    if (segment.begin == segment.end) continue;
    const absl::string_view piece =
        absl::string_view(text.text).substr(segment.begin, segment.end - segment.begin);
    for (const std::string& word : pre_tokenizer_.Split(piece, begins_text && segment.begin == 0)) {
      model_.Encode(word, ids);
    }
  }
}

std::string BpeTokenizer::Decode(absl::Span<const int32_t> ids, bool skip_special_tokens) const {
  std::vector<std::string> tokens;
  for (const int32_t id : ids) {
    if (id < 0 || id >= vocab_size() || tokens_[static_cast<size_t>(id)].empty()) continue;
    if (skip_special_tokens && IsSpecial(id)) continue;
    tokens.push_back(tokens_[static_cast<size_t>(id)]);
  }
  return decoder_.Decode(std::move(tokens));
}

std::string BpeTokenizer::TokenBytes(int32_t id) const {
  if (id < 0 || id >= vocab_size()) return "";
  const std::string& token = tokens_[static_cast<size_t>(id)];
  return IsSpecial(id) ? token : decoder_.TokenBytes(token);
}

std::optional<int32_t> BpeTokenizer::TokenToId(absl::string_view token) const {
  const auto added = added_ids_.find(std::string(token));
  if (added != added_ids_.end()) return added->second;
  return model_.TokenToId(token);
}

}  // namespace

absl::StatusOr<std::unique_ptr<const Tokenizer>> BuildTokenizer(TokenizerParts parts,
                                                                TokenizerConfig config) {
  return BpeTokenizer::Create(std::move(parts), std::move(config));
}

}  // namespace prefixd
