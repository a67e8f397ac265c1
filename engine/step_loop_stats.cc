// What StepLoop tells of itself: statistics, the page map, and the checks of its bookkeeping.
#include <algorithm>
#include <numeric>

#include "base/check.h"
#include "engine/step_loop.h"

namespace prefixd {

int64_t StepLoop::HeldPages(const ActiveRequest& request) const {
  return OwnPages(cache_, request) + cache_.SharedPages(request.first().kv);
}

std::vector<const KvSequence*> StepLoop::LiveSequences() const {
  std::vector<const KvSequence*> alive;
  for (const auto& request : running_) {
    for (const auto& choice : request->choices) alive.push_back(&choice->kv);
  }
  return alive;
}

namespace {

int32_t CachedPositions(const KvSequence& kv) {
  int64_t slots = 0;
  for (int i = 0; i < kv.num_layers(); ++i) slots += kv.layer(i).length();
  return static_cast<int32_t>((slots + kv.num_layers() - 1) / kv.num_layers());
}

}  // namespace

int32_t StepLoop::CountCached(const Prompt& prompt) const {
  if (!prompt.root_key) return 0;
  if (model_->spec().sharing == Sharing::kWholePrefix) {
    const ContentKey key = SnapshotKey(WholePrefixSpecOf(prompt));
    const bool known = prompt.keyed_rows == static_cast<int32_t>(prompt.token_ids.size());
    return known && cache_.snapshots().Contains(key) ? prompt.keyed_rows - 1 : 0;
  }
  return cache_.index().Peek(
      *prompt.root_key, prompt.tokens(), prompt.column_keys,
      std::min(prompt.keyed_rows, static_cast<int32_t>(prompt.token_ids.size()) - 1));
}

void StepLoop::FillStats(EngineStats* stats) const {
  const absl::Time now = clock_->Now();
  stats->waiting = static_cast<int32_t>(waiting_.size());
  stats->running = static_cast<int32_t>(running_.size());
  stats->total_pages = cache_.num_pages();
  stats->free_pages = cache_.num_free_pages();
  stats->page_bytes = options_.page_bytes;
  stats->page_slots = kPageSlots;
  stats->steps = steps_;
  stats->step_time = step_time_;
  stats->cache_time = cache_time_;
  stats->prompt_tokens = prompt_tokens_;
  stats->generated_tokens = generated_tokens_;
  stats->images = images_;
  stats->requests_finished = finished_;
  stats->requests_failed = failed_;
  stats->preemptions = preemptions_;
  stats->recomputed_tokens = recomputed_;
  stats->finishes = finishes_;
  stats->histograms = histograms_;
  FillCacheStats(&stats->cache);
  FillRetentionStats(&stats->retention);
  stats->scoring = scoring_totals_;
  FillTenantStats(&stats->tenants);
  const auto add = [&](const ActiveRequest& request, absl::string_view state) {
    RequestInfo info{.id = request.request.id,
                     .tenant = request.request.tenant,
                     .state = std::string(request.parked ? "parked" : state),
                     .prompt_tokens = request.prompt_rows(),
                     .cached_tokens = request.receipt.hit_tokens,
                     .computed_tokens = std::min(request.computed_rows(), request.prompt_rows()),
                     .kv_pages = static_cast<int32_t>(HeldPages(request)),
                     .cached_positions = CachedPositions(request.first().kv),
                     .priority = request.request.priority,
                     .preemptions = request.receipt.preemptions,
                     .age = now - request.submitted};
    for (const auto& choice : request.choices) {
      info.generated_tokens +=
          static_cast<int32_t>(std::max(choice->generated.size(), choice->num_sent));
    }
    stats->requests.push_back(std::move(info));
  };
  int64_t promised = 0;
  for (const auto& request : running_) {
    const bool decodes = request->phase == ActiveRequest::Phase::kDecode;
    const bool scores = request->phase == ActiveRequest::Phase::kScore;
    add(*request, decodes ? "decode" : scores ? "score" : "prefill");
    promised += std::max<int64_t>(0, request->max_pages - HeldPages(*request));
  }
  for (const auto& request : waiting_) add(*request, "queued");
  if (options_.reserve_all) stats->reserved_pages = static_cast<int32_t>(promised);
}

void StepLoop::FillCacheStats(CacheStats* stats) const {
  *stats = totals_;
  const PrefixIndex& index = cache_.index();
  const int64_t used = cache_.num_pages() - cache_.num_free_pages();
  stats->free_pages = cache_.num_free_pages();
  stats->evictable_pages =
      static_cast<int32_t>(index.evictable_pages() + cache_.snapshots().evictable_pages());
  stats->pinned_pages =
      static_cast<int32_t>(std::accumulate(pinned_pages_.begin(), pinned_pages_.end(), int64_t{0}));
  stats->cached_pages = stats->evictable_pages + stats->pinned_pages;
  stats->active_pages = static_cast<int32_t>(used - stats->cached_pages);
  stats->columns = index.num_columns();
  stats->prefixes = options_.prefixes != nullptr ? options_.prefixes->size() : 0;
  stats->published_columns = index.counters().published;
  stats->evicted_columns = index.counters().evicted;
  stats->evicted_pages_lru = index.counters().evicted * static_cast<uint64_t>(cache_.num_layers());
  stats->evicted_pages_preempt = preempted_pages_;
  stats->collisions = index.counters().collisions;
  stats->feature_bytes = features_.bytes();
  stats->feature_entries = features_.size();
}

void StepLoop::FillTenantStats(std::vector<TenantStats>* stats) const {
  for (size_t t = 0; t < options_.tenants.size(); ++t) {
    const int32_t tenant = static_cast<int32_t>(t);
    const PrefixIndex& index = cache_.index();
    const TenantPages& pages = cache_.tenant(tenant);
    const std::string& name = options_.tenants[t].name;
    stats->push_back(
        {.name = name,
         .cached_pages = static_cast<int32_t>(index.evictable_pages(tenant) +
                                              cache_.snapshots().evictable_pages(tenant)),
         .page_quota = static_cast<int32_t>(pages.quota),
         .page_floor = static_cast<int32_t>(pages.floor),
         .prefixes = options_.prefixes != nullptr ? options_.prefixes->size(name) : 0,
         .prompt_tokens = tenant_totals_[t].prompt_tokens,
         .cached_tokens = tenant_totals_[t].cached_tokens,
         .generated_tokens = tenant_totals_[t].generated_tokens});
    int64_t active = index.num_pages(tenant) - index.evictable_pages(tenant) +
                     cache_.snapshots().num_pages(tenant) -
                     cache_.snapshots().evictable_pages(tenant);
    for (const auto& request : running_) {
      if (request->tenant != tenant) continue;
      ++stats->back().running;
      active += OwnPages(cache_, *request);
    }
    for (const auto& request : waiting_) stats->back().waiting += request->tenant == tenant;
    stats->back().active_pages = static_cast<int32_t>(active);
  }
}

PageMap StepLoop::MapPages(int32_t max_cells) const {
  PREFIXD_CHECK(max_cells >= 1);
  const int32_t num_pages = cache_.num_pages();
  std::vector<PageMap::State> states(static_cast<size_t>(num_pages), PageMap::kFree);
  for (PageId id = 0; id < num_pages; ++id) {
    if (cache_.num_claims(id) > 0) states[id] = PageMap::kActive;
  }
  cache_.index().ForEachPage([&](PageId id, bool pinned) {
    const int32_t users = cache_.num_claims(id) - 1;
    states[id] = users > 1    ? PageMap::kShared
                 : users == 1 ? PageMap::kActive
                 : pinned     ? PageMap::kPinned
                              : PageMap::kCached;
  });
  cache_.snapshots().ForEachPage([&](PageId id, bool used) {
    const int32_t users = cache_.num_claims(id) - 1;
    states[id] = users > 1 ? PageMap::kShared : used ? PageMap::kActive : PageMap::kCached;
  });
  PageMap map{.pages_per_cell = std::max(1, (num_pages + max_cells - 1) / max_cells)};
  map.cells.resize(static_cast<size_t>((num_pages + map.pages_per_cell - 1) / map.pages_per_cell));
  for (PageId id = 0; id < num_pages; ++id) ++map.cells[id / map.pages_per_cell][states[id]];
  return map;
}

void StepLoop::CheckInvariants() const {
  std::vector<const KvSequence*> sequences = LiveSequences();
  for (const auto& [step, kv] : retired_) sequences.push_back(&kv);
  cache_.CheckInvariants(sequences);
  PREFIXD_CHECK(retired_.empty() || StepsInFlight());
  for (const auto& request : running_) {
    PREFIXD_CHECK(!request->ended && request->phase != ActiveRequest::Phase::kWaiting);
    PREFIXD_CHECK(HeldPages(*request) <= request->max_pages);
    for (const auto& choice : request->choices) {
      if (request->scoring) continue;  // Rows of candidates are no tokens of the choice.
      PREFIXD_CHECK(choice->finished || choice->pending_rows() >= 0);
      PREFIXD_CHECK(choice->tokens.size() ==
                    request->prompt.token_ids.size() + choice->generated.size());
    }
  }
  for (const auto& request : waiting_) {
    PREFIXD_CHECK(request->phase == ActiveRequest::Phase::kWaiting);
    for (const auto& choice : request->choices) PREFIXD_CHECK(choice->kv.num_pages() == 0);
  }
}

}  // namespace prefixd
