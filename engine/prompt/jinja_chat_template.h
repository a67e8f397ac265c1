// A model's own template, as transformers renders it. Text of messages stays marked as the user's
// wherever the template puts it. Immutable; safe from any thread.
#ifndef PREFIXD_ENGINE_PROMPT_JINJA_CHAT_TEMPLATE_H_
#define PREFIXD_ENGINE_PROMPT_JINJA_CHAT_TEMPLATE_H_

#include <array>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "engine/prompt/chat_template.h"
#include "engine/prompt/template/template.h"

namespace prefixd {

class JinjaChatTemplate final : public ChatTemplate {
 public:
  // Parses the template and renders a few short conversations, to see in which form it takes the
  // content of a message. Errors: INVALID_ARGUMENT or UNIMPLEMENTED, naming line and construct.
  static absl::StatusOr<std::unique_ptr<const JinjaChatTemplate>> Create(
      absl::string_view template_text, const ChatTemplateOptions& options);

  absl::string_view name() const override { return "jinja"; }

  // As transformers: the tokenizer of a text model adds nothing; the processor of a model that
  // takes images adds BOS unless the template writes it.
  bool add_special_tokens() const override { return add_special_tokens_; }

  absl::StatusOr<std::vector<PromptPiece>> Render(
      absl::Span<const ChatMessage> messages) const override;

 private:
  // How a message's content is handed over.
  enum class Form {
    kString,  // One string; images are placeholders in front of it, each on a line of its own.
    kParts,   // A list of {type: "image"} and {type: "text", text}.
  };

  JinjaChatTemplate(std::unique_ptr<const jinja::Template> parsed,
                    const ChatTemplateOptions& options)
      : template_(std::move(parsed)), options_(options) {}

  void FindForms();
  // Whether a probing conversation comes out, text and images.
  bool Takes(absl::Span<const ChatMessage> messages) const;
  Form FormOf(const ChatMessage& message) const;
  absl::StatusOr<jinja::Variables> MakeVariables(absl::Span<const ChatMessage> messages,
                                                 jinja::Heap* heap) const;
  absl::StatusOr<jinja::Value> Content(const ChatMessage& message, jinja::Heap* heap) const;
  absl::StatusOr<jinja::Text> RenderText(absl::Span<const ChatMessage> messages) const;
  std::vector<PromptPiece> Cut(const jinja::Text& text) const;

  const std::unique_ptr<const jinja::Template> template_;
  const ChatTemplateOptions options_;
  // Constant after Create.
  std::array<Form, 3> forms_ = {};  // Of messages without images, by role.
  Form image_form_ = Form::kParts;  // Of messages with images.
  bool add_special_tokens_ = false;
};

}  // namespace prefixd

#endif  // PREFIXD_ENGINE_PROMPT_JINJA_CHAT_TEMPLATE_H_
