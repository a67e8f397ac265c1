// Pages that a budget frees, and what a second session on a snapshot computes and holds.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/check.h"
#include "bench/retention_parts.h"
#include "cache/page_pool.h"

namespace prefixd {
namespace {

// Takes one token and then stalls, so that the request keeps its KV as it is.
class StallingReader final : public EventSink {
 public:
  void OnEvent(Event event) override {
    std::lock_guard lock(mutex_);
    if (std::holds_alternative<DeltaEvent>(event)) stalled_ = true;
    if (std::holds_alternative<FailedEvent>(event)) ended_ = true;
    PREFIXD_CHECK(!std::holds_alternative<FinishedEvent>(event));
    changed_.notify_all();
  }
  bool Writable() const override {
    std::lock_guard lock(mutex_);
    return !stalled_;
  }
  void WaitEnd() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return ended_; });
  }

 private:
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  bool stalled_ = false, ended_ = false;
};

// Pages that are in use once the prompt of `request` is in the KV, and nothing else is.
int64_t PagesAfterPrompt(EngineClient* client, Request request) {
  Engine& engine = client->engine();
  client->Flush();
  const auto sink = std::make_shared<StallingReader>();
  const std::string id = request.id;
  PREFIXD_CHECK(engine.Submit(std::move(request), sink).ok());
  int64_t pages = 0;
  while (pages == 0) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
    const auto stats = engine.Stats();
    const bool parked = stats->requests.size() == 1 && stats->requests[0].state == "parked";
    if (parked) pages = stats->total_pages - stats->free_pages;
  }
  PREFIXD_CHECK(engine.Cancel("", id).ok());
  sink->WaitEnd();
  while (engine.Stats()->running > 0) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return pages;
}

}  // namespace

Request WithBudget(Request request, RetentionScope scope, double budget) {
  request.retention.scope = scope;
  request.retention.budget = budget;
  request.retention.policy = "prefixkv";
  return request;
}

void MeasureFreedPages(EngineClient* client, const std::string& picture, const std::string& profile,
                       Bars* bars) {
  constexpr int kPromptTokens = 640;
  const EngineModelInfo& model = client->engine().model_info();
  const auto ask = [&] {
    Request request =
        client->Ask(client->NewTokens(kPromptTokens - model.tokens_per_image), 16, picture);
    request.bypass_prefix_cache = true;
    return request;
  };
  const int64_t full = PagesAfterPrompt(client, ask());
  PREFIXD_CHECK(full == int64_t{kPromptTokens} / kSlotsPerPage * model.num_layers);
  for (const double budget : {0.5, 0.2}) {
    Request request = WithBudget(ask(), RetentionScope::kExact, budget);
    request.retention.profile = profile;
    const int64_t pages = PagesAfterPrompt(client, std::move(request));
    std::printf("%s, %s, budget %.0f %%: %ld of %ld pages stay\n", model.name.c_str(),
                profile.c_str(), budget * 100, static_cast<long>(pages), static_cast<long>(full));
    bars->AtLeast(
        absl::StrFormat("freed pages / (1 - budget) of all, budget %.0f %%, in %%", budget * 100),
        static_cast<double>(full - pages) / ((1 - budget) * static_cast<double>(full)) * 100, 95);
  }
}

void MeasureSecondSession(EngineClient* client, const std::string& name, const std::string& picture,
                          int rounds, Bars* bars) {
  constexpr int kQuestionTokens = 44, kNewTokens = 32;
  constexpr double kBudget = 0.2;
  const int64_t layers = client->engine().model_info().num_layers;
  const double page_bytes = static_cast<double>(client->engine().Stats()->page_bytes);
  int tower_runs = 0, recomputed = 0, misses = 0, different = 0;
  double most_pages = 0;
  for (int round = 0; round < rounds; ++round) {
    const std::vector<int32_t> question = client->NewTokens(kQuestionTokens);
    const auto ask = [&] {
      Request request =
          WithBudget(client->Ask(question, kNewTokens, picture), RetentionScope::kShared, kBudget);
      request.cache_salt = absl::StrCat("round ", round);  // The picture is new in it.
      return request;
    };
    const auto first = client->Run(ask());
    PREFIXD_CHECK(first->finished().cache.images_encoded == 1);
    PREFIXD_CHECK(!first->finished().retention.snapshot_hit);
    const auto second = client->Run(ask());
    const FinishedEvent& end = second->finished();
    misses += end.retention.snapshot_hit ? 0 : 1;
    tower_runs += end.cache.images_encoded;
    recomputed = std::max(recomputed, end.cache.computed_tokens - kQuestionTokens);
    different += second->token_ids() != first->token_ids();
    most_pages = std::max(most_pages, static_cast<double>(end.cache.kv_bytes) / page_bytes);
  }
  // A layer drops when it is a whole slot over its budget, so it may be two slots above.
  const double prefix = kBudget * client->engine().model_info().tokens_per_image;
  const double tail = kQuestionTokens + kBudget * kNewTokens + 2;
  const double allowed = static_cast<double>(layers) * ((prefix + tail) / kSlotsPerPage + 1);
  bars->AtMost(name + ", second session: snapshots missed", misses, 0);
  bars->AtMost(name + ", second session: prefix tokens computed", recomputed, 0);
  bars->AtMost(name + ", second session: runs of the vision tower", tower_runs, 0);
  bars->AtMost(name + ", second session: answers that differ", different, 0);
  bars->AtMost(name + ", second session: pages (bar: budget, tail, one a layer)", most_pages,
               allowed);
}

}  // namespace prefixd
