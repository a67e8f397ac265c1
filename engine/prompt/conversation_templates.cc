#include "engine/prompt/conversation_templates.h"

#include <optional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "engine/prompt/prompt_pieces.h"

namespace prefixd {
namespace {

constexpr char kVicunaSystem[] =
    "A chat between a curious user and an artificial intelligence assistant. The assistant gives "
    "helpful, detailed, and polite answers to the user's questions.";
constexpr char kLlavaSystem[] =
    "A chat between a curious human and an artificial intelligence assistant. The assistant gives "
    "helpful, detailed, and polite answers to the human's questions.";
constexpr char kSmolSystem[] =
    "You are a helpful AI assistant named SmolLM, trained by Hugging Face";
constexpr char kLlama2System[] =
    "You are a helpful language and vision assistant. You are able to understand the visual "
    "content that the user provides, and assist the user with a variety of tasks using natural "
    "language.";
constexpr char kMptSystem[] =
    "A conversation between a user and an LLM-based AI assistant. The assistant gives helpful and "
    "honest answers.";

bool HasImage(const ChatMessage& message) {
  for (const Part& part : message.parts) {
    if (std::holds_alternative<ImagePart>(part)) return true;
  }
  return false;
}

void AddImages(const ChatMessage& message, PromptPieces* pieces) {
  for (const Part& part : message.parts) {
    if (!std::holds_alternative<ImagePart>(part)) continue;
    pieces->Image();
    pieces->Template("\n");
  }
}

// Every text part, followed by `after`.
void AddTexts(const ChatMessage& message, absl::string_view after, PromptPieces* pieces) {
  for (const Part& part : message.parts) {
    const auto* text = std::get_if<TextPart>(&part);
    if (text == nullptr) continue;
    pieces->User(text->text);
    pieces->Template(after);
  }
}

absl::string_view UpperRole(Role role) { return role == Role::kUser ? "USER" : "ASSISTANT"; }

using Messages = absl::Span<const ChatMessage>;

class ConversationTemplate final : public ChatTemplate {
 public:
  using Renderer = absl::StatusOr<std::vector<PromptPiece>> (*)(Messages messages);

  ConversationTemplate(absl::string_view name, bool add_special_tokens, Renderer renderer)
      : name_(name), add_special_tokens_(add_special_tokens), renderer_(renderer) {}

  absl::string_view name() const override { return name_; }
  bool add_special_tokens() const override { return add_special_tokens_; }
  absl::StatusOr<std::vector<PromptPiece>> Render(Messages messages) const override {
    if (messages.empty()) return RefuseEmptyConversation();
    return renderer_(messages);
  }

