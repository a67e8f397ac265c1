// Metrics of ranking names and scoring texts.
#include "server/metrics.h"

namespace prefixd {

void AddScoringMetrics(const ScoringStats& stats, MetricList* list) {
  list->Counter("prefixd_scoring_contexts_total",
                "Contexts that names or texts were scored behind; an ensemble counts each.",
                stats.requests);
  list->Counter("prefixd_scoring_candidates_total", "Names and texts that were scored.",
                stats.candidates);
  list->Counter("prefixd_scoring_computed_rows_total",
                "Rows that scoring computed beside the contexts.", stats.computed_rows);
  list->Counter("prefixd_scoring_saved_rows_total",
                "Rows that scoring one by one over cached contexts had computed beyond.",
                stats.saved_rows);
  list->Counter("prefixd_scoring_pruned_nodes_total",
                "Nodes of token trees left out because they could not lead to one of the best.",
                stats.pruned_nodes);
  list->Counter("prefixd_scoring_passes_total", "Forward passes with rows of names or texts.",
                stats.passes);
  list->Counter("prefixd_scoring_context_hits_total", "Contexts of which no row was computed.",
                stats.context_hits);
  list->Gauge("prefixd_class_sets", "Class sets of all tenants.", stats.class_sets);
}

}  // namespace prefixd
