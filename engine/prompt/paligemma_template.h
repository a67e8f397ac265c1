// The prompt of PaliGemma (arXiv:2407.07726): one question, no conversation.
//
//   image <bos> text \n
//
// The checkpoints have no template of their own. Pure function.
#ifndef PREFIXD_ENGINE_PROMPT_PALIGEMMA_TEMPLATE_H_
#define PREFIXD_ENGINE_PROMPT_PALIGEMMA_TEMPLATE_H_

#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "engine/prompt/chat_template.h"

namespace prefixd {

// Images come first wherever they stand in the message. Nothing is added by the tokenizer. Errors:
// INVALID_ARGUMENT for anything but one message of the user, naming `messages[i]`.
absl::StatusOr<std::vector<PromptPiece>> RenderPaliGemma(absl::Span<const ChatMessage> messages);

}  // namespace prefixd

#endif  // PREFIXD_ENGINE_PROMPT_PALIGEMMA_TEMPLATE_H_
