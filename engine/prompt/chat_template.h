// Renders a conversation into the text form of a model. The renderer is built in and chosen by the
// SHA-256 of the model's own template (docs/decisions.md, rule 29); no template is ever executed.
// Immutable; safe from any thread.
#ifndef PREFIXD_ENGINE_PROMPT_CHAT_TEMPLATE_H_
#define PREFIXD_ENGINE_PROMPT_CHAT_TEMPLATE_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
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

class ChatTemplate {
 public:
  virtual ~ChatTemplate() = default;

  // Returns the renderer for a template's text. `forced` names one instead of the digest
  // ("vicuna_v1", "llava_v1", "llava_hf", "chatml", "demo", "paligemma", "openflamingo"); empty: by
  // digest. Errors: FAILED_PRECONDITION, reason FEATURE_UNSUPPORTED, if no built-in renderer
  // matches.
  static absl::StatusOr<std::unique_ptr<const ChatTemplate>> Find(absl::string_view template_text,
                                                                  absl::string_view forced = "");

  virtual absl::string_view name() const = 0;

  // Whether the tokenizer's own special tokens (BOS) are added in front of the rendered text.
  virtual bool add_special_tokens() const = 0;

  // Renders the messages and opens the assistant's turn. Errors: INVALID_ARGUMENT for roles or
  // parts that the template does not take, naming `messages[i]`.
  virtual absl::StatusOr<std::vector<PromptPiece>> Render(
      absl::Span<const ChatMessage> messages) const = 0;
};

}  // namespace prefixd

#endif  // PREFIXD_ENGINE_PROMPT_CHAT_TEMPLATE_H_
