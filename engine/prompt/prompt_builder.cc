#include "engine/prompt/prompt_builder.h"

#include <algorithm>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/error.h"
#include "base/status_macros.h"
#include "engine/error_reasons.h"
#include "engine/prompt/merge_input.h"

namespace prefixd {
namespace {

absl::Status Invalid(absl::string_view reason, absl::string_view field, std::string description,
                     std::vector<std::pair<std::string, std::string>> metadata = {}) {
  return MakeError(absl::StatusCode::kInvalidArgument, absl::StrCat(field, ": ", description),
                   ErrorDetail{.reason = std::string(reason),
                               .metadata = std::move(metadata),
                               .field_violations = {{std::string(field), description}}});
}

absl::Status PlaceholderInText() {
  return Invalid(reason::kImageCountMismatch, "input",
                 "the text spells this model's image placeholder, which its tokenizer does not "
                 "treat as special");
}

bool HoldsImage(const Part& part) { return std::holds_alternative<ImagePart>(part); }

// The input followed by something that the user says.
absl::StatusOr<Input> SaidAfter(const Input& input, absl::string_view text) {
  const std::vector<Part> parts = {TextPart{std::string(text)}};
  if (std::holds_alternative<PromptInput>(input)) return MergeInputs(input, PromptInput{parts});
  return MergeInputs(input, ChatInput{{ChatMessage{.role = Role::kUser, .parts = parts}}});
}

}  // namespace

PromptBuilder::PromptBuilder(const PromptBuilderOptions& options,
                             std::unique_ptr<const Tokenizer> tokenizer,
                             std::unique_ptr<const ChatTemplate> chat,
                             std::unique_ptr<const ImageResolver> images)
    : options_(options),
      tokenizer_(std::move(tokenizer)),
      chat_(std::move(chat)),
      images_(std::move(images)) {
  PREFIXD_CHECK(!options_.image || images_ != nullptr);
}

absl::StatusOr<Prompt> PromptBuilder::Build(const PromptSource& source, ImageWork work) const {
  PREFIXD_ASSIGN_OR_RETURN(const std::vector<int32_t> ids, EncodeInput(source.input));
  return Finish(ids, source, work);
}

absl::StatusOr<Prompt> PromptBuilder::BuildPrefix(const PromptSource& source) const {
  if (std::holds_alternative<TokenInput>(source.input)) return Build(source, ImageWork::kDecode);
  // What follows may change how the end is cut into tokens: two continuations without a common
  // beginning show where that starts.
  PREFIXD_ASSIGN_OR_RETURN(const Input one, SaidAfter(source.input, "a"));
  PREFIXD_ASSIGN_OR_RETURN(const Input other, SaidAfter(source.input, "b"));
  PREFIXD_ASSIGN_OR_RETURN(std::vector<int32_t> ids, EncodeInput(one));
  PREFIXD_ASSIGN_OR_RETURN(const std::vector<int32_t> other_ids, EncodeInput(other));
  const auto end = std::mismatch(ids.begin(), ids.end(), other_ids.begin(), other_ids.end()).first;
  ids.erase(end, ids.end());
  return Finish(ids, source, ImageWork::kDecode);
}

absl::StatusOr<std::vector<KeptImage>> PromptBuilder::KeepImages(absl::string_view tenant,
                                                                 Input* input) const {
  std::vector<KeptImage> kept;
  const std::vector<const ImagePart*> parts = ImagesOf(*input);
  PREFIXD_RETURN_IF_ERROR(CheckImageCount(parts.size()));
  if (parts.empty()) return kept;
  PREFIXD_ASSIGN_OR_RETURN(const std::vector<ResolvedImage> images,
                           images_->Resolve(tenant, parts, {}, ImageWork::kDecode));
  for (const ResolvedImage& image : images) kept.push_back({image.sha256, *image.image});
  NameImages(kept, input);
  return kept;
}

absl::StatusOr<std::vector<int32_t>> PromptBuilder::EncodeInput(const Input& input) const {
  if (const auto* tokens = std::get_if<TokenInput>(&input)) {
    PREFIXD_RETURN_IF_ERROR(CheckTokens(*tokens));
    return tokens->ids;
  }
  PREFIXD_RETURN_IF_ERROR(CheckImageCount(ImagesOf(input).size()));
  absl::StatusOr<Layout> layout = std::holds_alternative<ChatInput>(input)
                                      ? LayOutChat(std::get<ChatInput>(input))
                                      : LayOutPrompt(std::get<PromptInput>(input));
  PREFIXD_RETURN_IF_ERROR(layout.status());
  return EncodeLayout(*layout);
}

absl::StatusOr<PromptBuilder::Layout> PromptBuilder::LayOutChat(const ChatInput& chat) const {
  if (chat_ == nullptr) {
    return MakeError(
        absl::StatusCode::kFailedPrecondition, reason::kFeatureUnsupported,
        options_.chat_problem.empty() ? "this model has no chat template" : options_.chat_problem);
  }
  Layout layout;
  PREFIXD_ASSIGN_OR_RETURN(layout.pieces, chat_->Render(chat.messages));
  layout.add_special_tokens = chat_->add_special_tokens();
  for (const ChatMessage& message : chat.messages) {
    layout.num_images +=
        static_cast<size_t>(std::count_if(message.parts.begin(), message.parts.end(), HoldsImage));
  }
  return layout;
}

absl::StatusOr<PromptBuilder::Layout> PromptBuilder::LayOutPrompt(const PromptInput& prompt) const {
  Layout layout;
  for (const Part& part : prompt.parts) {
    if (HoldsImage(part)) {
      layout.pieces.push_back({PromptPiece::Kind::kImage, ""});
      ++layout.num_images;
    } else {
      layout.pieces.push_back({PromptPiece::Kind::kUser, std::get<TextPart>(part).text});
    }
  }
  return layout;
}

absl::StatusOr<std::vector<int32_t>> PromptBuilder::EncodeLayout(const Layout& layout) const {
  uint64_t total_bytes = 0;
  for (const PromptPiece& piece : layout.pieces) total_bytes += piece.text.size();
  if (total_bytes > options_.max_prompt_bytes) {
    return Invalid(
        reason::kInputInvalid, "input",
        absl::StrCat("the text has ", total_bytes, " bytes, the limit is ",
                     options_.max_prompt_bytes),
        {{"bytes", absl::StrCat(total_bytes)}, {"limit", absl::StrCat(options_.max_prompt_bytes)}});
  }
  if (options_.image && options_.image->token_id >= options_.vocab_size) {
    return EncodeAroundImages(layout);
  }
  const std::string placeholder =
      options_.image ? tokenizer_->TokenBytes(options_.image->token_id) : "";
  std::vector<TextSpan> spans;
  size_t num_placeholders = 0;
  for (const PromptPiece& piece : layout.pieces) {
    if (piece.kind == PromptPiece::Kind::kImage) {
      spans.push_back({placeholder, /*trusted=*/true});
      ++num_placeholders;
    } else {
      spans.push_back({piece.text, piece.kind == PromptPiece::Kind::kTemplate});
    }
  }
  PREFIXD_CHECK(num_placeholders == layout.num_images);
  return tokenizer_->Encode(spans, layout.add_special_tokens);
}

absl::StatusOr<std::vector<int32_t>> PromptBuilder::EncodeAroundImages(const Layout& layout) const {
  std::vector<int32_t> ids;
  std::vector<TextSpan> spans;
  bool is_first = true;
  const auto encode = [&]() -> absl::Status {
    PREFIXD_ASSIGN_OR_RETURN(const std::vector<int32_t> text,
                             tokenizer_->Encode(spans, is_first && layout.add_special_tokens));
    ids.insert(ids.end(), text.begin(), text.end());
    spans.clear();
    is_first = false;
    return absl::OkStatus();
  };
  for (const PromptPiece& piece : layout.pieces) {
    if (piece.kind != PromptPiece::Kind::kImage) {
      spans.push_back({piece.text, piece.kind == PromptPiece::Kind::kTemplate});
      continue;
    }
    PREFIXD_RETURN_IF_ERROR(encode());
    ids.push_back(options_.image->token_id);
  }
  PREFIXD_RETURN_IF_ERROR(encode());
  return ids;
}

absl::Status PromptBuilder::CheckTokens(const TokenInput& tokens) const {
  PREFIXD_RETURN_IF_ERROR(CheckImageCount(tokens.images.size()));
  size_t num_placeholders = 0;
  for (size_t i = 0; i < tokens.ids.size(); ++i) {
    const int32_t id = tokens.ids[i];
    if (options_.image && id == options_.image->token_id) {
      ++num_placeholders;  // May lie beyond the vocabulary.
    } else if (id < 0 || id >= options_.vocab_size) {
      return Invalid(
          reason::kParameterOutOfRange, absl::StrCat("tokens.ids[", i, "]"),
          absl::StrCat("token id ", id, ", the range is [0, ", options_.vocab_size - 1, "]"));
    }
  }
  if (num_placeholders != tokens.images.size()) {
    return Invalid(reason::kImageCountMismatch, "tokens.images",
                   absl::StrCat(tokens.images.size(), " images for ", num_placeholders,
                                " image placeholders in tokens.ids"),
                   {{"images", absl::StrCat(tokens.images.size())},
                    {"placeholders", absl::StrCat(num_placeholders)}});
  }
  return absl::OkStatus();
}

absl::Status PromptBuilder::CheckImageCount(size_t count) const {
  if (count == 0) return absl::OkStatus();
  if (!options_.image) {
    return MakeError(absl::StatusCode::kFailedPrecondition, reason::kFeatureUnsupported,
                     "this model takes no images", {{"images", absl::StrCat(count)}});
  }
  if (count > static_cast<size_t>(options_.image->max_images)) {
    return Invalid(reason::kParameterOutOfRange, "images",
                   absl::StrCat(count, " images, the limit is ", options_.image->max_images));
  }
  return absl::OkStatus();
}

absl::StatusOr<Prompt> PromptBuilder::Finish(const std::vector<int32_t>& ids,
                                             const PromptSource& source, ImageWork work) const {
  const std::vector<const ImagePart*> parts = ImagesOf(source.input);
  PREFIXD_ASSIGN_OR_RETURN(Prompt prompt, Expand(ids, parts.size()));
  std::vector<ResolvedImage> images;
  if (!parts.empty()) {
    PREFIXD_ASSIGN_OR_RETURN(images, images_->Resolve(source.tenant, parts, source.kept, work));
  }
  for (size_t i = 0; i < images.size(); ++i) {
    if (!images[i].image) continue;
    prompt.images[i].media_id = images[i].image->media_id;
    prompt.images[i].pixels = images[i].image->pixels;
    prompt.images[i].decode_hit = images[i].decode_hit;
  }
  if (source.share) AddKeys(source, &prompt);
  return prompt;
}

absl::StatusOr<Prompt> PromptBuilder::Expand(const std::vector<int32_t>& ids,
                                             size_t num_images) const {
  const int64_t rows_per_image = options_.image ? options_.image->tokens_per_image : 0;
  const int64_t total =
      static_cast<int64_t>(ids.size()) + static_cast<int64_t>(num_images) * (rows_per_image - 1);
  if (ids.empty()) {
    return Invalid(reason::kInputInvalid, "input", "the prompt has no tokens");
  }
  if (total >= options_.context_length) {
    return Invalid(reason::kContextLengthExceeded, "input",
                   absl::StrCat("the prompt has ", total, " tokens, the context holds ",
                                options_.context_length, " with at least one to generate"),
                   {{"prompt_tokens", absl::StrCat(total)},
                    {"context_length", absl::StrCat(options_.context_length)}});
  }
  if (total > options_.max_prompt_rows) {
    return Invalid(reason::kContextLengthExceeded, "input",
                   absl::StrCat("the prompt has ", total,
                                " tokens, this model computes a prompt in one pass of at most ",
                                options_.max_prompt_rows),
                   {{"prompt_tokens", absl::StrCat(total)},
                    {"max_prompt_tokens", absl::StrCat(options_.max_prompt_rows)}});
  }
  Prompt prompt;
  prompt.token_ids.reserve(static_cast<size_t>(total));
  for (const int32_t id : ids) {
    if (!options_.image || id != options_.image->token_id) {
      prompt.token_ids.push_back(id);
      continue;
    }
    if (prompt.images.size() == num_images) return PlaceholderInText();  // It is not special.
    prompt.images.push_back({.row_begin = static_cast<int32_t>(prompt.token_ids.size()),
                             .num_rows = static_cast<int32_t>(rows_per_image)});
    prompt.token_ids.insert(prompt.token_ids.end(), static_cast<size_t>(rows_per_image), id);
  }
  if (prompt.images.size() != num_images) return PlaceholderInText();
  return prompt;
}

void PromptBuilder::AddKeys(const PromptSource& source, Prompt* prompt) const {
  ShareUnder(RootKey({.tenant = source.tenant,
                      .salt = source.cache_salt,
                      .model_digest = options_.keys.model_digest,
                      .preprocessing_version =
                          images_ != nullptr ? absl::string_view(images_->preprocessing_version())
                                             : absl::string_view(),
                      .kv_dtype = options_.keys.kv_dtype}),
             prompt);
}

}  // namespace prefixd
