#include "tests/engine/stream_family.h"

#include <algorithm>
#include <bit>
#include <random>
#include <utility>

#include <gtest/gtest.h>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace prefixd::testing {
namespace {

constexpr int32_t kEos = 2, kPlaceholder = 3, kFirstByte = 5;
constexpr int kShortest = 5, kLongest = 90;  // Prompt tokens, an image counted once.

void AppendBytes(const TokenLogprob& entry, std::string* out) {
  absl::StrAppend(out, entry.token_id, "/", entry.rank, "/", std::bit_cast<uint32_t>(entry.logprob),
                  " ");
}

int32_t ByteToken(char letter) { return kFirstByte + static_cast<uint8_t>(letter); }

class FamilyMaker {
 public:
  FamilyMaker(const std::vector<std::string>& pictures, uint32_t seed)
      : pictures_(pictures), random_(seed) {}

  Request Make(int index) {
    Request request;
    request.input = Walk(Draw(kShortest, kLongest));
    if (Chance(0.6)) request.sampling.temperature = 1.5f;
    request.sampling.seed = 1000 + static_cast<uint64_t>(index);
    if (Chance(0.3)) {
      request.sampling.repetition_penalty = 1.3f;
      request.sampling.presence_penalty = 0.5f;
      request.sampling.frequency_penalty = -0.25f;
    }
    request.stopping.max_tokens = Draw(1, 24);
    request.stopping.ignore_eos = Chance(0.5);
    if (!request.stopping.ignore_eos) request.sampling.logit_bias.emplace_back(kEos, 2.0f);
    if (Chance(0.3)) {
      // Words of few letters, so that stop strings do appear, whole and in part.
      for (char letter = 'a'; letter <= 'f'; ++letter) {
        request.sampling.logit_bias.emplace_back(ByteToken(letter), 6.0f);
      }
      request.stopping.stop = {"abc", "fa", "dd"};
      request.stopping.include_stop = Chance(0.5);
    }
    request.output.num_choices = Chance(0.3) ? Draw(2, 3) : 1;
    if (Chance(0.6)) request.output.logprobs = 3;
    request.output.token_ids = true;
    if (Chance(0.6)) request.retention = Retention(std::get<TokenInput>(request.input));
    return request;
  }

 private:
  // A budget, and a snapshot where there is an image with text behind it.
  RetentionParams Retention(const TokenInput& input) {
    constexpr const char* kPolicies[] = {
        "prefixkv",       "prefixkv-debiased", "local",  "h2o",  "elastic",
        "snapkv",         "pyramidkv",         "random", "full", "streaming-llm",
        "prefixkv-window"};
    constexpr double kBudgets[] = {0.1, 0.2, 0.5, 0.8, 1.0};
    RetentionParams params;
    const bool shareable = !input.images.empty() && input.ids.back() != kPlaceholder;
    params.scope = shareable && Chance(0.6) ? RetentionScope::kShared : RetentionScope::kExact;
    do {
      params.policy = Chance(0.5) ? kPolicies[0] : kPolicies[Draw(0, std::size(kPolicies) - 1)];
    } while (params.scope == RetentionScope::kShared && params.policy == "h2o");
    params.budget = kBudgets[Draw(0, std::size(kBudgets) - 1)];
    if (Chance(0.3)) params.distance = Draw(0, 1) == 0 ? -3 : 12;
    if (Chance(0.2)) params.start_size = 4;
    if (Chance(0.1)) params.protect = 6;
    params.reference_positions = Chance(0.05);
    return params;
  }

  int32_t Draw(int32_t low, int32_t high) {
    return std::uniform_int_distribution<int32_t>(low, high)(random_);
  }
  bool Chance(double p) { return std::bernoulli_distribution(p)(random_); }

