#include "bench/tenant_traffic.h"

#include <algorithm>
#include <chrono>
#include <thread>
#include <utility>

#include "bench/probes.h"

namespace prefixd {
namespace {

class CountingSink final : public EventSink {
 public:
  explicit CountingSink(Outcome* outcome) : outcome_(*outcome) {}
  void OnEvent(Event event) override { outcome_.Ended(event); }

 private:
  Outcome& outcome_;
};

std::atomic<int64_t> next_id{1};

void Submit(Engine* engine, Request request, Outcome* outcome) {
  request.id = std::to_string(next_id++);
  outcome->Sent();
  const absl::Status status =
      engine->Submit(std::move(request), std::make_shared<CountingSink>(outcome));
  if (!status.ok()) outcome->Refused();
}

void SleepUntil(double seconds) {
  const double left = seconds - NowSeconds();
  if (left > 0) std::this_thread::sleep_for(std::chrono::duration<double>(left));
}

}  // namespace

void Outcome::Ended(const Event& event) {
  if (const auto* done = std::get_if<FinishedEvent>(&event)) {
    ++finished_;
    tokens_ += done->usage.completion_tokens;
    hit_tokens_ += done->cache.hit_tokens;
    prompt_tokens_ += done->usage.prompt_tokens;
    {
      std::lock_guard lock(mutex_);
      first_tokens_.push_back(absl::ToDoubleSeconds(done->timings.first_token));
    }
    ++ended_;
  } else if (std::holds_alternative<FailedEvent>(event)) {
    ++ended_;
  }
}

double Outcome::hit_rate() const {
  return static_cast<double>(hit_tokens_) /
         static_cast<double>(std::max<int64_t>(1, prompt_tokens_));
}

double Outcome::FirstTokenP99() const {
  std::lock_guard lock(mutex_);
  if (first_tokens_.empty()) return 0;
  std::vector<double> sorted = first_tokens_;
  std::sort(sorted.begin(), sorted.end());
  return sorted[(sorted.size() - 1) * 99 / 100];
}

void SendSteadily(Engine* engine, const RequestMaker& make, double per_second, double seconds,
                  Outcome* outcome) {
  const double begin = NowSeconds();
  const int64_t count = static_cast<int64_t>(per_second * seconds);
  for (int64_t i = 0; i < count; ++i) {
    SleepUntil(begin + static_cast<double>(i) / per_second);
    Submit(engine, make(i), outcome);
  }
  SleepUntil(begin + seconds);
}

void SendBacklog(Engine* engine, const RequestMaker& make, int backlog,
                 const std::atomic<bool>& stop, Outcome* outcome) {
  for (int64_t i = 0; !stop; std::this_thread::sleep_for(std::chrono::milliseconds(1))) {
    while (!stop && outcome->unfinished() < backlog) Submit(engine, make(i++), outcome);
  }
}

bool WaitEnded(const Outcome& outcome) {
  const double end = NowSeconds() + 30;
  while (outcome.unfinished() > 0 && NowSeconds() < end) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return outcome.unfinished() == 0;
}

}  // namespace prefixd
