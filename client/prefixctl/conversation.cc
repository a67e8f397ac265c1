#include "client/prefixctl/conversation.h"

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "client/input.h"
#include "client/prefixctl/prefix_options.h"
#include "client/prefixctl/retention_options.h"

namespace prefixd::ctl {
namespace {

bool Parse(absl::string_view text, float* value) { return absl::SimpleAtof(text, value); }
template <typename Integer>
bool Parse(absl::string_view text, Integer* value) {
  return absl::SimpleAtoi(text, value);
}

// Sets `setting`, or unsets it for an empty text. Returns whether the text was a number.
template <typename Number>
bool SetNumber(absl::string_view text, std::optional<Number>* setting) {
  if (text.empty()) {
    setting->reset();
    return true;
  }
  Number value{};
  if (!Parse(text, &value)) return false;
  *setting = value;
  return true;
}

}  // namespace

Conversation::Conversation(const Options& options)
    : model_(options.model),
      prefix_(FullPrefixName(options.prefix)),
      no_cache_(options.no_cache),
      no_kv_cache_(options.no_kv_cache),
      cache_salt_(options.cache_salt),
      system_(options.system),
      generation_(options.generation),
      retention_(options.retention) {}

v1::ChatMessage Conversation::Question(absl::string_view question) const {
  return UserMessage(question, images_);
}

v1::GenerateRequest Conversation::Ask(absl::string_view question) const {
  v1::GenerateRequest request;
  request.set_model(model_);
  request.set_prefix(prefix_);
  request.set_bypass_prefix_cache(no_cache_);
  request.set_cache_salt(cache_salt_);
  if (no_kv_cache_) request.set_kv_cache(v1::KV_CACHE_MODE_DISABLED);
  v1::ChatInput* const chat = request.mutable_chat();
  if (!system_.empty()) *chat->add_messages() = TextMessage(v1::ROLE_SYSTEM, system_);
  for (const v1::ChatMessage& turn : turns_) *chat->add_messages() = turn;
  *chat->add_messages() = Question(question);
  Apply(generation_, request.mutable_sampling(), request.mutable_stopping(),
        request.mutable_output());
  Apply(retention_, &request);
  return request;
}

void Conversation::Keep(absl::string_view question, absl::string_view answer) {
  turns_.push_back(Question(question));
  turns_.push_back(TextMessage(v1::ROLE_ASSISTANT, answer));
  images_.clear();
}

void Conversation::Clear() {
  turns_.clear();
  images_.clear();
}

absl::Status Conversation::Set(absl::string_view name, absl::string_view value) {
  bool number = true;
  if (name == "system") {
    system_ = std::string(value);
  } else if (name == "stop") {
    generation_.stop.clear();
    if (!value.empty()) generation_.stop.push_back(std::string(value));
  } else if (name == "max-tokens") {
    number = SetNumber(value, &generation_.max_tokens);
  } else if (name == "temperature") {
    number = SetNumber(value, &generation_.temperature);
  } else if (name == "top-p") {
    number = SetNumber(value, &generation_.top_p);
  } else if (name == "top-k") {
    number = SetNumber(value, &generation_.top_k);
  } else if (name == "seed") {
    number = SetNumber(value, &generation_.seed);
  } else if (IsRetentionSetting(name)) {
    return SetRetention(name, value, &retention_);
  } else {
    return absl::InvalidArgumentError(
        absl::StrCat("unknown setting \"", name,
                     "\"; there are system, max-tokens, temperature, top-p, top-k, seed, stop, "
                     "retention, budget, policy and profile"));
  }
  if (!number) {
    return absl::InvalidArgumentError(absl::StrCat(name, ": \"", value, "\" is not a number"));
  }
  return absl::OkStatus();
}

}  // namespace prefixd::ctl
