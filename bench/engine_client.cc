#include "bench/engine_client.h"

#include <chrono>
#include <future>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/status_macros.h"
#include "bench/probes.h"

namespace prefixd {

const MonotonicClock EngineClient::clock_;

void StreamRecord::OnEvent(Event event) {
  std::lock_guard lock(mutex_);
  if (std::holds_alternative<StartedEvent>(event)) {
    started_ = true;
  } else if (auto* delta = std::get_if<DeltaEvent>(&event)) {
    if (token_ids_.empty()) first_token_seconds_ = NowSeconds();
    token_ids_.insert(token_ids_.end(), delta->token_ids.begin(), delta->token_ids.end());
    text_ += delta->text;
  } else if (auto* done = std::get_if<FinishedEvent>(&event)) {
    finished_ = *done;
    ended_ = true;
  } else if (auto* failed = std::get_if<FailedEvent>(&event)) {
    status_ = failed->status;
    ended_ = true;
  }
  changed_.notify_all();
}

void StreamRecord::Wait() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return ended_; });
}

bool StreamRecord::WaitFor(absl::Duration timeout) {
  std::unique_lock lock(mutex_);
  return changed_.wait_for(lock, absl::ToChronoNanoseconds(timeout), [this] { return ended_; });
}

bool StreamRecord::ended() const {
  std::lock_guard lock(mutex_);
  return ended_;
}

bool StreamRecord::started() const {
  std::lock_guard lock(mutex_);
  return started_;
}

absl::StatusOr<std::unique_ptr<EngineClient>> EngineClient::Open(const EngineOptions& options) {
  PREFIXD_ASSIGN_OR_RETURN(std::unique_ptr<Engine> engine, Engine::Open(options, &clock_));
  PREFIXD_RETURN_IF_ERROR(engine->LoadWeights([](uint64_t, uint64_t) { return true; }));
  return std::unique_ptr<EngineClient>(new EngineClient(std::move(engine)));
}

// The number of the prompt in base 200 comes first.
std::vector<int32_t> EngineClient::NewTokens(int count) {
  constexpr int32_t kFirst = 10, kNumTokens = 200;
  std::vector<int32_t> ids;
  uint32_t number = next_prompt_++;
  for (int i = 0; i < count; ++i) {
    const int32_t token = i < 3 ? static_cast<int32_t>(number % kNumTokens)
                                : (i * 7 + static_cast<int32_t>(next_prompt_)) % kNumTokens;
    ids.push_back(kFirst + token);
    if (i < 3) number /= kNumTokens;
  }
  return ids;
}

Request EngineClient::Ask(std::vector<int32_t> ids, int max_tokens, const std::string& picture) {
  TokenInput input;
  if (!picture.empty()) {
    input.ids.push_back(engine_->model_info().image_token_id);
    input.images.push_back({.bytes = picture});
  }
  input.ids.insert(input.ids.end(), ids.begin(), ids.end());
  Request request;
  request.id = absl::StrCat(next_id_++);
  request.input = std::move(input);
  request.stopping.max_tokens = max_tokens;
  request.stopping.ignore_eos = true;
  request.output.token_ids = true;
  return request;
}

std::shared_ptr<StreamRecord> EngineClient::Submit(Request request) {
  auto record = std::make_shared<StreamRecord>();
  const absl::Status status = engine_->Submit(std::move(request), record);
  PREFIXD_CHECK(status.ok());
  ++submitted_;
  return record;
}

std::shared_ptr<StreamRecord> EngineClient::Run(Request request) {
  auto record = Submit(std::move(request));
  record->Wait();
  PREFIXD_CHECK(record->status().ok());
  return record;
}

EngineStats EngineClient::StatsAtRest() {
  while (true) {
    const std::shared_ptr<const EngineStats> stats = engine_->Stats();
    if (stats->requests_finished == submitted_ && stats->running == 0) return *stats;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
}

void EngineClient::Flush() {
  std::promise<void> done;
  engine_->FlushCache(std::nullopt, [&done](const FlushResult&) { done.set_value(); });
  done.get_future().wait();
}

PageMap EngineClient::Pages() {
  std::promise<PageMap> pages;
  engine_->GetPageMap(1, [&pages](PageMap map) { pages.set_value(std::move(map)); });
  return pages.get_future().get();
}

}  // namespace prefixd
