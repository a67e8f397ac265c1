// The conversation forms of Vicuna, LLaVA and relatives, written out. For checkpoints that bring no
// template of their own. Immutable; safe from any thread.
// Source: conversation.py of haotian-liu/LLaVA and lm-sys/FastChat.
#ifndef PREFIXD_ENGINE_PROMPT_CONVERSATION_TEMPLATES_H_
#define PREFIXD_ENGINE_PROMPT_CONVERSATION_TEMPLATES_H_

#include <memory>

#include "engine/prompt/chat_template.h"

namespace prefixd {

// USER: <image>\nText ASSISTANT:, closed by </s>. A system message has no role in front.
std::unique_ptr<const ChatTemplate> MakeDemoTemplate();
// As the demo's, but every text part ends with a space and assistant turns are not closed.
std::unique_ptr<const ChatTemplate> MakeLlavaHfTemplate();
// <|im_start|>role\nText<|im_end|>\n, with SmolLM2's system text unless the caller brings one.
std::unique_ptr<const ChatTemplate> MakeChatMlTemplate();
// Two separators: a space after the user, </s> after the assistant. "a curious user".
std::unique_ptr<const ChatTemplate> MakeVicunaV1Template();
// As Vicuna's: "a curious human".
std::unique_ptr<const ChatTemplate> MakeLlavaV1Template();
// system###Human: Text###Assistant:
std::unique_ptr<const ChatTemplate> MakeLlavaV0Template();
// [INST] <<SYS>>\nsystem\n<</SYS>>\n\nText [/INST] Answer </s><s>[INST] Text [/INST]
std::unique_ptr<const ChatTemplate> MakeLlavaLlama2Template();
// ChatML without newlines after <|im_end|>.
std::unique_ptr<const ChatTemplate> MakeMptTemplate();

}  // namespace prefixd

#endif  // PREFIXD_ENGINE_PROMPT_CONVERSATION_TEMPLATES_H_
