#include "tools/acceptance/play.h"

#include <future>
#include <random>
#include <thread>
#include <utility>
#include <variant>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/clock.h"
#include "base/status_macros.h"

namespace prefixd::acceptance {
namespace {

constexpr absl::Duration kPatience = absl::Minutes(5);

const MonotonicClock& TheClock() {
  static const auto* const kClock = new MonotonicClock;
  return *kClock;
}

}  // namespace

Listener::Listener() : start_(TheClock().Now()) {}

double Listener::SecondsSinceStart() const {
  return absl::ToDoubleSeconds(TheClock().Now() - start_);
}

void Listener::OnEvent(Event event) {
  std::lock_guard lock(mutex_);
  if (auto* const delta = std::get_if<DeltaEvent>(&event)) {
    if (delta->choice != 0) return;
    if (answer_.tokens.empty()) answer_.first_token_seconds = SecondsSinceStart();
    answer_.tokens.insert(answer_.tokens.end(), delta->token_ids.begin(), delta->token_ids.end());
    for (LogprobEntry& entry : delta->logprobs) answer_.logprobs.push_back(std::move(entry));
  } else if (auto* const finished = std::get_if<FinishedEvent>(&event)) {
    answer_.finished = std::move(*finished);
    ended_ = true;
  } else if (auto* const failed = std::get_if<FailedEvent>(&event)) {
    answer_.status = failed->status;
    ended_ = true;
  }
  if (ended_) answer_.seconds = SecondsSinceStart();
}

bool Listener::ended() const {
  std::lock_guard lock(mutex_);
  return ended_;
}

absl::Status Listener::Wait(absl::Duration timeout) {
  const absl::Time until = TheClock().Now() + timeout;
  while (!ended()) {
    if (TheClock().Now() > until) return absl::DeadlineExceededError("a request does not end");
    absl::SleepFor(absl::Microseconds(200));
  }
  return absl::OkStatus();
}

Answer Listener::answer() const {
  std::lock_guard lock(mutex_);
  return answer_;
}

std::vector<int32_t> TokensOf(uint32_t seed, int count, int32_t vocab_size) {
  constexpr int32_t kFirst = 10;  // Behind the special tokens.
  std::mt19937 random(seed);
  std::vector<int32_t> ids;
  for (int i = 0; i < count; ++i) {
    const auto most = static_cast<uint32_t>(std::min(vocab_size, 256) - kFirst);
    ids.push_back(kFirst + static_cast<int32_t>(random() % most));
  }
  return ids;
}

Request NewRequest(const Engine& engine, const std::string& id, std::vector<int32_t> ids,
                   int max_tokens, const std::string& picture) {
  TokenInput input;
  if (!picture.empty()) {
    input.ids.push_back(engine.model_info().image_token_id);
    input.images.push_back({.bytes = picture});
  }
  input.ids.insert(input.ids.end(), ids.begin(), ids.end());
  Request request;
  request.id = id;
  request.input = std::move(input);
  request.stopping.max_tokens = max_tokens;
  request.stopping.ignore_eos = true;
  request.output.token_ids = true;
  return request;
}

absl::StatusOr<std::vector<Answer>> Play(Engine* engine, std::vector<Request> requests) {
  std::vector<std::shared_ptr<Listener>> listeners;
  for (Request& request : requests) {
    auto listener = std::make_shared<Listener>();
    PREFIXD_RETURN_IF_ERROR(engine->Submit(std::move(request), listener));
    listeners.push_back(std::move(listener));
  }
  std::vector<Answer> answers;
  for (const auto& listener : listeners) {
    PREFIXD_RETURN_IF_ERROR(listener->Wait(kPatience));
    answers.push_back(listener->answer());
  }
  return answers;
}

absl::StatusOr<Answer> PlayOne(Engine* engine, Request request) {
  std::vector<Request> requests;
  requests.push_back(std::move(request));
  PREFIXD_ASSIGN_OR_RETURN(std::vector<Answer> answers, Play(engine, std::move(requests)));
  PREFIXD_RETURN_IF_ERROR(answers[0].status);
  return std::move(answers[0]);
}

void Flush(Engine* engine) {
  std::promise<void> done;
  engine->FlushCache(std::nullopt, [&done](const FlushResult&) { done.set_value(); });
  done.get_future().wait();
}

absl::StatusOr<std::unique_ptr<Engine>> OpenAndLoad(
    const std::function<absl::StatusOr<std::unique_ptr<Engine>>(const EngineOptions&)>& open,
    const EngineOptions& options) {
  PREFIXD_ASSIGN_OR_RETURN(std::unique_ptr<Engine> engine, open(options));
  PREFIXD_RETURN_IF_ERROR(engine->LoadWeights([](uint64_t, uint64_t) { return true; }));
  return engine;
}

}  // namespace prefixd::acceptance
