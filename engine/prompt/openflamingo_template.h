// The prompt of OpenFlamingo (arXiv:2308.01390): demonstrations and a query that the model
// continues.
//
//   <image>Output:a cat<|endofchunk|><image>Output:
//
// as the conversation user [image, "Output:"], assistant ["a cat"], user [image, "Output:"]. The
// checkpoints have no template of their own. Immutable; safe from any thread.
#ifndef PREFIXD_ENGINE_PROMPT_OPENFLAMINGO_TEMPLATE_H_
#define PREFIXD_ENGINE_PROMPT_OPENFLAMINGO_TEMPLATE_H_

#include <memory>

#include "engine/prompt/chat_template.h"

namespace prefixd {

// "openflamingo". Images and texts of the user in the order of the parts, with nothing between
// them; each answer of the assistant ends its chunk. What separates demonstrations (the evaluations
// put a newline) is text of the user. The tokenizer's own BOS, if it has one (LLaMA), comes first.
// Render fails with INVALID_ARGUMENT, naming `messages[i]`, for a system message, an image of the
// assistant, and a conversation that does not end with the user.
std::unique_ptr<const ChatTemplate> MakeOpenFlamingoTemplate();

}  // namespace prefixd

#endif  // PREFIXD_ENGINE_PROMPT_OPENFLAMINGO_TEMPLATE_H_
