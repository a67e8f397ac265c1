#include "tests/simulation/oracle.h"

#include <algorithm>

namespace prefixd::simulation {
namespace {

constexpr int64_t kPage = 16;

int64_t PagesOf(int64_t slots) { return (slots + kPage - 1) / kPage; }

ChainHash Extend(ChainHash chain, int64_t value) {
  return value >= 0 ? ExtendByToken(chain, value) : ExtendByFeature(chain, -1 - value);
}

}  // namespace

SamplingParams SamplingOf(const RequestSpec& spec) {
  SamplingParams params;
  params.temperature = static_cast<float>(spec.temperature) / 10.0f;
  params.top_k = static_cast<int32_t>(spec.top_k);
  params.seed = static_cast<uint64_t>(spec.seed);
  const float penalty = static_cast<float>(spec.penalty) / 10.0f;
  params.repetition_penalty = 1.0f + penalty;
  params.presence_penalty = params.frequency_penalty = penalty;
  return params;
}

StoppingParams StoppingOf(const RequestSpec& spec) {
  StoppingParams params;
  if (spec.max_tokens > 0) params.max_tokens = static_cast<int32_t>(spec.max_tokens);
  params.min_tokens = static_cast<int32_t>(spec.min_tokens);
  params.ignore_eos = spec.ignore_eos != 0;
  if (spec.stop_token > 0) params.stop_token_ids = {static_cast<int32_t>(spec.stop_token)};
  if (spec.stop_first > 0) {
    params.stop = {std::string(1, LetterOf(spec.stop_first))};
    if (spec.stop_second > 0) params.stop[0] += LetterOf(spec.stop_second);
  }
  if (spec.soft_limit > 0) params.soft_time_limit = absl::Microseconds(spec.soft_limit);
  return params;
}

Oracle::Oracle(const Config& config, const RequestSpec& spec)
    : config_(config),
      spec_(spec),
      sampling_(SamplingOf(spec)),
      root_(RootHash(spec)),
      choices_(static_cast<size_t>(spec.choices)),
      logits_(static_cast<size_t>(config.vocab)) {
  for (size_t i = 0; i < spec.prompt.size(); ++i) {
    if (static_cast<int64_t>(i) == spec.prefix) prefix_rows_ = prompt_rows();
    const int64_t token = spec.prompt[i];
    if (token >= 0) {
      token_ids_.push_back(static_cast<int32_t>(token));
      prompt_values_.push_back(token);
      continue;
    }
    const int64_t media = -1 - token;
    images_.push_back({prompt_rows(), media});
    for (int64_t row = 0; row < config.image_rows; ++row) {
      token_ids_.push_back(static_cast<int32_t>(config.vocab - 1));
      prompt_values_.push_back(-1 - FeatureValue(FeatureOwner(spec), media, row));
    }
  }
  if (static_cast<int64_t>(spec.prompt.size()) <= spec.prefix) prefix_rows_ = prompt_rows();
  SetRetention();
  ChainHash chain = root_;
  for (int32_t row = 0; row < boundary_; ++row) {
    prompt_chain_.push_back(chain = Extend(chain, prompt_values_[row]));
  }
  if (!max_new_is_open()) {
    max_new_tokens_ = std::min(static_cast<int32_t>(spec.max_tokens), most_new_tokens());
  }
  if (spec.penalty != 0) {
    for (Choice& choice : choices_) choice.counts.AddPrompt(token_ids_);
  }
}

// The selection is made at the end of the named prefix, else of the first image, else (EXACT, or
// nobody asked for SHARED) of the prompt.
void Oracle::SetRetention() {
  boundary_ = prompt_rows();
  if (spec_.retention == kOff || spec_.pin != 0) return;
  recipe_ = RecipeOf(spec_);
  scope_ = RetentionScope::kExact;
  if (spec_.retention == kExact) return;
  int32_t end = prefix_rows_;
  if (end == 0 && !images_.empty()) {
    end = images_[0].row_begin + static_cast<int32_t>(config_.image_rows);
  }
  if (recipe_->policy->name() == "h2o") {
    cannot_share_ = true;  // Its scores go on.
  } else if (end > 0 && end < prompt_rows()) {
    scope_ = RetentionScope::kShared;
    boundary_ = end;
  } else {
    cannot_share_ = spec_.retention == kShared;
  }
}

int32_t Oracle::MatchableRows() const {
  if (!budgeted()) return prompt_rows() - 1;
  const int32_t window = recipe_->policy->needs().window;
  const int32_t unsummed = window > 0 ? std::max(0, boundary_ - window) : boundary_;
  return std::min(boundary_ - 1, unsummed);
}

// Selects, and computes the prompt's rows that see only what is left.
void Oracle::FinishPrompt() {
  if (kept_ || !budgeted()) return;
  const bool shared = scope_ == RetentionScope::kShared;
  kept_.emplace(*recipe_, static_cast<int>(config_.layers), prompt_chain_,
                shared ? 0 : static_cast<uint64_t>(spec_.seed));
  for (int32_t row = boundary_; row < prompt_rows(); ++row) {
    prompt_chain_.push_back(Extend(kept_->before(), prompt_values_[row]));
    kept_->Add(prompt_chain_.back());
  }
  kept_->BeginDrops(shared);
}

const KeptLists& Oracle::Selected() {
  FinishPrompt();
  return *kept_;
}

const KeptLists& Oracle::KeptAt(int choice, int32_t row) {
  (void)Chain(choice, row);
  const auto& kept = choices_[static_cast<size_t>(choice)].kept;
  return kept ? *kept : *kept_;
}

int32_t Oracle::most_new_tokens() const {
  return static_cast<int32_t>(std::min(config_.context - prompt_rows(), config_.max_output));
}

// The last token is never fed; the choices share the full pages of the prompt.
int64_t Oracle::PagesFor(int64_t new_tokens) const {
  if (budgeted()) return config_.layers * PagesOf(boundary_);
  const int64_t one = PagesOf(prompt_rows() + new_tokens - 1);
  const int64_t shared = prompt_rows() / kPage;
  return config_.layers * (one + (spec_.choices - 1) * (one - shared));
}

// A selection has the old and the new pages for a while; layers end in pages of their own, and a
// snapshot that is written to stays beside the copy.
int64_t Oracle::MostPagesFor(int64_t new_tokens) const {
  if (!budgeted()) return PagesFor(new_tokens);
  const int64_t one = config_.layers * (PagesOf(prompt_rows() + new_tokens) + 1);
  const int64_t selected = config_.layers * PagesOf(boundary_);
  const int64_t snapshot = scope_ == RetentionScope::kShared ? selected : 0;
  return std::max(2 * selected, spec_.choices * one + snapshot);
}

ChainHash Oracle::Chain(int choice, int32_t position) {
  if (position >= static_cast<int32_t>(prompt_chain_.size())) FinishPrompt();
  if (position < prompt_rows()) return prompt_chain_[static_cast<size_t>(position)];
  const int32_t index = position - prompt_rows();
  (void)Token(choice, index);
  return choices_[static_cast<size_t>(choice)].chain[static_cast<size_t>(index)];
}

int32_t Oracle::Token(int choice_index, int32_t index) {
  Choice& choice = choices_[static_cast<size_t>(choice_index)];
  while (static_cast<int32_t>(choice.tokens.size()) <= index) Generate(choice_index, &choice);
  return choice.tokens[static_cast<size_t>(index)];
}

void Oracle::Generate(int choice_index, Choice* choice) {
  FinishPrompt();
  const ChainHash before = choice->chain.empty() ? prompt_chain_.back() : choice->chain.back();
  FillLogits(before, absl::MakeSpan(logits_));
  const auto step = static_cast<uint32_t>(choice->tokens.size());
  std::vector<int32_t> suppressed = {static_cast<int32_t>(config_.vocab - 1)};
  if (step < spec_.min_tokens) {
    suppressed.push_back(kEos);
    if (spec_.stop_token > 0) suppressed.push_back(static_cast<int32_t>(spec_.stop_token));
  }
  const SampleRow row{.params = &sampling_,
                      .seed = static_cast<uint64_t>(spec_.seed),
                      .step = step,
                      .choice = static_cast<uint32_t>(choice_index),
                      .counts = spec_.penalty != 0 ? &choice->counts : nullptr,
                      .suppressed = suppressed};
  const int32_t token = DrawToken(logits_, DrawOf(row), &scratch_);
  choice->tokens.push_back(token);
  choice->chain.push_back(Feed(before, token, choice));
  if (spec_.penalty != 0) choice->counts.AddGenerated(token);
}

// The chain after a generated token. Drops follow each.
ChainHash Oracle::Feed(ChainHash before, int32_t token, Choice* choice) {
  if (!budgeted()) return ExtendByToken(before, token);
  if (!choice->kept) choice->kept.emplace(*kept_);
  const ChainHash chain = ExtendByToken(choice->kept->before(), token);
  choice->kept->Add(chain);
  choice->kept->Drop();
  return chain;
}

bool Oracle::IsStopString(const Choice& choice, int32_t index) const {
  const int32_t token = choice.tokens[static_cast<size_t>(index)];
  if (spec_.stop_first == 0 || token == kEos) return false;
  if (spec_.stop_second == 0) return token == spec_.stop_first;
  int32_t before = index - 1;
  while (before >= 0 && choice.tokens[static_cast<size_t>(before)] == kEos) --before;  // No text.
  return before >= 0 && choice.tokens[static_cast<size_t>(before)] == spec_.stop_first &&
         token == spec_.stop_second;
}

std::optional<FinishReason> Oracle::EndAfter(int choice, int32_t index) {
  const int32_t token = Token(choice, index);
  if (token == kEos && spec_.ignore_eos == 0) return FinishReason::kEos;
  if (token == spec_.stop_token && spec_.stop_token > 0) return FinishReason::kStopToken;
  if (IsStopString(choices_[static_cast<size_t>(choice)], index)) return FinishReason::kStopString;
  if (index + 1 < max_new_tokens_) return std::nullopt;
  const int64_t room = config_.context - prompt_rows();
  const bool context = room <= config_.max_output && spec_.max_tokens > room;
  return context ? FinishReason::kContextLength : FinishReason::kMaxTokens;
}

std::string Oracle::Text(int choice, int32_t count) {
  std::string text;
  for (int32_t i = 0; i < count; ++i) {
    const int32_t token = Token(choice, i);
    const std::optional<FinishReason> end = EndAfter(choice, i);
    if (end == FinishReason::kEos || end == FinishReason::kStopToken) break;
    if (token != kEos) text += LetterOf(token);  // A special token has no text.
    if (end == FinishReason::kStopString) {
      text.resize(text.size() - (spec_.stop_second > 0 ? 2 : 1));
      break;
    }
  }
  return text;
}

}  // namespace prefixd::simulation
