// Stage soak: minutes of mixed sessions on a pool that is too small, with forks, cancels, budgets,
// pictures and evictions, while the cache checks itself after every step. Afterwards every page is
// free, and neither the card's memory nor the host's has grown.
#include <cuda_runtime.h>

#include <algorithm>
#include <deque>
#include <fstream>
#include <random>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/status_macros.h"
#include "tools/acceptance/play.h"
#include "tools/acceptance/stages.h"
#include "tools/random_model.h"

namespace prefixd::acceptance {
namespace {

constexpr size_t kMostLive = 24;
// The driver takes memory in pieces of 32 MiB.
constexpr double kMaxDeviceGrowth = 64 << 20, kMaxHostGrowth = 64 << 20;  // Bytes.

struct Memory {
  double device = 0, host = 0;  // In use, bytes.
};

Memory MemoryNow() {
  Memory memory;
  size_t free_bytes = 0, total_bytes = 0;
  if (cudaMemGetInfo(&free_bytes, &total_bytes) == cudaSuccess) {
    memory.device = static_cast<double>(total_bytes - free_bytes);
  }
  // Pages of this process that are resident, pinned ones too.
  std::ifstream pages("/proc/self/statm");
  double all = 0, resident = 0;
  if (pages >> all >> resident) memory.host = resident * 4096;
  return memory;
}

class Soak {
 public:
  Soak(const StageSettings& settings, StageReport* report) : settings_(settings), report_(report) {}

  absl::Status Run() {
    PREFIXD_RETURN_IF_ERROR(Open());
    const absl::Time start = clock_.Now();
    const absl::Duration length = absl::Seconds(settings_.soak_seconds);
    Memory warm;
    bool is_warm = false;
    while (clock_.Now() - start < length) {
      while (live_.size() < kMostLive) PREFIXD_RETURN_IF_ERROR(Submit());
      CancelSome();
      Reap();
      if (!is_warm && clock_.Now() - start > length / 3) {
        warm = MemoryNow();
        is_warm = true;
      }
      absl::SleepFor(absl::Microseconds(500));
    }
    for (const Live& live : live_) {
      PREFIXD_RETURN_IF_ERROR(live.listener->Wait(absl::Minutes(2)));
    }
    Reap();
    return CheckEnd(warm);
  }

 private:
  struct Live {
    std::string id;
    absl::Time cancel_at;
    std::shared_ptr<Listener> listener;
  };

  absl::Status Open() {
    EngineOptions options = {.model_path = absl::StrCat(settings_.out, "/tiny-llava"),
                             .backend = "cuda",
                             .kv_memory_bytes = 2 << 20};
    options.feature_cache_memory = 1 << 20;
    options.image_cache_memory = 1 << 20;
    options.check_invariants = true;
    PREFIXD_RETURN_IF_ERROR(WriteRandomModel({.shape = "tiny-llava"}, options.model_path));
    PREFIXD_ASSIGN_OR_RETURN(engine_, OpenAndLoad(settings_.open_engine, options));
    for (int i = 1; i <= 5; ++i) {
      PREFIXD_ASSIGN_OR_RETURN(
          std::string picture,
          ReadFile(absl::StrFormat("%s/models/demo/pictures/picture-%02d.png", settings_.source, i),
                   1 << 24));
      pictures_.push_back(std::move(picture));
    }
    return absl::OkStatus();
  }

  bool Chance(uint32_t percent) { return random_() % 100 < percent; }

