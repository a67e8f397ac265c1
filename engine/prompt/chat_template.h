// Renders a conversation into the text form of a model: the model's own Jinja template, evaluated
// within bounds (engine/prompt/template), or a built-in one chosen by name
// (docs/chat_templates.md). Immutable; safe from any thread.
#ifndef PREFIXD_ENGINE_PROMPT_CHAT_TEMPLATE_H_
#define PREFIXD_ENGINE_PROMPT_CHAT_TEMPLATE_H_

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "engine/request.h"

namespace prefixd {

// A piece of the rendered prompt, in order.
struct PromptPiece {
  enum class Kind {
    kTemplate,  // Text of the template: special tokens count.
    kUser,      // Text of a message: plain text whatever it spells.
    kImage,     // The next image; stands for the model's placeholder token.
  };
  Kind kind = Kind::kTemplate;
  std::string text;  // Empty for kImage.
};

// What a template is rendered with besides the messages.
struct ChatTemplateOptions {
  std::string forced;  // Name of a built-in template; empty: the model's own.
  // Variables of the template: `bos_token`, `eos_token`, `unk_token`, `pad_token`. Those that a
  // model lacks are absent.
  std::vector<std::pair<std::string, std::string>> special_tokens;
  std::string image_placeholder;  // As the template spells an image; empty: a text model.
  uint64_t max_output_bytes = 4 << 20;
  std::function<absl::Time()> now = absl::Now;  // For templates that print the date.
};

class ChatTemplate {
 public:
  virtual ~ChatTemplate() = default;

  // Returns the template of a text, or the built-in one that is forced. Errors:
  // FAILED_PRECONDITION, reason FEATURE_UNSUPPORTED, if there is no text, if it is not in the
  // language (naming line and construct), or if no built-in template has that name.
  static absl::StatusOr<std::unique_ptr<const ChatTemplate>> Find(
      absl::string_view template_text, const ChatTemplateOptions& options = {});

  // "jinja" for a model's own template.
  virtual absl::string_view name() const = 0;

  // Whether the tokenizer's own special tokens (BOS) are added in front of the rendered text.
  virtual bool add_special_tokens() const = 0;

  // Renders the messages and opens the assistant's turn. One kImage piece for each image. Errors:
  // INVALID_ARGUMENT for conversations that the template does not take: its own message, or one
  // that names `messages[i]` or the template's line.
  virtual absl::StatusOr<std::vector<PromptPiece>> Render(
      absl::Span<const ChatMessage> messages) const = 0;
};

}  // namespace prefixd

#endif  // PREFIXD_ENGINE_PROMPT_CHAT_TEMPLATE_H_
