// Decoding under a budget, and what part of a step is attention.
#include <algorithm>
#include <array>
#include <condition_variable>
#include <cstdio>
#include <mutex>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "bench/probes.h"
#include "bench/retention_parts.h"

namespace prefixd {
namespace {

constexpr int kSequences = 16, kNewTokens = 128;
// A column's worth over 640: the columns before the last are found again, so that only the first
// round computes the prompts.
constexpr int kPromptTokens = 648, kShortPromptTokens = 8;

// Notes when tokens came.
class TokenTimes final : public EventSink {
 public:
  void OnEvent(Event event) override {
    std::lock_guard lock(mutex_);
    if (auto* delta = std::get_if<DeltaEvent>(&event)) {
      seconds_.insert(seconds_.end(), delta->token_ids.size(), NowSeconds());
    }
    PREFIXD_CHECK(!std::holds_alternative<FailedEvent>(event));
    if (std::holds_alternative<FinishedEvent>(event)) ended_ = true;
    changed_.notify_all();
  }
  std::vector<double> Wait() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return ended_; });
    return seconds_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool ended_ = false;
  std::vector<double> seconds_;
};

// Seconds of a step while all of `requests` decode and none is in prefill.
double StepSeconds(EngineClient* client, std::vector<Request> requests) {
  std::vector<std::shared_ptr<TokenTimes>> sinks;
  for (Request& request : requests) {
    sinks.push_back(std::make_shared<TokenTimes>());
    PREFIXD_CHECK(client->engine().Submit(std::move(request), sinks.back()).ok());
  }
  std::vector<std::vector<double>> times;
  double begin = 0, end = 1e300;
  for (const auto& sink : sinks) {
    times.push_back(sink->Wait());
    PREFIXD_CHECK(times.back().size() == kNewTokens);
    begin = std::max(begin, times.back().front());
    end = std::min(end, times.back().back());
  }
  // Steps from the first in which all decode; one stream has a token in each.
  const auto& last =
      *std::max_element(times.begin(), times.end(),
                        [](const auto& a, const auto& b) { return a.front() < b.front(); });
  const auto steps =
      std::count_if(last.begin(), last.end(), [&](double t) { return t > begin && t <= end; });
  PREFIXD_CHECK(steps >= kNewTokens / 4);
  return (end - begin) / static_cast<double>(steps);
}

}  // namespace

void MeasureDecode(EngineClient* client, const std::string& name, const std::string& picture,
                   int rounds, double least, Bars* bars) {
  enum Variant { kFull, kFifth, kShort, kNumVariants };
  const int image = picture.empty() ? 0 : client->engine().model_info().tokens_per_image;
  std::array<std::vector<std::vector<int32_t>>, 2> prompts;
  for (int i = 0; i < kSequences; ++i) {
    prompts[0].push_back(client->NewTokens(kPromptTokens - image));
    prompts[1].push_back(client->NewTokens(kShortPromptTokens));
  }
  const auto run = [&](int variant) {
    std::vector<Request> requests;
    for (int i = 0; i < kSequences; ++i) {
      const bool is_short = variant == kShort;
      Request request = client->Ask(prompts[is_short ? 1 : 0][static_cast<size_t>(i)], kNewTokens,
                                    is_short ? "" : picture);
      // Pages that sequences share are read once for all: each is in a namespace of its own.
      request.cache_salt = absl::StrCat("sequence ", i);
      if (variant == kFifth) request = WithBudget(std::move(request), RetentionScope::kExact, 0.2);
      requests.push_back(std::move(request));
    }
    return StepSeconds(client, std::move(requests));
  };
  std::vector<double> ratios, shares, full_ms, fifth_ms, small_shares;
  for (int round = -1; round < rounds; ++round) {
    std::array<double, kNumVariants> seconds{};
    for (int i = 0; i < kNumVariants; ++i) {
      // The first round, which is not counted, computes the prompts, with scores.
      const int variant = round < 0 ? (kFifth + i) % kNumVariants : (round + i) % kNumVariants;
      seconds[static_cast<size_t>(variant)] = run(variant);
    }
    if (round < 0) continue;
    ratios.push_back(seconds[kFull] / seconds[kFifth]);
    shares.push_back(100 * (1 - seconds[kShort] / seconds[kFull]));
    small_shares.push_back(100 * (1 - seconds[kShort] / seconds[kFifth]));
    full_ms.push_back(seconds[kFull] * 1e3);
    fifth_ms.push_back(seconds[kFifth] * 1e3);
  }
  std::printf(
      "%s, decode, %d x %d tokens: a step takes %.2f ms at full KV, %.2f ms at 20 %%; %.0f %% and "
      "%.0f %% of it for the prompt's KV\n",
      name.c_str(), kSequences, kPromptTokens, Median(full_ms), Median(fifth_ms), Median(shares),
      Median(small_shares));
  const std::string what =
      absl::StrCat(name, ", decode: tokens/s, 20 % / full, median of ", rounds);
  if (least > 0) {
    bars->AtLeast(what, Median(ratios), least);
  } else {
    std::printf("%-64s %10.4g\n", what.c_str(), Median(ratios));
    std::fflush(stdout);
  }
}

}  // namespace prefixd
