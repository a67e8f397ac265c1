#include "engine/prompt/prompt_builder.h"

#include <algorithm>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/error.h"
#include "base/status_macros.h"
#include "engine/error_reasons.h"

namespace prefixd {
namespace {

absl::Status Invalid(absl::string_view reason, absl::string_view field, std::string description,
                     std::vector<std::pair<std::string, std::string>> metadata = {}) {
  return MakeError(absl::StatusCode::kInvalidArgument, absl::StrCat(field, ": ", description),
                   ErrorDetail{.reason = std::string(reason),
                               .metadata = std::move(metadata),
                               .field_violations = {{std::string(field), description}}});
}

// Adds which image it was to an error of the decoder, and keeps its reason.
absl::Status InImage(const absl::Status& status, size_t index) {
  ErrorDetail detail =
      GetErrorDetail(status).value_or(ErrorDetail{.reason = reason::kImageCorrupt});
  const std::string field = absl::StrCat("image ", index);
  if (status.code() == absl::StatusCode::kInvalidArgument) {
    detail.field_violations.push_back({field, std::string(status.message())});
  }
  detail.metadata.emplace_back("image_index", absl::StrCat(index));
  return MakeError(status.code(), absl::StrCat(field, ": ", status.message()), detail);
}

absl::Status PlaceholderInText() {
  return Invalid(reason::kImageCountMismatch, "input",
                 "the text spells this model's image placeholder, which its tokenizer does not "
                 "treat as special");
}

const ImagePart* AsImage(const Part& part) { return std::get_if<ImagePart>(&part); }

}  // namespace

PromptBuilder::PromptBuilder(const PromptBuilderOptions& options,
                             std::unique_ptr<const Tokenizer> tokenizer,
                             std::unique_ptr<const ChatTemplate> chat,
                             std::unique_ptr<ImageDecoder> decoder,
                             std::unique_ptr<const ImageProcessor> processor)
    : options_(options),
      tokenizer_(std::move(tokenizer)),
      chat_(std::move(chat)),
      decoder_(std::move(decoder)),
      processor_(std::move(processor)) {
  PREFIXD_CHECK(!options_.image || (decoder_ != nullptr && processor_ != nullptr));
}

absl::StatusOr<Prompt> PromptBuilder::Build(const Input& input, ImageWork work) const {
  if (const auto* tokens = std::get_if<TokenInput>(&input)) {
    PREFIXD_RETURN_IF_ERROR(CheckTokens(*tokens));
    std::vector<const ImagePart*> images;
    for (const ImagePart& image : tokens->images) images.push_back(&image);
    return Expand(tokens->ids, images, work);
  }
  absl::StatusOr<Layout> layout = std::holds_alternative<ChatInput>(input)
                                      ? LayOutChat(std::get<ChatInput>(input))
                                      : LayOutPrompt(std::get<PromptInput>(input));
  PREFIXD_RETURN_IF_ERROR(layout.status());
  PREFIXD_RETURN_IF_ERROR(CheckImageCount(layout->images.size()));
  PREFIXD_ASSIGN_OR_RETURN(std::vector<int32_t> ids, EncodeLayout(*layout));
  return Expand(std::move(ids), layout->images, work);
}

absl::StatusOr<PromptBuilder::Layout> PromptBuilder::LayOutChat(const ChatInput& chat) const {
  if (chat_ == nullptr) {
    return MakeError(absl::StatusCode::kFailedPrecondition, reason::kFeatureUnsupported,
                     "this model has no chat template that the server knows; send a prompt, or "
                     "start the server with --chat-template");
  }
  Layout layout;
  PREFIXD_ASSIGN_OR_RETURN(layout.pieces, chat_->Render(chat.messages));
  layout.add_special_tokens = chat_->add_special_tokens();
  for (const ChatMessage& message : chat.messages) {
    for (const Part& part : message.parts) {
      if (const ImagePart* image = AsImage(part)) layout.images.push_back(image);
    }
  }
  return layout;
}

absl::StatusOr<PromptBuilder::Layout> PromptBuilder::LayOutPrompt(const PromptInput& prompt) const {
  Layout layout;
  for (const Part& part : prompt.parts) {
    if (const ImagePart* image = AsImage(part)) {
      layout.pieces.push_back({PromptPiece::Kind::kImage, ""});
      layout.images.push_back(image);
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
  PREFIXD_CHECK(num_placeholders == layout.images.size());
  return tokenizer_->Encode(spans, layout.add_special_tokens);
}

absl::Status PromptBuilder::CheckTokens(const TokenInput& tokens) const {
  PREFIXD_RETURN_IF_ERROR(CheckImageCount(tokens.images.size()));
  size_t num_placeholders = 0;
  for (size_t i = 0; i < tokens.ids.size(); ++i) {
    const int32_t id = tokens.ids[i];
    if (id < 0 || id >= options_.vocab_size) {
      return Invalid(
          reason::kParameterOutOfRange, absl::StrCat("tokens.ids[", i, "]"),
          absl::StrCat("token id ", id, ", the range is [0, ", options_.vocab_size - 1, "]"));
    }
    if (options_.image && id == options_.image->token_id) ++num_placeholders;
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

absl::StatusOr<Prompt> PromptBuilder::Expand(std::vector<int32_t> ids,
                                             const std::vector<const ImagePart*>& images,
                                             ImageWork work) const {
  const int64_t rows_per_image = options_.image ? options_.image->tokens_per_image : 0;
  const int64_t total =
      static_cast<int64_t>(ids.size()) + static_cast<int64_t>(images.size()) * (rows_per_image - 1);
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
  Prompt prompt;
  prompt.token_ids.reserve(static_cast<size_t>(total));
  for (const int32_t id : ids) {
    if (!options_.image || id != options_.image->token_id) {
      prompt.token_ids.push_back(id);
      continue;
    }
    const size_t index = prompt.images.size();
    if (index == images.size()) return PlaceholderInText();  // Its token is not special.
    PromptImage image{.row_begin = static_cast<int32_t>(prompt.token_ids.size()),
                      .num_rows = static_cast<int32_t>(rows_per_image)};
    if (work == ImageWork::kDecode) {
      PREFIXD_ASSIGN_OR_RETURN(image.pixels, Pixels(*images[index], index));
    }
    prompt.images.push_back(std::move(image));
    prompt.token_ids.insert(prompt.token_ids.end(), static_cast<size_t>(rows_per_image), id);
  }
  if (prompt.images.size() != images.size()) return PlaceholderInText();
  return prompt;
}

absl::StatusOr<std::vector<float>> PromptBuilder::Pixels(const ImagePart& image,
                                                         size_t index) const {
  const absl::StatusOr<RgbImage> decoded = decoder_->Decode(image.bytes);
  if (!decoded.ok()) return InImage(decoded.status(), index);
  absl::StatusOr<std::vector<float>> pixels = processor_->Process(*decoded);
  if (!pixels.ok()) return InImage(pixels.status(), index);
  return pixels;
}

}  // namespace prefixd
