// What templates share: collecting pieces and refusing messages. Not thread-safe.
#ifndef PREFIXD_ENGINE_PROMPT_PROMPT_PIECES_H_
#define PREFIXD_ENGINE_PROMPT_PROMPT_PIECES_H_

#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "base/error.h"
#include "engine/error_reasons.h"
#include "engine/invalid_input.h"
#include "engine/prompt/chat_template.h"

namespace prefixd {

// Collects pieces; adjacent text of one kind is one piece.
class PromptPieces {
 public:
  void Template(absl::string_view text) { Add(PromptPiece::Kind::kTemplate, text); }
  void User(absl::string_view text) { Add(PromptPiece::Kind::kUser, text); }
  void Image() { pieces_.push_back({PromptPiece::Kind::kImage, ""}); }
  std::vector<PromptPiece> Take() { return std::move(pieces_); }

 private:
  void Add(PromptPiece::Kind kind, absl::string_view text) {
    if (text.empty()) return;
    if (pieces_.empty() || pieces_.back().kind != kind) pieces_.push_back({kind, ""});
    absl::StrAppend(&pieces_.back().text, text);
  }

  std::vector<PromptPiece> pieces_;
};

// INVALID_ARGUMENT that names messages[message].
inline absl::Status RefuseMessage(size_t message, absl::string_view problem) {
  return InvalidInput(absl::StrCat("messages[", message, "]"), problem);
}

// INVALID_ARGUMENT for a conversation without messages.
inline absl::Status RefuseEmptyConversation() {
  return MakeError(absl::StatusCode::kInvalidArgument, reason::kInputInvalid,
                   "messages: the conversation is empty");
}

}  // namespace prefixd

#endif  // PREFIXD_ENGINE_PROMPT_PROMPT_PIECES_H_
