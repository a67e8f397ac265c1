// From what a caller sent to a Prompt: chat template, tokens, images, placeholders. All bytes are
// hostile: limits come before allocation. Immutable after construction; safe from any thread.
#ifndef PREFIXD_ENGINE_PROMPT_PROMPT_BUILDER_H_
#define PREFIXD_ENGINE_PROMPT_PROMPT_BUILDER_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/prompt/chat_template.h"
#include "engine/prompt/prompt.h"
#include "engine/request.h"
#include "engine/tokenizer/tokenizer.h"
#include "engine/vision/image_decoder.h"
#include "engine/vision/image_processor.h"

namespace prefixd {

// How images enter the prompt of a vision model.
struct PromptImageOptions {
  int32_t token_id = 0;
  int32_t tokens_per_image = 0;
  int32_t max_images = 0;
};

struct PromptBuilderOptions {
  int32_t context_length = 0;  // A prompt must leave room for one more token.
  int32_t vocab_size = 0;
  uint64_t max_prompt_bytes = 1 << 20;
  std::optional<PromptImageOptions> image;  // Absent: a text model.
};

// What CountTokens needs to know of the images: whether to decode them.
enum class ImageWork { kDecode, kCountOnly };

class PromptBuilder {
 public:
  // `chat` is null for a model without a chat template; `decoder` and `processor` are null for a
  // text model.
  PromptBuilder(const PromptBuilderOptions& options, std::unique_ptr<const Tokenizer> tokenizer,
                std::unique_ptr<const ChatTemplate> chat, std::unique_ptr<ImageDecoder> decoder,
                std::unique_ptr<const ImageProcessor> processor);

  const Tokenizer& tokenizer() const { return *tokenizer_; }

  // Errors: INVALID_ARGUMENT that names the field, with both numbers (CONTEXT_LENGTH_EXCEEDED,
  // IMAGE_COUNT_MISMATCH, IMAGE_*, INPUT_INVALID); FAILED_PRECONDITION (FEATURE_UNSUPPORTED) for an
  // image sent to a text model, or for a chat with a model that has no template; RESOURCE_EXHAUSTED
  // (DECODE_MEMORY_BUSY). With kCountOnly the images have no pixels.
  absl::StatusOr<Prompt> Build(const Input& input, ImageWork work) const;

 private:
  // Text in order, with a placeholder where an image stands.
  struct Layout {
    std::vector<PromptPiece> pieces;
    std::vector<const ImagePart*> images;
    bool add_special_tokens = true;
  };

  absl::StatusOr<Layout> LayOutChat(const ChatInput& chat) const;
  absl::StatusOr<Layout> LayOutPrompt(const PromptInput& prompt) const;
  absl::StatusOr<std::vector<int32_t>> EncodeLayout(const Layout& layout) const;
  absl::Status CheckTokens(const TokenInput& tokens) const;
  absl::Status CheckImageCount(size_t count) const;
  absl::StatusOr<Prompt> Expand(std::vector<int32_t> ids,
                                const std::vector<const ImagePart*>& images, ImageWork work) const;
  absl::StatusOr<std::vector<float>> Pixels(const ImagePart& image, size_t index) const;

  const PromptBuilderOptions options_;
  const std::unique_ptr<const Tokenizer> tokenizer_;
  const std::unique_ptr<const ChatTemplate> chat_;
  const std::unique_ptr<ImageDecoder> decoder_;
  const std::unique_ptr<const ImageProcessor> processor_;
};

}  // namespace prefixd

#endif  // PREFIXD_ENGINE_PROMPT_PROMPT_BUILDER_H_
