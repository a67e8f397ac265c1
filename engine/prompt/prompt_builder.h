// From what a caller sent to a Prompt: chat template, tokens, images, placeholders. All bytes are
// hostile: limits come before allocation. Immutable after construction; safe from any thread.
#ifndef PREFIXD_ENGINE_PROMPT_PROMPT_BUILDER_H_
#define PREFIXD_ENGINE_PROMPT_PROMPT_BUILDER_H_

#include <cstdint>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "engine/prompt/chat_template.h"
#include "engine/prompt/image_resolver.h"
#include "engine/prompt/prompt.h"
#include "engine/request.h"
#include "engine/tokenizer/tokenizer.h"

namespace prefixd {

// How images enter the prompt of a vision model.
struct PromptImageOptions {
  int32_t token_id = 0;
  int32_t tokens_per_image = 0;
  int32_t max_images = 0;
};

// What keys of the prefix cache are made of, besides tenant, salt and tokens.
struct PromptKeyOptions {
  std::string model_digest;
  std::string kv_dtype;
};

struct PromptBuilderOptions {
  int32_t context_length = 0;  // A prompt must leave room for one more token.
  int32_t vocab_size = 0;
  int32_t max_prompt_rows = std::numeric_limits<int32_t>::max();  // If less than the context's.
  uint64_t max_prompt_bytes = 1 << 20;
  std::optional<PromptImageOptions> image;  // Absent: a text model.
  std::string chat_problem;                 // Why there is no chat template, if there is none.
  PromptKeyOptions keys;
};

// What a prompt is built from.
struct PromptSource {
  const Input& input;
  absl::string_view tenant;
  absl::string_view cache_salt;
  bool share = false;                // Whether the prompt gets keys of the prefix cache.
  absl::Span<const KeptImage> kept;  // Images that `input` may name besides those of the store.
};

class PromptBuilder {
 public:
  // `chat` is null for a model without a chat template, `images` for a text model.
  PromptBuilder(const PromptBuilderOptions& options, std::unique_ptr<const Tokenizer> tokenizer,
                std::unique_ptr<const ChatTemplate> chat,
                std::unique_ptr<const ImageResolver> images);

  const Tokenizer& tokenizer() const { return *tokenizer_; }

  // Errors: INVALID_ARGUMENT that names the field, with both numbers (CONTEXT_LENGTH_EXCEEDED,
  // IMAGE_COUNT_MISMATCH, IMAGE_*, INPUT_INVALID); FAILED_PRECONDITION (FEATURE_UNSUPPORTED) for an
  // image sent to a text model, or for a chat with a model that has no template; RESOURCE_EXHAUSTED
  // (DECODE_MEMORY_BUSY); NOT_FOUND (IMAGE_NOT_CACHED) naming every image whose digest is unknown.
  // With kCountOnly the keys end before the first image that was not decoded before.
  absl::StatusOr<Prompt> Build(const PromptSource& source, ImageWork work) const;

  // The tokens that every input beginning with this one has in common, whatever the user says next.
  // Errors: as Build.
  absl::StatusOr<Prompt> BuildPrefix(const PromptSource& source) const;

  // Decodes the images of `input` and returns them; in `input` only their digests are left.
  // Errors: as Build.
  absl::StatusOr<std::vector<KeptImage>> KeepImages(absl::string_view tenant, Input* input) const;

 private:
  // Text in order, with a placeholder where an image stands.
  struct Layout {
    std::vector<PromptPiece> pieces;
    size_t num_images = 0;
    bool add_special_tokens = true;
  };

  // The ids of an input, one placeholder an image.
  absl::StatusOr<std::vector<int32_t>> EncodeInput(const Input& input) const;
  absl::StatusOr<Layout> LayOutChat(const ChatInput& chat) const;
  absl::StatusOr<Layout> LayOutPrompt(const PromptInput& prompt) const;
  absl::StatusOr<std::vector<int32_t>> EncodeLayout(const Layout& layout) const;
  absl::Status CheckTokens(const TokenInput& tokens) const;
  absl::Status CheckImageCount(size_t count) const;

  // From ids to the prompt: expands placeholders, resolves images, adds keys.
  absl::StatusOr<Prompt> Finish(const std::vector<int32_t>& ids, const PromptSource& source,
                                ImageWork work) const;
  absl::StatusOr<Prompt> Expand(const std::vector<int32_t>& ids, size_t num_images) const;
  void AddKeys(const PromptSource& source, Prompt* prompt) const;

  const PromptBuilderOptions options_;
  const std::unique_ptr<const Tokenizer> tokenizer_;
  const std::unique_ptr<const ChatTemplate> chat_;
  const std::unique_ptr<const ImageResolver> images_;
};

}  // namespace prefixd

#endif  // PREFIXD_ENGINE_PROMPT_PROMPT_BUILDER_H_
