// What a scrape of /metrics returns. Built from snapshots alone: no engine lock is taken, and the
// engine is never waited for. docs/operations.md lists the metrics. Free functions; thread-safe.
#ifndef PREFIXD_SERVER_METRICS_H_
#define PREFIXD_SERVER_METRICS_H_

#include <string>
#include <vector>

#include <prometheus/metric_family.h>

#include "engine/engine.h"
#include "server/metric_list.h"
#include "server/serving_context.h"

namespace prefixd {

// All families in a fixed order; with the option metrics-compat=vllm also vLLM's names.
std::vector<prometheus::MetricFamily> CollectMetrics(const ServingContext& context);

// As CollectMetrics, in Prometheus' text format (version 0.0.4).
std::string MetricsText(const ServingContext& context);

// The share of pages that live requests hold or pinned prefixes keep, in [0, 1]. Pages that the
// cache could give away count as free: a router must not take a warm server for a full one.
double KvUsageRatio(const EngineStats& stats);

// --- Parts of CollectMetrics

void AddServerMetrics(const ServingContext& context, const EngineStats& stats, MetricList* list);
void AddEngineMetrics(const EngineStats& stats, MetricList* list);
void AddCacheMetrics(const EngineStats& stats, MetricList* list);
void AddRetentionMetrics(const RetentionStats& stats, MetricList* list);
void AddScoringMetrics(const ScoringStats& stats, MetricList* list);
// Of /proc/self; what cannot be read is left out.
void AddProcessMetrics(absl::Time start, MetricList* list);
// `list` carries vLLM's labels model_name and engine.
void AddVllmMetrics(const EngineStats& stats, MetricList* list);

}  // namespace prefixd

#endif  // PREFIXD_SERVER_METRICS_H_
