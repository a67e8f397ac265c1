#include "engine/prompt/chat_template.h"

#include <array>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "base/error.h"
#include "base/sha256.h"
#include "base/status_macros.h"
#include "engine/error_reasons.h"
#include "engine/prompt/openflamingo_template.h"
#include "engine/prompt/paligemma_template.h"

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

// Collects pieces; adjacent text of one kind is one piece.
class Pieces {
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

absl::Status Refuse(size_t message, absl::string_view problem) {
  const std::string field = absl::StrCat("messages[", message, "]");
  return MakeError(absl::StatusCode::kInvalidArgument, absl::StrCat(field, ": ", problem),
                   ErrorDetail{.reason = reason::kInputInvalid,
                               .field_violations = {{field, std::string(problem)}}});
}

bool HasImage(const ChatMessage& message) {
  for (const Part& part : message.parts) {
    if (std::holds_alternative<ImagePart>(part)) return true;
  }
  return false;
}

void AddImages(const ChatMessage& message, Pieces* pieces) {
  for (const Part& part : message.parts) {
    if (!std::holds_alternative<ImagePart>(part)) continue;
    pieces->Image();
    pieces->Template("\n");
  }
}

// Every text part, followed by `after`.
void AddTexts(const ChatMessage& message, absl::string_view after, Pieces* pieces) {
  for (const Part& part : message.parts) {
    const auto* text = std::get_if<TextPart>(&part);
    if (text == nullptr) continue;
    pieces->User(text->text);
    pieces->Template(after);
  }
}

absl::string_view UpperRole(Role role) { return role == Role::kUser ? "USER" : "ASSISTANT"; }

class BuiltinTemplate final : public ChatTemplate {
 public:
  using Renderer = absl::StatusOr<std::vector<PromptPiece>> (*)(absl::Span<const ChatMessage>);

  BuiltinTemplate(absl::string_view name, bool add_special_tokens, Renderer renderer)
      : name_(name), add_special_tokens_(add_special_tokens), renderer_(renderer) {}

  absl::string_view name() const override { return name_; }
  bool add_special_tokens() const override { return add_special_tokens_; }
  absl::StatusOr<std::vector<PromptPiece>> Render(
      absl::Span<const ChatMessage> messages) const override {
    if (messages.empty()) {
      return MakeError(absl::StatusCode::kInvalidArgument, reason::kInputInvalid,
                       "messages: the conversation is empty");
    }
    return renderer_(messages);
  }

