#include "server/cache_to_proto.h"

#include "server/convert_retention.h"

namespace prefixd {
namespace {

void FillPages(const EngineStats& stats, v1::GetCacheStatsResponse* out) {
  const uint64_t total = static_cast<uint64_t>(stats.total_pages);
  const uint64_t used = static_cast<uint64_t>(stats.total_pages - stats.free_pages);
  out->set_total_pages(stats.total_pages);
  out->set_free_pages(stats.free_pages);
  out->set_reserved_pages(stats.reserved_pages);
  out->set_page_bytes(stats.page_bytes);
  out->set_page_slots(stats.page_slots);
  out->set_total_bytes(total * stats.page_bytes);
  out->set_used_bytes(used * stats.page_bytes);
  out->set_active_pages(stats.cache.active_pages);
  out->set_cached_pages(stats.cache.cached_pages);
  out->set_evictable_pages(stats.cache.evictable_pages);
  out->set_pinned_pages(stats.cache.pinned_pages);
}

void FillMisses(const CacheStats& cache, v1::CacheMisses* out) {
  const auto count = [&](CacheMiss miss) { return cache.misses[static_cast<size_t>(miss)]; };
  out->set_none(count(CacheMiss::kNone));
  out->set_bypassed(count(CacheMiss::kBypassed));
  out->set_not_cached(count(CacheMiss::kNotCached));
  out->set_evicted(count(CacheMiss::kEvicted));
  out->set_diverged(count(CacheMiss::kDiverged));
  out->set_no_scores(count(CacheMiss::kNoScores));
}

void FillPrefixes(const CacheStats& cache, v1::GetCacheStatsResponse* out) {
  out->set_columns(cache.columns);
  out->set_prefixes(cache.prefixes);
  out->set_text_query_tokens(cache.text_query_tokens);
  out->set_text_hit_tokens(cache.text_hit_tokens);
  out->set_image_query_tokens(cache.image_query_tokens);
  out->set_image_hit_tokens(cache.image_hit_tokens);
  out->set_computed_tokens(cache.computed_tokens);
  out->set_published_columns(cache.published_columns);
  out->set_evicted_columns(cache.evicted_columns);
  out->set_evicted_pages_lru(cache.evicted_pages_lru);
  out->set_evicted_pages_preempt(cache.evicted_pages_preempt);
  out->set_collisions(cache.collisions);
  FillMisses(cache, out->mutable_misses());
}

void FillImages(const CacheStats& cache, v1::GetCacheStatsResponse* out) {
  out->set_feature_hits(cache.feature_hits);
  out->set_tower_runs(cache.tower_runs);
  out->set_feature_bytes(cache.feature_bytes);
  out->set_feature_entries(cache.feature_entries);
  out->set_image_hits(cache.image_hits);
  out->set_image_misses(cache.image_misses);
  out->set_image_bytes(cache.image_bytes);
  out->set_image_entries(cache.image_entries);
}

void ToProto(const TenantStats& tenant, v1::TenantCacheStats* out) {
  out->set_tenant(tenant.name);
  out->set_waiting(tenant.waiting);
  out->set_running(tenant.running);
  out->set_active_pages(tenant.active_pages);
  out->set_cached_pages(tenant.cached_pages);
  out->set_page_quota(tenant.page_quota);
  out->set_page_floor(tenant.page_floor);
  out->set_prefixes(tenant.prefixes);
  out->set_prompt_tokens(tenant.prompt_tokens);
  out->set_cached_tokens(tenant.cached_tokens);
  out->set_generated_tokens(tenant.generated_tokens);
}

}  // namespace

void ToProto(const EngineStats& stats, v1::GetCacheStatsResponse* out) {
  FillPages(stats, out);
  FillPrefixes(stats.cache, out);
  FillImages(stats.cache, out);
  out->set_preemptions(stats.preemptions);
  out->set_recomputed_tokens(stats.recomputed_tokens);
  for (const TenantStats& tenant : stats.tenants) ToProto(tenant, out->add_tenants());
  ToProto(stats.retention, out->mutable_retention());
}

void ToProto(const FlushResult& result, v1::FlushCacheResponse* out) {
  out->set_pages(result.pages);
  out->set_columns(result.columns);
  out->set_feature_bytes(result.feature_bytes);
  out->set_image_bytes(result.image_bytes);
}

void ToProto(const PageMap& map, v1::GetPageMapResponse* out) {
  out->set_pages_per_cell(map.pages_per_cell);
  for (const std::array<int32_t, 5>& pages : map.cells) {
    v1::PageMapCell* const cell = out->add_cells();
    cell->set_free(pages[PageMap::kFree]);
    cell->set_active(pages[PageMap::kActive]);
    cell->set_shared(pages[PageMap::kShared]);
    cell->set_cached(pages[PageMap::kCached]);
    cell->set_pinned(pages[PageMap::kPinned]);
  }
}

}  // namespace prefixd
