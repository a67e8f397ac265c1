// The prompt of PaliGemma (arXiv:2407.07726): one question, no conversation.
//
//   image <bos> text \n
//
// The checkpoints have no template of their own. Immutable; safe from any thread.
#ifndef PREFIXD_ENGINE_PROMPT_PALIGEMMA_TEMPLATE_H_
#define PREFIXD_ENGINE_PROMPT_PALIGEMMA_TEMPLATE_H_

#include <memory>

#include "engine/prompt/chat_template.h"

namespace prefixd {

// "paligemma". Images come first wherever they stand in the message; nothing is added by the
// tokenizer. Render fails with INVALID_ARGUMENT for anything but one message of the user, naming
// `messages[i]`.
std::unique_ptr<const ChatTemplate> MakePaliGemmaTemplate();

}  // namespace prefixd

#endif  // PREFIXD_ENGINE_PROMPT_PALIGEMMA_TEMPLATE_H_
