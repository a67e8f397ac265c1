#include "engine/prompt/openflamingo_template.h"

#include <variant>
#include <vector>

#include "base/status_macros.h"
#include "engine/prompt/prompt_pieces.h"

namespace prefixd {
namespace {

constexpr char kEndOfChunk[] = "<|endofchunk|>";

// An answer continues the text of its question: both are one piece, so that they become tokens
// together.
absl::Status AddMessage(const ChatMessage& message, size_t index, PromptPieces* pieces) {
  if (message.role == Role::kSystem) {
    return RefuseMessage(index, "this model takes no system message");
  }
  for (const Part& part : message.parts) {
    if (const auto* text = std::get_if<TextPart>(&part)) {
      pieces->User(text->text);
    } else if (message.role == Role::kUser) {
      pieces->Image();
    } else {
      return RefuseMessage(index, "an assistant message takes no image");
    }
  }
  if (message.role == Role::kAssistant) {
    pieces->Template(kEndOfChunk);
  }
  return absl::OkStatus();
}

class OpenFlamingoTemplate final : public ChatTemplate {
 public:
  absl::string_view name() const override { return "openflamingo"; }
  bool add_special_tokens() const override { return true; }

  absl::StatusOr<std::vector<PromptPiece>> Render(
      absl::Span<const ChatMessage> messages) const override {
    PromptPieces pieces;
    for (size_t i = 0; i < messages.size(); ++i) {
      PREFIXD_RETURN_IF_ERROR(AddMessage(messages[i], i, &pieces));
    }
    if (messages.empty() || messages.back().role != Role::kUser) {
      return RefuseMessage(messages.empty() ? 0 : messages.size() - 1,
                           "the last message must be the user's");
    }
    return pieces.Take();
  }
};

}  // namespace

std::unique_ptr<const ChatTemplate> MakeOpenFlamingoTemplate() {
  return std::make_unique<const OpenFlamingoTemplate>();
}

}  // namespace prefixd
