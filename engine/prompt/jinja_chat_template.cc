#include "engine/prompt/jinja_chat_template.h"

#include <algorithm>
#include <string>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "base/status_macros.h"
#include "engine/error_reasons.h"
#include "engine/prompt/prompt_pieces.h"

namespace prefixd {
namespace {

using jinja::Dict;
using jinja::Heap;
using jinja::Mark;
using jinja::Text;
using jinja::Value;

constexpr char kProbe[] = "needle";  // Text of the conversations that show what a template takes.

bool IsImage(const Part& part) { return std::holds_alternative<ImagePart>(part); }

size_t CountImages(absl::Span<const ChatMessage> messages) {
  size_t count = 0;
  for (const ChatMessage& message : messages) {
    count +=
        static_cast<size_t>(std::count_if(message.parts.begin(), message.parts.end(), IsImage));
  }
  return count;
}

absl::string_view RoleName(Role role) {
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

absl::StatusOr<Value> DictOf(std::vector<std::pair<absl::string_view, Value>> entries, Heap* heap) {
  Dict dict;
  for (const auto& [key, value] : entries) {
    PREFIXD_ASSIGN_OR_RETURN(const Value name, heap->NewString(key));
    dict.entries.emplace_back(name, value);
  }
  return heap->NewDict(std::move(dict));
}

// Whether a message's text came out as a text, not inside of a printed list.
bool ShowsProbe(absl::Span<const PromptPiece> pieces) {
  for (size_t i = 0; i < pieces.size(); ++i) {
    if (pieces[i].kind != PromptPiece::Kind::kUser || !absl::StrContains(pieces[i].text, kProbe)) {
      continue;
    }
    const absl::string_view before = i == 0 ? "" : absl::string_view(pieces[i - 1].text);
    return !absl::EndsWith(before, "'text': '") && !absl::EndsWith(before, "\"text\": \"");
  }
  return false;
}

}  // namespace

absl::StatusOr<std::unique_ptr<const JinjaChatTemplate>> JinjaChatTemplate::Create(
    absl::string_view template_text, const ChatTemplateOptions& options) {
  PREFIXD_ASSIGN_OR_RETURN(std::unique_ptr<const jinja::Template> parsed,
                           jinja::Template::Parse(template_text));
  std::unique_ptr<JinjaChatTemplate> chat(new JinjaChatTemplate(std::move(parsed), options));
  chat->FindForms();
  return chat;
}

void JinjaChatTemplate::FindForms() {
  const ChatMessage user{Role::kUser, {TextPart{kProbe}}};
  const ChatMessage other{Role::kUser, {TextPart{"text"}}};
  const std::pair<Role, std::vector<ChatMessage>> probes[] = {
      {Role::kUser, {user}},
      {Role::kSystem, {{Role::kSystem, user.parts}, other}},
      {Role::kAssistant, {other, {Role::kAssistant, user.parts}, other}}};
  for (const auto& [role, messages] : probes) {
    Form& form = forms_[static_cast<size_t>(role)];
    form = Form::kString;
    if (Takes(messages)) continue;
    form = Form::kParts;
    // What it takes in no form it leaves out, or refuses.
    if (!Takes(messages)) form = forms_[static_cast<size_t>(Role::kUser)];
  }
  if (options_.image_placeholder.empty()) return;
  const std::vector<ChatMessage> picture = {{Role::kUser, {ImagePart{}, TextPart{kProbe}}}};
  if (!Takes(picture)) {
    image_form_ = Form::kString;
    if (!Takes(picture)) image_form_ = Form::kParts;
  }
  add_special_tokens_ = true;
  const absl::StatusOr<Text> text = RenderText({user});
  for (const auto& [name, token] : options_.special_tokens) {
    if (name != "bos_token" || token.empty() || !text.ok()) continue;
    if (absl::StartsWith(text->view(), token)) add_special_tokens_ = false;
  }
}

bool JinjaChatTemplate::Takes(absl::Span<const ChatMessage> messages) const {
  const absl::StatusOr<std::vector<PromptPiece>> pieces = Render(messages);
  return pieces.ok() && ShowsProbe(*pieces);
}

JinjaChatTemplate::Form JinjaChatTemplate::FormOf(const ChatMessage& message) const {
  const bool image = std::any_of(message.parts.begin(), message.parts.end(), IsImage);
  return image ? image_form_ : forms_[static_cast<size_t>(message.role)];
}

absl::StatusOr<Value> JinjaChatTemplate::Content(const ChatMessage& message, Heap* heap) const {
  if (FormOf(message) == Form::kString) {
    Text text;
    for (const Part& part : message.parts) {
      if (IsImage(part)) text.Append(absl::StrCat(options_.image_placeholder, "\n"));
    }
    for (const Part& part : message.parts) {
      if (!IsImage(part)) text.Append(std::get<TextPart>(part).text, Mark::kUser);
    }
    return heap->NewText(std::move(text));
  }
  std::vector<Value> parts;
  for (const Part& part : message.parts) {
    PREFIXD_ASSIGN_OR_RETURN(const Value type, heap->NewString(IsImage(part) ? "image" : "text"));
    std::vector<std::pair<absl::string_view, Value>> entries = {{"type", type}};
    if (!IsImage(part)) {
      PREFIXD_ASSIGN_OR_RETURN(const Value text,
                               heap->NewText(Text(std::get<TextPart>(part).text, Mark::kUser)));
      entries.emplace_back("text", text);
    }
    PREFIXD_ASSIGN_OR_RETURN(const Value dict, DictOf(std::move(entries), heap));
    parts.push_back(dict);
  }
  return heap->NewList(std::move(parts));
}

absl::StatusOr<jinja::Variables> JinjaChatTemplate::MakeVariables(
    absl::Span<const ChatMessage> messages, Heap* heap) const {
  std::vector<Value> list;
  for (const ChatMessage& message : messages) {
    PREFIXD_ASSIGN_OR_RETURN(const Value role, heap->NewString(RoleName(message.role)));
    PREFIXD_ASSIGN_OR_RETURN(const Value content, Content(message, heap));
    PREFIXD_ASSIGN_OR_RETURN(const Value dict,
                             DictOf({{"role", role}, {"content", content}}, heap));
    list.push_back(dict);
  }
  PREFIXD_ASSIGN_OR_RETURN(const Value messages_value, heap->NewList(std::move(list)));
  jinja::Variables variables = {{"messages", messages_value},
                                {"add_generation_prompt", Value(true)},
                                {"tools", Value::None()},
                                {"documents", Value::None()}};
  for (const auto& [name, token] : options_.special_tokens) {
    PREFIXD_ASSIGN_OR_RETURN(const Value value, heap->NewString(token));
    variables.emplace_back(name, value);
  }
  return variables;
}

absl::StatusOr<Text> JinjaChatTemplate::RenderText(absl::Span<const ChatMessage> messages) const {
  absl::StatusOr<Text> text =
      template_->Render([&](Heap* heap) { return MakeVariables(messages, heap); },
                        {.max_output_bytes = options_.max_output_bytes, .now = options_.now()});
  if (text.ok()) return text;
  return MakeError(
      text.status().code(), absl::StrCat("messages: ", text.status().message()),
      ErrorDetail{.reason = reason::kInputInvalid,
                  .field_violations = {{"messages", std::string(text.status().message())}}});
}

// A placeholder counts where the template wrote all of it.
std::vector<PromptPiece> JinjaChatTemplate::Cut(const Text& text) const {
  PromptPieces pieces;
  const std::string& placeholder = options_.image_placeholder;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = text.RunEnd(begin);
    absl::string_view run = text.view().substr(begin, end - begin);
    begin = end;
    if (text.mark(end - 1) == Mark::kUser) {
      pieces.User(run);
      continue;
    }
    while (!placeholder.empty()) {
      const size_t found = run.find(placeholder);
      if (found == absl::string_view::npos) break;
      pieces.Template(run.substr(0, found));
      pieces.Image();
      run.remove_prefix(found + placeholder.size());
    }
    pieces.Template(run);
  }
  return pieces.Take();
}

absl::StatusOr<std::vector<PromptPiece>> JinjaChatTemplate::Render(
    absl::Span<const ChatMessage> messages) const {
  if (messages.empty()) return RefuseEmptyConversation();
  PREFIXD_ASSIGN_OR_RETURN(const Text text, RenderText(messages));
  std::vector<PromptPiece> pieces = Cut(text);
  const size_t images = CountImages(messages);
  const auto placeholders =
      static_cast<size_t>(std::count_if(pieces.begin(), pieces.end(), [](const PromptPiece& piece) {
        return piece.kind == PromptPiece::Kind::kImage;
      }));
  if (placeholders == images) return pieces;
  const std::string problem = absl::StrCat("the chat template leaves place for ", placeholders,
                                           " images, the conversation has ", images);
  return MakeError(absl::StatusCode::kInvalidArgument, absl::StrCat("messages: ", problem),
                   ErrorDetail{.reason = reason::kImageCountMismatch,
                               .metadata = {{"images", absl::StrCat(images)},
                                            {"placeholders", absl::StrCat(placeholders)}},
                               .field_violations = {{"messages", problem}}});
}

}  // namespace prefixd