  absl::Status Submit() {
    const int32_t vocabulary = engine_->model_info().vocab_size;
    // Few beginnings, so that many share.
    std::vector<int32_t> ids =
        TokensOf(random_() % 12, 30 + static_cast<int>(random_() % 3) * 60, vocabulary);
    const std::vector<int32_t> rest = TokensOf(static_cast<uint32_t>(random_()),
                                               1 + static_cast<int>(random_() % 40), vocabulary);
    ids.insert(ids.end(), rest.begin(), rest.end());
    const std::string id = absl::StrCat(++submitted_);
    const std::string picture = Chance(30) ? pictures_[random_() % pictures_.size()] : "";
    Request request =
        NewRequest(*engine_, id, std::move(ids), 1 + static_cast<int>(random_() % 60), picture);
    if (Chance(25)) request.output.num_choices = 2 + static_cast<int32_t>(random_() % 2);
    if (Chance(50)) {
      request.sampling = {.temperature = 1.0f, .top_k = 40, .seed = random_()};
    }
    if (Chance(35)) {
      // What is shared is a picture's KV.
      request.retention.scope =
          picture.empty() || Chance(50) ? RetentionScope::kExact : RetentionScope::kShared;
      request.retention.budget = 0.2 + 0.2 * static_cast<double>(random_() % 4);
    }
    if (Chance(20)) request.priority = static_cast<int32_t>(random_() % 3) - 1;
    auto listener = std::make_shared<Listener>();
    PREFIXD_RETURN_IF_ERROR(engine_->Submit(std::move(request), listener));
    const absl::Time cancel_at =
        Chance(15) ? clock_.Now() + absl::Milliseconds(random_() % 100) : absl::InfiniteFuture();
    live_.push_back({id, cancel_at, std::move(listener)});
    return absl::OkStatus();
  }

  void CancelSome() {
    for (Live& live : live_) {
      if (clock_.Now() < live.cancel_at) continue;
      live.cancel_at = absl::InfiniteFuture();
      engine_->Cancel("", live.id).IgnoreError();  // It may have ended.
    }
  }

  // Takes those that have ended.
  void Reap() {
    for (size_t i = 0; i < live_.size();) {
      if (!live_[i].listener->ended()) {
        ++i;
        continue;
      }
      const absl::Status status = live_[i].listener->answer().status;
      if (status.ok()) {
        ++finished_;
      } else if (absl::IsCancelled(status)) {
        ++cancelled_;
      } else if (absl::IsResourceExhausted(status)) {
        ++refused_;
      } else {
        report_->Fail(absl::StrCat("request ", live_[i].id, ": ", status.message()));
      }
      live_.erase(live_.begin() + static_cast<ptrdiff_t>(i));
    }
  }

  absl::Status CheckEnd(const Memory& warm) {
    Flush(engine_.get());
    std::shared_ptr<const EngineStats> stats;
    for (int i = 0; i < 1000; ++i) {
      stats = engine_->Stats();
      if (stats->running == 0 && stats->free_pages == stats->total_pages) break;
      absl::SleepFor(absl::Milliseconds(5));
    }
    const Memory end = MemoryNow();
    auto& facts = report_->facts;
    facts.emplace_back("requests",
                       absl::StrCat(submitted_, ": ", finished_, " finished, ", cancelled_,
                                    " cancelled, ", refused_, " found no room"));
    facts.emplace_back("steps", absl::StrCat(stats->steps));
    facts.emplace_back("preemptions", absl::StrCat(stats->preemptions));
    facts.emplace_back("evicted pages", absl::StrCat(stats->cache.evicted_pages_lru));
    facts.emplace_back("slots dropped while decoding", absl::StrCat(stats->retention.decode_drops));
    facts.emplace_back("pages at the end",
                       absl::StrCat(stats->free_pages, " of ", stats->total_pages, " free"));
    facts.emplace_back("growth of the card's memory",
                       absl::StrFormat("%.1f MiB", (end.device - warm.device) / 1048576));
    facts.emplace_back("growth of the host's memory",
                       absl::StrFormat("%.1f MiB", (end.host - warm.host) / 1048576));
    if (stats->free_pages != stats->total_pages) report_->Fail("pages are not free at the end");
    if (finished_ == 0) report_->Fail("no request finished");
    if (end.device - warm.device > kMaxDeviceGrowth) report_->Fail("the card's memory grows");
    if (end.host - warm.host > kMaxHostGrowth) report_->Fail("the host's memory grows");
    return absl::OkStatus();
  }

  const StageSettings& settings_;
  StageReport* const report_;
  const MonotonicClock clock_;
  std::mt19937 random_{1};
  std::unique_ptr<Engine> engine_;
  std::vector<std::string> pictures_;
  std::deque<Live> live_;
  uint64_t submitted_ = 0, finished_ = 0, cancelled_ = 0, refused_ = 0;
};

}  // namespace

StageReport RunSoak(const StageSettings& settings) {
  StageReport report;
  StageSettings used = settings;
  if (used.quick) used.soak_seconds = std::min(used.soak_seconds, 30.0);
  Soak soak(used, &report);
  report.FailUnless(soak.Run());
  return report;
}

}  // namespace prefixd::acceptance