 private:
  const absl::string_view name_;  // A literal.
  const bool add_special_tokens_;
  const Renderer renderer_;
};

absl::StatusOr<std::vector<PromptPiece>> RenderPlainRoles(absl::string_view after_text,
                                                          bool close_turns, Messages messages) {
  PromptPieces pieces;
  for (const ChatMessage& message : messages) {
    if (message.role != Role::kSystem) pieces.Template(absl::StrCat(UpperRole(message.role), ": "));
    AddImages(message, &pieces);
    AddTexts(message, after_text, &pieces);
    if (close_turns) pieces.Template(message.role == Role::kAssistant ? "</s>" : " ");
  }
  pieces.Template("ASSISTANT:");
  return pieces.Take();
}

absl::StatusOr<std::vector<PromptPiece>> RenderDemo(Messages messages) {
  return RenderPlainRoles("", /*close_turns=*/true, messages);
}

absl::StatusOr<std::vector<PromptPiece>> RenderLlavaHf(Messages messages) {
  return RenderPlainRoles(" ", /*close_turns=*/false, messages);
}

// A form in which user and assistant take turns after one system text.
struct Turns {
  absl::string_view before_system, system, after_system;
  absl::string_view before_user, after_user;
  absl::string_view before_assistant, after_assistant;
  absl::string_view opening;     // Of the assistant's turn, at the end.
  absl::string_view first_user;  // Before the first user's turn, in place of `before_user`.
};

absl::StatusOr<std::vector<PromptPiece>> RenderTurns(const Turns& turns, Messages messages) {
  PromptPieces pieces;
  pieces.Template(turns.before_system);
  size_t first = 0;
  if (messages[0].role == Role::kSystem) {
    if (HasImage(messages[0])) return RefuseMessage(0, "a system message takes no image");
    AddTexts(messages[0], "", &pieces);
    first = 1;
  } else {
    pieces.Template(turns.system);
  }
  pieces.Template(turns.after_system);
  for (size_t i = first; i < messages.size(); ++i) {
    const bool user = (i - first) % 2 == 0;
    if (messages[i].role != (user ? Role::kUser : Role::kAssistant)) {
      return RefuseMessage(i, "user and assistant must take turns, the user first");
    }
    pieces.Template(!user        ? turns.before_assistant
                    : i == first ? turns.first_user
                                 : turns.before_user);
    AddImages(messages[i], &pieces);
    AddTexts(messages[i], "", &pieces);
    pieces.Template(user ? turns.after_user : turns.after_assistant);
  }
  if ((messages.size() - first) % 2 == 0) {
    return RefuseMessage(messages.size() - 1, "the last message must be the user's");
  }
  pieces.Template(turns.opening);
  return pieces.Take();
}

absl::StatusOr<std::vector<PromptPiece>> RenderVicuna(absl::string_view system, Messages messages) {
  return RenderTurns({.system = system,
                      .after_system = " ",
                      .before_user = "USER: ",
                      .after_user = " ",
                      .before_assistant = "ASSISTANT: ",
                      .after_assistant = "</s>",
                      .opening = "ASSISTANT:",
                      .first_user = "USER: "},
                     messages);
}

absl::StatusOr<std::vector<PromptPiece>> RenderVicunaV1(Messages messages) {
  return RenderVicuna(kVicunaSystem, messages);
}

absl::StatusOr<std::vector<PromptPiece>> RenderLlavaV1(Messages messages) {
  return RenderVicuna(kLlavaSystem, messages);
}

absl::StatusOr<std::vector<PromptPiece>> RenderLlavaV0(Messages messages) {
  return RenderTurns({.system = kLlavaSystem,
                      .after_system = "###",
                      .before_user = "Human: ",
                      .after_user = "###",
                      .before_assistant = "Assistant: ",
                      .after_assistant = "###",
                      .opening = "Assistant:",
                      .first_user = "Human: "},
                     messages);
}

absl::StatusOr<std::vector<PromptPiece>> RenderLlavaLlama2(Messages messages) {
  return RenderTurns({.before_system = "[INST] <<SYS>>\n",
                      .system = kLlama2System,
                      .after_system = "\n<</SYS>>\n\n",
                      .before_user = "<s>[INST] ",
                      .after_user = " [/INST]",
                      .before_assistant = " ",
                      .after_assistant = " </s>"},
                     messages);
}

absl::StatusOr<std::vector<PromptPiece>> RenderMpt(Messages messages) {
  return RenderTurns({.before_system = "<|im_start|>system\n",
                      .system = kMptSystem,
                      .after_system = "<|im_end|>",
                      .before_user = "<|im_start|>user\n",
                      .after_user = "<|im_end|>",
                      .before_assistant = "<|im_start|>assistant\n",
                      .after_assistant = "<|im_end|>",
                      .opening = "<|im_start|>assistant\n",
                      .first_user = "<|im_start|>user\n"},
                     messages);
}

absl::string_view ChatMlRole(Role role) {
  switch (role) {
    case Role::kSystem:
      return "system";
    case Role::kUser:
      return "user";
    case Role::kAssistant:
      return "assistant";
  }
  return "user";
}

absl::StatusOr<std::vector<PromptPiece>> RenderChatMl(Messages messages) {
  PromptPieces pieces;
  if (messages[0].role != Role::kSystem) {
    pieces.Template(absl::StrCat("<|im_start|>system\n", kSmolSystem, "<|im_end|>\n"));
  }
  for (size_t i = 0; i < messages.size(); ++i) {
    if (HasImage(messages[i])) return RefuseMessage(i, "this model takes no images");
    pieces.Template(absl::StrCat("<|im_start|>", ChatMlRole(messages[i].role), "\n"));
    AddTexts(messages[i], "", &pieces);
    pieces.Template("<|im_end|>\n");
  }
  pieces.Template("<|im_start|>assistant\n");
  return pieces.Take();
}

std::unique_ptr<const ChatTemplate> Make(absl::string_view name, bool add_special_tokens,
                                         ConversationTemplate::Renderer renderer) {
  return std::make_unique<const ConversationTemplate>(name, add_special_tokens, renderer);
}

}  // namespace

std::unique_ptr<const ChatTemplate> MakeDemoTemplate() { return Make("demo", true, RenderDemo); }
std::unique_ptr<const ChatTemplate> MakeLlavaHfTemplate() {
  return Make("llava_hf", true, RenderLlavaHf);
}
std::unique_ptr<const ChatTemplate> MakeChatMlTemplate() {
  return Make("chatml", false, RenderChatMl);
}
std::unique_ptr<const ChatTemplate> MakeVicunaV1Template() {
  return Make("vicuna_v1", true, RenderVicunaV1);
}
std::unique_ptr<const ChatTemplate> MakeLlavaV1Template() {
  return Make("llava_v1", true, RenderLlavaV1);
}
std::unique_ptr<const ChatTemplate> MakeLlavaV0Template() {
  return Make("llava_v0", true, RenderLlavaV0);
}
std::unique_ptr<const ChatTemplate> MakeLlavaLlama2Template() {
  return Make("llava_llama_2", true, RenderLlavaLlama2);
}
std::unique_ptr<const ChatTemplate> MakeMptTemplate() { return Make("mpt", true, RenderMpt); }

}  // namespace prefixd
