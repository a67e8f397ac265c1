#include "engine/class_contexts.h"

#include <numeric>
#include <random>
#include <string>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "engine/invalid_input.h"
#include "engine/prompt/merge_input.h"

namespace prefixd {
namespace {

constexpr char kTextPlace[] = "{text}";

std::string Question(const ClassPrompt& prompt, const std::string& text) {
  if (prompt.question.empty()) return text;
  return absl::StrReplaceAll(prompt.question, {{kTextPlace, text}});
}

std::vector<Part> Turn(const ClassPrompt& prompt, const std::optional<ImagePart>& image,
                       const std::string& text) {
  std::vector<Part> parts;
  if (image) parts.push_back(*image);
  std::string question = Question(prompt, text);
  if (!question.empty()) parts.push_back(TextPart{std::move(question)});
  return parts;
}

}  // namespace

Input ShotsInput(const ClassPrompt& prompt, absl::Span<const Demonstration> demonstrations,
                 absl::Span<const int32_t> shots, bool chat) {
  ChatInput messages;
  PromptInput text;
  if (chat && !prompt.system.empty()) {
    messages.messages.push_back({.role = Role::kSystem, .parts = {TextPart{prompt.system}}});
  }
  for (const int32_t shot : shots) {
    const Demonstration& demonstration = demonstrations[static_cast<size_t>(shot)];
    std::vector<Part> parts = Turn(prompt, demonstration.image, demonstration.text);
    if (chat) {
      messages.messages.push_back({.role = Role::kUser, .parts = std::move(parts)});
      messages.messages.push_back(
          {.role = Role::kAssistant, .parts = {TextPart{demonstration.label}}});
      continue;
    }
    parts.push_back(TextPart{absl::StrCat(demonstration.label, prompt.separator)});
    text.parts.insert(text.parts.end(), std::make_move_iterator(parts.begin()),
                      std::make_move_iterator(parts.end()));
  }
  if (chat) return messages;
  return text;
}

absl::StatusOr<Input> QueryInput(const ClassPrompt& prompt, const ClassQuery& query, bool chat) {
  if (!query.text.empty() && !prompt.question.empty() &&
      !absl::StrContains(prompt.question, kTextPlace)) {
    return InvalidInput("query.text", "the question has no place ({text}) for a text");
  }
  std::vector<Part> parts = Turn(prompt, query.image, query.text);
  if (parts.empty()) {
    return InvalidInput("query", "there is neither a picture, a text nor a question");
  }
  if (chat) return ChatInput{.messages = {{.role = Role::kUser, .parts = std::move(parts)}}};
  return PromptInput{.parts = std::move(parts)};
}

bool IsEmpty(const Input& input) {
  if (const auto* chat = std::get_if<ChatInput>(&input)) return chat->messages.empty();
  if (const auto* prompt = std::get_if<PromptInput>(&input)) return prompt->parts.empty();
  return std::get<TokenInput>(input).ids.empty();
}

absl::StatusOr<Input> JoinInputs(const Input& shots, Input query) {
  if (IsEmpty(shots)) return query;
  return MergeInputs(shots, std::move(query));
}

std::vector<std::vector<int32_t>> ShotOrders(int32_t n, int32_t count, uint64_t seed) {
  std::vector<int32_t> order(static_cast<size_t>(n));
  std::iota(order.begin(), order.end(), 0);
  std::vector<std::vector<int32_t>> orders = {order};
  std::mt19937_64 random(seed);
  while (static_cast<int32_t>(orders.size()) < count) {
    // Fisher and Yates; the generator's own numbers, so that a seed means the same everywhere.
    for (size_t i = order.size(); i > 1; --i) std::swap(order[i - 1], order[random() % i]);
    orders.push_back(order);
  }
  return orders;
}

}  // namespace prefixd
