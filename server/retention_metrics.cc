// Metrics of KV retention and of the quality guard.
#include <iterator>

#include "absl/strings/str_cat.h"
#include "server/convert_retention.h"
#include "server/metrics.h"

namespace prefixd {
namespace {

// In the order of RetentionScope.
constexpr const char* kScopeNames[] = {"off", "exact", "shared"};
static_assert(std::size(kScopeNames) == std::tuple_size_v<decltype(RetentionStats::requests)>);

void AddSelections(const RetentionStats& stats, MetricList* list) {
  for (size_t i = 0; i < stats.requests.size(); ++i) {
    list->Counter("prefixd_retention_requests_total",
                  "Requests that ended, by the scope of retention that ran.", stats.requests[i],
                  {{"scope", kScopeNames[i]}});
  }
  list->Counter("prefixd_retention_selections_total",
                "Requests that ran on a compressed prompt or prefix.", stats.selections);
  constexpr char kRatio[] = "prefixd_retention_kept_ratio";
  constexpr char kRatioHelp[] =
      "Share of the tokens that a layer kept, over all selections since start.";
  list->Declare(prometheus::MetricType::Gauge, kRatio, kRatioHelp);
  for (size_t i = 0; i < stats.kept_tokens.size() && stats.selected_from > 0; ++i) {
    list->Gauge(
        kRatio, kRatioHelp,
        static_cast<double>(stats.kept_tokens[i]) / static_cast<double>(stats.selected_from),
        {{"layer", absl::StrCat(i)}});
  }
  list->Gauge("prefixd_retention_score_mass_ratio",
              "Share of the scores that the kept tokens have, mean over the selections since "
              "start; 1 without any.",
              MeanScoreMass(stats));
  list->Counter("prefixd_retention_decode_drops_total",
                "Slots that new tokens took over from older ones, of all layers.",
                stats.decode_drops);
  list->Counter("prefixd_retention_saved_bytes_total",
                "Bytes of KV less than that of all tokens, at the end of each request.",
                stats.saved_kv_bytes);
}

void AddSnapshots(const RetentionStats& stats, MetricList* list) {
  list->Counter("prefixd_retention_snapshot_hits_total",
                "Compressed prefixes that were looked up and found.", stats.snapshot_hits);
  list->Counter("prefixd_retention_snapshot_misses_total",
                "Compressed prefixes that were looked up and not found.", stats.snapshot_misses);
  list->Counter("prefixd_retention_snapshots_made_total", "Compressed prefixes that were made.",
                stats.snapshots_made);
  list->Counter("prefixd_retention_snapshots_evicted_total",
                "Compressed prefixes that were dropped for others.", stats.snapshots_evicted);
  list->Gauge("prefixd_retention_snapshots", "Compressed prefixes.", stats.snapshots);
  list->Gauge("prefixd_retention_snapshot_pages", "Pages that compressed prefixes hold.",
              stats.snapshot_pages);
  list->Gauge("prefixd_retention_score_bytes", "Bytes of scores stored with cached prefixes.",
              stats.score_bytes);
  list->Gauge("prefixd_retention_default_budget_ratio",
              "Budget of requests that name none: the option, or what the guard raised it to.",
              stats.default_budget);
}

void AddGuard(const RetentionStats& stats, MetricList* list) {
  list->Counter("prefixd_guard_sampled_total",
                "Requests that the quality guard sampled to compute them again.",
                stats.guard_sampled);
  list->Counter("prefixd_guard_replayed_total",
                "Sampled requests that were computed again with everything kept.",
                stats.guard_replayed);
  list->Counter("prefixd_guard_dropped_total", "Sampled requests that were not computed again.",
                stats.guard_dropped);
  list->Counter("prefixd_guard_raises_total", "Times that the guard raised the default budget.",
                stats.guard_raises);
  list->Gauge("prefixd_guard_agreement_ratio",
              "Share of places in the outputs where the most likely token is the same with "
              "everything kept, over the last replays; 1 without any.",
              stats.guard_agreement);
  list->Gauge("prefixd_guard_drift_nats",
              "Mean absolute difference of log-probabilities to those with everything kept, nats "
              "a token, over the last replays.",
              stats.guard_logprob_drift);
}

}  // namespace

void AddRetentionMetrics(const RetentionStats& stats, MetricList* list) {
  AddSelections(stats, list);
  AddSnapshots(stats, list);
  AddGuard(stats, list);
}

}  // namespace prefixd
