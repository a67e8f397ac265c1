#include <algorithm>
#include <chrono>
#include <cstdio>
#include <random>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "bench/probes.h"
#include "bench/sharing.h"

namespace prefixd {
namespace {

int64_t PagesIn(const PageMap& map, PageMap::State state) {
  int64_t pages = 0;
  for (const auto& cell : map.cells) pages += cell[state];
  return pages;
}

int64_t LivePages(const PageMap& map) {
  return PagesIn(map, PageMap::kActive) + PagesIn(map, PageMap::kShared);
}

double Quantile(std::vector<double> values, double q) {
  std::sort(values.begin(), values.end());
  return values[static_cast<size_t>(q * static_cast<double>(values.size() - 1))];
}

// How far requests were when they were cancelled.
struct Moments {
  int queued = 0, prefill = 0, encode = 0, decode = 0, done = 0;
};

void Note(const EngineStats& stats, Moments* moments) {
  for (const RequestInfo& request : stats.requests) {
    if (request.state == "queued") ++moments->queued;
    if (request.state == "decode") ++moments->decode;
    if (request.state != "prefill") continue;
    ++(request.computed_tokens == request.cached_tokens ? moments->encode : moments->prefill);
  }
}

}  // namespace

void MeasureCancel(EngineClient* client, const std::string& picture, int trials, Bars* bars) {
  constexpr int kMostRequests = 4;
  std::mt19937 random(7);
  const auto draw = [&random](int low, int high) {
    return std::uniform_int_distribution<int>(low, high)(random);
  };
  Moments moments;
  std::vector<double> wall_ms, cpu_ms;
  for (int trial = 0; trial < trials; ++trial) {
    std::vector<std::string> ids;
    std::vector<std::shared_ptr<StreamRecord>> records;
    for (int i = draw(1, kMostRequests); i > 0; --i) {
      const bool with_picture = draw(0, 1) == 1;
      Request request = client->Ask(client->NewTokens(draw(10, with_picture ? 100 : 1000)), 800,
                                    with_picture ? picture : "");
      // Half of them share with those before.
      if (draw(0, 1) == 1) request.cache_salt = absl::StrCat("trial ", trial);
      ids.push_back(request.id);
      records.push_back(client->Submit(std::move(request)));
    }
    std::this_thread::sleep_for(std::chrono::microseconds(draw(0, 60'000)));
    Note(*client->engine().Stats(), &moments);
    const double begin = NowSeconds(), cpu_begin = CpuSeconds();
    for (const std::string& id : ids) {
      moments.done += !client->engine().Cancel("", id).ok();
    }
    while (LivePages(client->Pages()) > 0) {
    }
    for (const auto& record : records) record->Wait();
    wall_ms.push_back((NowSeconds() - begin) * 1e3);
    cpu_ms.push_back((CpuSeconds() - cpu_begin) * 1e3);
  }
  client->Flush();
  const PageMap map = client->Pages();
  const int64_t free = PagesIn(map, PageMap::kFree);
  const int64_t leaked = client->engine().Stats()->total_pages - free;
  std::printf(
      "cancel, %d trials: about %d queued, %d before or in image encoding, %d in prefill, %d in "
      "decode, %d done; median %.1f ms, 99 %% %.1f ms, slowest %.1f ms\n",
      trials, moments.queued, moments.encode, moments.prefill, moments.decode, moments.done,
      Quantile(wall_ms, 0.5), Quantile(wall_ms, 0.99), Quantile(wall_ms, 1));
  bars->AtMost("cancel: pages leaked", static_cast<double>(leaked), 0);
  bars->AtMost("cancel: ms of CPU time to pages back, slowest", Quantile(cpu_ms, 1), 50);
}

}  // namespace prefixd
