#include "engine/prompt/merge_input.h"

#include <iterator>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/invalid_input.h"

namespace prefixd {
namespace {

template <typename T>
void Append(std::vector<T> tail, std::vector<T>* head) {
  head->insert(head->end(), std::make_move_iterator(tail.begin()),
               std::make_move_iterator(tail.end()));
}

absl::string_view KindOf(const Input& input) {
  if (std::holds_alternative<ChatInput>(input)) return "chat";
  return std::holds_alternative<PromptInput>(input) ? "prompt" : "tokens";
}

ChatInput MergeChats(ChatInput prefix, ChatInput input) {
  const bool one_turn = !prefix.messages.empty() && !input.messages.empty() &&
                        prefix.messages.back().role == input.messages.front().role;
  if (one_turn) {
    Append(std::move(input.messages.front().parts), &prefix.messages.back().parts);
    input.messages.erase(input.messages.begin());
  }
  Append(std::move(input.messages), &prefix.messages);
  return prefix;
}

}  // namespace

absl::StatusOr<Input> MergeInputs(const Input& prefix, Input input) {
  if (prefix.index() != input.index()) {
    return InvalidInput("input", absl::StrCat("the prefix is of kind ", KindOf(prefix),
                                              ", the input of kind ", KindOf(input)));
  }
  if (auto* chat = std::get_if<ChatInput>(&input)) {
    return MergeChats(std::get<ChatInput>(prefix), std::move(*chat));
  }
  if (auto* prompt = std::get_if<PromptInput>(&input)) {
    PromptInput merged = std::get<PromptInput>(prefix);
    Append(std::move(prompt->parts), &merged.parts);
    return merged;
  }
  TokenInput merged = std::get<TokenInput>(prefix);
  TokenInput& tail = std::get<TokenInput>(input);
  merged.ids.insert(merged.ids.end(), tail.ids.begin(), tail.ids.end());
  Append(std::move(tail.images), &merged.images);
  return merged;
}

}  // namespace prefixd