 private:
  const absl::string_view name_;
  const bool add_special_tokens_;
  const Renderer renderer_;
};

// USER: <image>\nText ASSISTANT:. A system message has no role in front.
absl::StatusOr<std::vector<PromptPiece>> RenderDemo(absl::Span<const ChatMessage> messages) {
  Pieces pieces;
  for (const ChatMessage& message : messages) {
    if (message.role != Role::kSystem) pieces.Template(absl::StrCat(UpperRole(message.role), ": "));
    AddImages(message, &pieces);
    AddTexts(message, "", &pieces);
    pieces.Template(message.role == Role::kAssistant ? "</s>" : " ");
  }
  pieces.Template("ASSISTANT:");
  return pieces.Take();
}

// As the demo's, but every text part ends with a space and assistant turns are not closed.
absl::StatusOr<std::vector<PromptPiece>> RenderLlavaHf(absl::Span<const ChatMessage> messages) {
  Pieces pieces;
  for (const ChatMessage& message : messages) {
    if (message.role != Role::kSystem) pieces.Template(absl::StrCat(UpperRole(message.role), ": "));
    AddImages(message, &pieces);
    AddTexts(message, " ", &pieces);
  }
  pieces.Template("ASSISTANT:");
  return pieces.Take();
}

// FastChat's two separators: a space after the user, </s> after the assistant.
absl::StatusOr<std::vector<PromptPiece>> RenderVicuna(absl::string_view default_system,
                                                      absl::Span<const ChatMessage> messages) {
  Pieces pieces;
  size_t first = 0;
  if (messages[0].role == Role::kSystem) {
    if (HasImage(messages[0])) return Refuse(0, "a system message takes no image");
    AddTexts(messages[0], "", &pieces);
    first = 1;
  } else {
    pieces.Template(default_system);
  }
  pieces.Template(" ");
  for (size_t i = first; i < messages.size(); ++i) {
    const Role expected = (i - first) % 2 == 0 ? Role::kUser : Role::kAssistant;
    if (messages[i].role != expected) {
      return Refuse(i, "user and assistant must take turns, the user first");
    }
    pieces.Template(absl::StrCat(UpperRole(expected), ": "));
    AddImages(messages[i], &pieces);
    AddTexts(messages[i], "", &pieces);
    pieces.Template(expected == Role::kUser ? " " : "</s>");
  }
  if ((messages.size() - first) % 2 == 0) {
    return Refuse(messages.size() - 1, "the last message must be the user's");
  }
  pieces.Template("ASSISTANT:");
  return pieces.Take();
}

absl::StatusOr<std::vector<PromptPiece>> RenderVicunaV1(absl::Span<const ChatMessage> messages) {
  return RenderVicuna(kVicunaSystem, messages);
}

absl::StatusOr<std::vector<PromptPiece>> RenderLlavaV1(absl::Span<const ChatMessage> messages) {
  return RenderVicuna(kLlavaSystem, messages);
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

// <|im_start|>role\nText<|im_end|>\n, with SmolLM2's system text unless the caller brings one.
absl::StatusOr<std::vector<PromptPiece>> RenderChatMl(absl::Span<const ChatMessage> messages) {
  Pieces pieces;
  if (messages[0].role != Role::kSystem) {
    pieces.Template(absl::StrCat("<|im_start|>system\n", kSmolSystem, "<|im_end|>\n"));
  }
  for (size_t i = 0; i < messages.size(); ++i) {
    if (HasImage(messages[i])) return Refuse(i, "this model takes no images");
    pieces.Template(absl::StrCat("<|im_start|>", ChatMlRole(messages[i].role), "\n"));
    AddTexts(messages[i], "", &pieces);
    pieces.Template("<|im_end|>\n");
  }
  pieces.Template("<|im_start|>assistant\n");
  return pieces.Take();
}

// One form for the ways in which files spell a template: a newline in a string literal is written
// as such or as backslash-n, and the text may end with newlines.
std::string CanonicalText(absl::string_view text) {
  while (!text.empty() && text.back() == '\n') text.remove_suffix(1);
  return absl::StrReplaceAll(text, {{"\n", "\\n"}});
}

struct Builtin {
  absl::string_view name;
  absl::string_view template_sha256;  // Of CanonicalText; empty: by name only.
  bool add_special_tokens;
  BuiltinTemplate::Renderer renderer;
};

constexpr std::array<Builtin, 5> kBuiltins = {{
    {"demo", "6cbcb9662f40a95a97591acceda508ed6bdbd87c5157f8c234f5b6e462dfa3d4", true, RenderDemo},
    {"llava_hf", "50c43d0ac06b32ddd89668462d54ab30c7f75a36b3f1d876e82772b386c2c6f0", true,
     RenderLlavaHf},
    {"chatml", "de9cde7d1b0ca0cc87459a6673e0d12fb89c070bdb24e4a30b6e4d187b226221", false,
     RenderChatMl},
    {"vicuna_v1", "", true, RenderVicunaV1},
    {"llava_v1", "", true, RenderLlavaV1},
}};

}  // namespace

absl::StatusOr<std::unique_ptr<const ChatTemplate>> ChatTemplate::Find(
    absl::string_view template_text, absl::string_view forced) {
  if (forced == "paligemma") return MakePaliGemmaTemplate();
  if (forced == "openflamingo") return MakeOpenFlamingoTemplate();
  const std::string digest = ToHex(Sha256Of(CanonicalText(template_text)));
  for (const Builtin& builtin : kBuiltins) {
    const bool wanted = forced.empty() ? builtin.template_sha256 == digest : builtin.name == forced;
    if (!wanted) continue;
    return std::make_unique<const BuiltinTemplate>(builtin.name, builtin.add_special_tokens,
                                                   builtin.renderer);
  }
  if (!forced.empty()) {
    return MakeError(
        absl::StatusCode::kFailedPrecondition, reason::kFeatureUnsupported,
        absl::StrCat(
            "there is no chat template \"", forced,
            "\"; known: demo, llava_hf, chatml, vicuna_v1, llava_v1, paligemma, openflamingo"));
  }
  return MakeError(absl::StatusCode::kFailedPrecondition, reason::kFeatureUnsupported,
                   "no built-in chat template matches this model's", {{"template_sha256", digest}});
}

}  // namespace prefixd
