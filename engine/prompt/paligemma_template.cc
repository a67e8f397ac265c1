#include "engine/prompt/paligemma_template.h"

#include <string>
#include <utility>
#include <vector>

#include "engine/prompt/prompt_pieces.h"

namespace prefixd {
namespace {

class PaliGemmaTemplate final : public ChatTemplate {
 public:
  absl::string_view name() const override { return "paligemma"; }
  bool add_special_tokens() const override { return false; }
  absl::StatusOr<std::vector<PromptPiece>> Render(
      absl::Span<const ChatMessage> messages) const override;
};

absl::StatusOr<std::vector<PromptPiece>> PaliGemmaTemplate::Render(
    absl::Span<const ChatMessage> messages) const {
  if (messages.empty()) {
    return RefuseMessage(0, "this model takes one message of the user, there is none");
  }
  if (messages[0].role != Role::kUser) {
    return RefuseMessage(0, "this model takes messages of the user only");
  }
  if (messages.size() > 1) {
    return RefuseMessage(1, "this model takes one message of the user, no conversation");
  }

  std::vector<PromptPiece> pieces;
  std::string text;
  for (const Part& part : messages[0].parts) {
    if (const auto* said = std::get_if<TextPart>(&part)) {
      text += said->text;
    } else {
      pieces.push_back({PromptPiece::Kind::kImage, ""});
    }
  }
  pieces.push_back({PromptPiece::Kind::kTemplate, "<bos>"});
  if (!text.empty()) pieces.push_back({PromptPiece::Kind::kUser, std::move(text)});
  pieces.push_back({PromptPiece::Kind::kTemplate, "\n"});
  return pieces;
}

}  // namespace

std::unique_ptr<const ChatTemplate> MakePaliGemmaTemplate() {
  return std::make_unique<const PaliGemmaTemplate>();
}

}  // namespace prefixd
