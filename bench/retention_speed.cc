// What importance scores cost a prefill, through the whole engine.
#include <array>
#include <cstdio>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "bench/probes.h"
#include "bench/retention_parts.h"

namespace prefixd {
namespace {

constexpr int kPromptTokens = 640;

struct Cost {
  double wall = 0, cpu = 0;  // Seconds.
};

// From submitting to the first token, which is the last.
Cost Prefill(EngineClient* client, Request request) {
  const double begin = NowSeconds(), cpu_begin = CpuSeconds();
  const auto record = client->Run(std::move(request));
  PREFIXD_CHECK(record->finished().usage.cached_prompt_tokens == 0);
  PREFIXD_CHECK(record->finished().cache.computed_tokens == kPromptTokens);
  return {NowSeconds() - begin, CpuSeconds() - cpu_begin};
}

}  // namespace

void MeasureImportance(EngineClient* client, const std::string& name, const std::string& picture,
                       int rounds, Bars* bars) {
  constexpr double kBar = 10;
  enum Variant { kOff, kAll, kFifth, kOffPublished, kFifthPublished, kNumVariants };
  const int own =
      kPromptTokens - (picture.empty() ? 0 : client->engine().model_info().tokens_per_image);
  const auto run = [&](int variant) {
    Request request = client->Ask(client->NewTokens(own), 1, picture);
    request.bypass_prefix_cache = variant < kOffPublished;
    // Else nothing is shared: the namespace is new.
    request.cache_salt = request.id;
    if (variant == kAll) request = WithBudget(std::move(request), RetentionScope::kExact, 1.0);
    if (variant == kFifth || variant == kFifthPublished) {
      request = WithBudget(std::move(request), RetentionScope::kExact, 0.2);
    }
    return Prefill(client, std::move(request));
  };
  run(kOff);
  const EngineStats before = client->StatsAtRest();
  std::array<std::vector<double>, kNumVariants> wall, cpu;
  std::array<std::vector<double>, kNumVariants> cpu_ms;
  uint64_t selections = 0;
  for (int round = 0; round < rounds; ++round) {
    std::array<Cost, kNumVariants> costs;
    for (int i = 0; i < kNumVariants; ++i) {
      const int variant = (round + i) % kNumVariants;
      costs[variant] = run(variant);
    }
    for (int i = 0; i < kNumVariants; ++i) {
      const Cost& off = costs[i < kOffPublished ? kOff : kOffPublished];
      cpu_ms[i].push_back(costs[i].cpu * 1e3);
      wall[i].push_back((costs[i].wall / off.wall - 1) * 100);
      cpu[i].push_back((costs[i].cpu / off.cpu - 1) * 100);
    }
    selections += 3;
  }
  const EngineStats after = client->StatsAtRest();
  // Without retention nothing is scored or selected.
  PREFIXD_CHECK(after.retention.selections - before.retention.selections == selections);
  std::printf("%s, %d tokens, ms of CPU time: %.0f without retention, %.0f published\n",
              name.c_str(), kPromptTokens, Median(cpu_ms[kOff]), Median(cpu_ms[kOffPublished]));
  const auto print = [&](Variant variant, const std::string& what) {
    std::printf("%-64s %10.3g  (CPU time)\n", what.c_str(), Median(cpu[variant]));
    bars->AtMost(what, Median(wall[variant]), kBar);
  };
  print(kAll, name + ", prefill: % more with EXACT 100 %");
  print(kFifth, name + ", prefill: % more with EXACT 20 %");
  // Pieces that end where scores are stored read the weights once more; no bar.
  std::printf("%-64s %10.3g  (CPU time %.3g)\n",
              (name + ", prefill: % more with EXACT 20 %, published").c_str(),
              Median(wall[kFifthPublished]), Median(cpu[kFifthPublished]));
  std::fflush(stdout);
}

}  // namespace prefixd
