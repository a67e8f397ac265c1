#include "engine/prompt/paligemma_template.h"

#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "engine/error_reasons.h"

namespace prefixd {
namespace {

absl::Status Reject(size_t message, absl::string_view problem) {
  const std::string field = absl::StrCat("messages[", message, "]");
  return MakeError(absl::StatusCode::kInvalidArgument, absl::StrCat(field, ": ", problem),
                   ErrorDetail{.reason = reason::kInputInvalid,
                               .field_violations = {{field, std::string(problem)}}});
}

class PaliGemmaTemplate final : public ChatTemplate {
 public:
  absl::string_view name() const override { return "paligemma"; }
  bool add_special_tokens() const override { return false; }
  absl::StatusOr<std::vector<PromptPiece>> Render(
      absl::Span<const ChatMessage> messages) const override;
};

absl::StatusOr<std::vector<PromptPiece>> PaliGemmaTemplate::Render(
    absl::Span<const ChatMessage> messages) const {
  if (messages.empty()) return Reject(0, "this model takes one message of the user, there is none");
  if (messages[0].role != Role::kUser) {
    return Reject(0, "this model takes messages of the user only");
  }
  if (messages.size() > 1) {
    return Reject(1, "this model takes one message of the user, no conversation");
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