  // From the trie's root down. Ways part within pages and at their borders, two each time, one
  // taken rarely. A picture stands where the way says so; which one it is, the tokens do not tell.
  TokenInput Walk(int length) {
    constexpr int kPartings[] = {0, 3, 13, 16, 29, 32, 47, 64, 71};
    constexpr int kPictureAt[] = {4, 30};
    TokenInput input;
    uint32_t node = 1;
    while (static_cast<int>(input.ids.size()) < length) {
      const int depth = static_cast<int>(input.ids.size());
      if (std::count(std::begin(kPartings), std::end(kPartings), depth) > 0) {
        node = 2 * node + (Chance(0.25) ? 1 : 0);
      }
      const uint32_t hash = (node * 2654435761u) ^ (static_cast<uint32_t>(depth + 1) * 2246822519u);
      const bool picture = !pictures_.empty() &&
                           std::count(std::begin(kPictureAt), std::end(kPictureAt), depth) > 0 &&
                           (hash >> 7) % 2;
      if (picture) {
        input.ids.push_back(kPlaceholder);
        const int32_t last = static_cast<int32_t>(pictures_.size()) - 1;
        input.images.push_back({.bytes = pictures_[Chance(0.7) ? 0 : Draw(0, last)]});
      } else {
        input.ids.push_back(kFirstByte + static_cast<int32_t>((hash >> 9) % 256));
      }
    }
    return input;
  }

  const std::vector<std::string>& pictures_;
  std::mt19937 random_;
};

}  // namespace

bool ChoiceBytes::IsBeginningOf(const ChoiceBytes& whole) const {
  return absl::StartsWith(whole.text, text) && ids.size() <= whole.ids.size() &&
         std::equal(ids.begin(), ids.end(), whole.ids.begin()) &&
         absl::StartsWith(whole.logprobs, logprobs) && (end.empty() || *this == whole);
}

ChoiceBytes& ByteSink::choice(int32_t index) {
  if (choices.size() <= static_cast<size_t>(index)) choices.resize(index + 1);
  return choices[index];
}

void ByteSink::OnEvent(Event event) {
  if (auto* scores = std::get_if<ScoresEvent>(&event)) {
    ChoiceBytes& scored = choice(0);
    for (const int32_t id : scores->prompt_ids) absl::StrAppend(&scored.logprobs, id, "/");
    for (const auto* values : {&scores->logprobs, &scores->prompt_logprobs}) {
      for (const float value : *values) {
        absl::StrAppend(&scored.logprobs, std::bit_cast<uint32_t>(value), " ");
      }
    }
    scored.end = "scored";
    return;
  }
  EXPECT_FALSE(ended) << "an event after the terminal one";
  if (auto* delta = std::get_if<DeltaEvent>(&event)) {
    ChoiceBytes& bytes = choice(delta->choice);
    EXPECT_EQ(bytes.end, "") << "a delta after the choice's end";
    bytes.text += delta->text;
    bytes.ids.insert(bytes.ids.end(), delta->token_ids.begin(), delta->token_ids.end());
    for (const LogprobEntry& entry : delta->logprobs) {
      AppendBytes(entry.sampled, &bytes.logprobs);
      for (const TokenLogprob& top : entry.top) AppendBytes(top, &bytes.logprobs);
    }
  } else if (auto* end = std::get_if<ChoiceFinishedEvent>(&event)) {
    choice(end->choice).end = absl::StrCat(static_cast<int>(end->reason), "/", end->stop_string,
                                           "/", end->stop_token.value_or(-1));
  } else if (auto* done = std::get_if<FinishedEvent>(&event)) {
    ended = true;
    finished = *done;
  } else if (auto* failed = std::get_if<FailedEvent>(&event)) {
    ended = true;
    status = failed->status;
  }
}

std::vector<Request> MakeStreamFamily(int size, const std::vector<std::string>& pictures,
                                      uint32_t seed) {
  FamilyMaker maker(pictures, seed);
  std::vector<Request> family;
  for (int i = 0; i < size; ++i) family.push_back(maker.Make(i));
  return family;
}

Request FollowUp(const Request& request, const std::vector<int32_t>& answer, uint32_t seed) {
  Request next = request;
  TokenInput& input = std::get<TokenInput>(next.input);
  input.ids.insert(input.ids.end(), answer.begin(), answer.end());
  std::mt19937 random(seed);
  std::uniform_int_distribution<int32_t> byte(0, 255);
  for (uint32_t i = 0; i < 1 + seed % 8; ++i) input.ids.push_back(kFirstByte + byte(random));
  next.sampling.seed = 5000 + seed;
  return next;
}

}  // namespace prefixd::testing
