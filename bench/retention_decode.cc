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
// A little over 640: whole columns are found again, so that only the first round computes the
// prompts.
constexpr int kPromptTokens = 648, kShortPromptTokens = 8;

struct Cost {
  double wall = 0, cpu = 0;  // Seconds.
};

// Notes when tokens came.
class TokenTimes final : public EventSink {
 public:
  void OnEvent(Event event) override {
    std::lock_guard lock(mutex_);
    if (auto* delta = std::get_if<DeltaEvent>(&event)) {
      times_.insert(times_.end(), delta->token_ids.size(), {NowSeconds(), CpuSeconds()});
    }
    PREFIXD_CHECK(!std::holds_alternative<FailedEvent>(event));
    if (std::holds_alternative<FinishedEvent>(event)) ended_ = true;
    changed_.notify_all();
  }
  std::vector<Cost> Wait() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return ended_; });
    return times_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool ended_ = false;
  std::vector<Cost> times_;
};

// Of a step while all of `requests` decode and none is in prefill: medians over these steps, which
// pauses of the machine leave alone.
Cost StepCost(EngineClient* client, std::vector<Request> requests) {
  std::vector<std::shared_ptr<TokenTimes>> sinks;
  for (Request& request : requests) {
    sinks.push_back(std::make_shared<TokenTimes>());
    PREFIXD_CHECK(client->engine().Submit(std::move(request), sinks.back()).ok());
  }
  double end = 1e300;
  std::vector<Cost> last;  // Of the stream that began last; one token a step.
  for (const auto& sink : sinks) {
    std::vector<Cost> times = sink->Wait();
    PREFIXD_CHECK(times.size() == kNewTokens);
    end = std::min(end, times.back().wall);
    if (last.empty() || times.front().wall > last.front().wall) last = std::move(times);
  }
  std::vector<double> wall, cpu;
  for (size_t i = 1; i < last.size() && last[i].wall <= end; ++i) {
    wall.push_back(last[i].wall - last[i - 1].wall);
    cpu.push_back(last[i].cpu - last[i - 1].cpu);
  }
  PREFIXD_CHECK(wall.size() >= kNewTokens / 4);
  return {Median(std::move(wall)), Median(std::move(cpu))};
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
    return StepCost(client, std::move(requests));
  };
  std::vector<double> ratios, cpu_ratios, shares, small_shares, full_ms, small_ms;
  for (int round = -1; round < rounds; ++round) {
    std::array<Cost, kNumVariants> costs;
    for (int i = 0; i < kNumVariants; ++i) {
      // The first round, which is not counted, computes the prompts, with scores.
      const int variant = round < 0 ? (kFifth + i) % kNumVariants : (round + i) % kNumVariants;
      costs[static_cast<size_t>(variant)] = run(variant);
    }
    if (round < 0) continue;
    const Cost &full = costs[kFull], &small = costs[kFifth];
    ratios.push_back(full.wall / small.wall);
    cpu_ratios.push_back(full.cpu / small.cpu);
    shares.push_back(100 * (1 - costs[kShort].cpu / full.cpu));
    small_shares.push_back(100 * (1 - costs[kShort].cpu / small.cpu));
    full_ms.push_back(full.wall * 1e3);
    small_ms.push_back(small.wall * 1e3);
  }
  std::printf(
      "%s, decode, %d x %d tokens: a step takes %.2f ms at full KV, %.2f ms at 20 %%; %.0f %% and "
      "%.0f %% of its CPU time for the prompt's KV\n",
      name.c_str(), kSequences, kPromptTokens, Median(full_ms), Median(small_ms), Median(shares),
      Median(small_shares));
  const std::string what =
      absl::StrCat(name, ", decode: tokens/s, 20 % / full, median of ", rounds);
  std::printf("%-64s %10.4g  (CPU time)\n", what.c_str(), Median(cpu_ratios));
  if (least > 0) {
    bars->AtLeast(what, Median(ratios), least);
  } else {
    std::printf("%-64s %10.4g\n", what.c_str(), Median(ratios));
    std::fflush(stdout);
  }
}

}  // namespace prefixd
