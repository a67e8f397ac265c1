// Metrics of the KV cache and the caches of images.
#include <algorithm>

#include "absl/strings/str_cat.h"
#include "server/metrics.h"

namespace prefixd {
namespace {

void AddPages(const EngineStats& stats, MetricList* list) {
  const CacheStats& cache = stats.cache;
  list->Gauge("prefixd_kv_cache_usage_ratio",
              "Share of pages that live requests hold or pinned prefixes keep; pages that can be "
              "evicted count as free.",
              KvUsageRatio(stats));
  constexpr char kPages[] = "prefixd_kv_pages";
  constexpr char kPagesHelp[] =
      "Pages by state: free, active (held by live requests), cached (can be evicted), pinned "
      "(kept by pinned prefixes alone).";
  list->Gauge(kPages, kPagesHelp, cache.free_pages, {{"state", "free"}});
  list->Gauge(kPages, kPagesHelp, cache.active_pages, {{"state", "active"}});
  list->Gauge(kPages, kPagesHelp, cache.evictable_pages, {{"state", "cached"}});
  list->Gauge(kPages, kPagesHelp, std::max(0, cache.cached_pages - cache.evictable_pages),
              {{"state", "pinned"}});
  list->Gauge("prefixd_kv_cache_info", "Always 1; tokens of a page and number of pages.", 1,
              {{"page_size", absl::StrCat(stats.page_slots)},
               {"num_pages", absl::StrCat(stats.total_pages)}});
  list->Gauge("prefixd_kv_page_size_tokens", "Tokens that a page holds.", stats.page_slots);
  list->Gauge("prefixd_kv_page_size_bytes", "Bytes of a page.", stats.page_bytes);
  list->Gauge("prefixd_kv_num_pages", "Pages in all.", stats.total_pages);
  list->Gauge("prefixd_kv_reserved_pages", "Pages promised to requests and not yet taken.",
              stats.reserved_pages);
}

void AddPrefixes(const CacheStats& cache, MetricList* list) {
  constexpr char kQueries[] = "prefixd_kv_prefix_query_tokens_total";
  constexpr char kQueriesHelp[] = "Prompt tokens that were looked up in the prefix cache.";
  list->Counter(kQueries, kQueriesHelp, cache.text_query_tokens, {{"kind", "text"}});
  list->Counter(kQueries, kQueriesHelp, cache.image_query_tokens, {{"kind", "image"}});
  constexpr char kHits[] = "prefixd_kv_prefix_hit_tokens_total";
  constexpr char kHitsHelp[] = "Prompt tokens that were found in the prefix cache.";
  list->Counter(kHits, kHitsHelp, cache.text_hit_tokens, {{"kind", "text"}});
  list->Counter(kHits, kHitsHelp, cache.image_hit_tokens, {{"kind", "image"}});
  constexpr char kMisses[] = "prefixd_kv_prefix_misses_total";
  constexpr char kMissesHelp[] = "Requests whose prompt was not found in full, by the reason.";
  const auto misses = [&](CacheMiss miss) { return cache.misses[static_cast<size_t>(miss)]; };
  list->Counter(kMisses, kMissesHelp, misses(CacheMiss::kBypassed), {{"reason", "bypassed"}});
  list->Counter(kMisses, kMissesHelp, misses(CacheMiss::kNotCached), {{"reason", "not_cached"}});
  list->Counter(kMisses, kMissesHelp, misses(CacheMiss::kEvicted), {{"reason", "evicted"}});
  list->Counter(kMisses, kMissesHelp, misses(CacheMiss::kDiverged), {{"reason", "diverged"}});
  list->Counter(kMisses, kMissesHelp, misses(CacheMiss::kNoScores), {{"reason", "no_scores"}});
  list->Counter("prefixd_kv_prefix_collisions_total",
                "Equal keys with different content; each was a miss.", cache.collisions);
  constexpr char kEvictions[] = "prefixd_kv_evictions_total";
  constexpr char kEvictionsHelp[] = "Pages that were evicted, by the cause.";
  list->Counter(kEvictions, kEvictionsHelp, cache.evicted_pages_lru, {{"cause", "lru"}});
  list->Counter(kEvictions, kEvictionsHelp, cache.evicted_pages_preempt, {{"cause", "preempt"}});
  list->Gauge("prefixd_kv_columns", "Columns (a page for each layer) in the prefix index.",
              cache.columns);
  list->Counter("prefixd_kv_published_columns_total", "Columns added to the prefix index.",
                cache.published_columns);
  list->Counter("prefixd_kv_evicted_columns_total", "Columns evicted from the prefix index.",
                cache.evicted_columns);
  list->Gauge("prefixd_pinned_prefixes", "Pinned prefixes.", cache.prefixes);
  list->Gauge("prefixd_pinned_pages",
              "Pages of pinned prefixes, also those that requests use at the moment.",
              cache.pinned_pages);
}

void AddImages(const CacheStats& cache, MetricList* list) {
  list->Counter("prefixd_image_feature_hits_total", "Images whose features were cached.",
                cache.feature_hits);
  list->Counter("prefixd_image_feature_misses_total", "Images that ran through the vision tower.",
                cache.tower_runs);
  list->Gauge("prefixd_image_feature_bytes", "Bytes of cached image features.",
              cache.feature_bytes);
  list->Gauge("prefixd_image_feature_entries", "Images with cached features.",
              cache.feature_entries);
  list->Counter("prefixd_image_decode_hits_total", "Images whose decoded pixels were cached.",
                cache.image_hits);
  list->Counter("prefixd_image_decode_misses_total", "Images that had to be decoded.",
                cache.image_misses);
  list->Gauge("prefixd_image_decoded_bytes", "Bytes of cached pixels.", cache.image_bytes);
  list->Gauge("prefixd_image_decoded_entries", "Images with cached pixels.", cache.image_entries);
}

}  // namespace

void AddCacheMetrics(const EngineStats& stats, MetricList* list) {
  AddPages(stats, list);
  AddPrefixes(stats.cache, list);
  AddImages(stats.cache, list);
}

}  // namespace prefixd
