#include "server/metrics.h"

#include <algorithm>
#include <array>
#include <iterator>
#include <sstream>
#include <utility>

#include <prometheus/text_serializer.h>

#include "absl/algorithm/container.h"
#include "absl/strings/str_cat.h"
#include "engine/error_reasons.h"
#include "server/to_proto.h"

namespace prefixd {
namespace {

// How calls end that the server took on; every other reason is a refusal.
constexpr const char* kNotRefused[] = {reason::kCancelled, reason::kDeadlineExceeded,
                                       reason::kEngineFailed, reason::kSlowReader};
constexpr const char* kImageReasons[] = {reason::kImageCorrupt, reason::kImageFormatUnsupported,
                                         reason::kImageTooLarge};

void AddCallMetrics(const CallCounts::Snapshot& calls, MetricList* list) {
  using prometheus::MetricType;
  constexpr char kCalls[] = "prefixd_requests_total";
  constexpr char kCallsHelp[] = "Calls that ended, by gRPC method and status code.";
  list->Declare(MetricType::Counter, kCalls, kCallsHelp);
  for (const auto& [key, count] : calls.by_method) {
    list->Counter(kCalls, kCallsHelp, count,
                  {{"method", key.first}, {"code", std::string(StatusCodeName(key.second))}});
  }
  constexpr char kRefused[] = "prefixd_request_rejections_total";
  constexpr char kRefusedHelp[] = "Calls that were refused, by the reason in docs/errors.md.";
  list->Declare(MetricType::Counter, kRefused, kRefusedHelp);
  for (const auto& [name, count] : calls.by_reason) {
    if (absl::c_linear_search(kNotRefused, name)) continue;
    list->Counter(kRefused, kRefusedHelp, count, {{"reason", name}});
  }
  for (const char* name : kImageReasons) {
    const auto found = calls.by_reason.find(name);
    list->Counter("prefixd_image_decode_failures_total",
                  "Calls refused for an image that cannot be decoded, by reason.",
                  found == calls.by_reason.end() ? 0 : found->second, {{"reason", name}});
  }
}

}  // namespace

double KvUsageRatio(const EngineStats& stats) {
  if (stats.total_pages <= 0) return 0.0;
  const int32_t pinned = stats.cache.cached_pages - stats.cache.evictable_pages;
  const double used = static_cast<double>(stats.cache.active_pages) + std::max(pinned, 0);
  return std::clamp(used / stats.total_pages, 0.0, 1.0);
}

void AddServerMetrics(const ServingContext& context, const EngineStats& stats, MetricList* list) {
  const EngineModelInfo& model = context.engine->model_info();
  const EngineRuntimeInfo& runtime = context.engine->runtime_info();
  list->Gauge("prefixd_build_info", "Always 1; the version of the server.", 1,
              {{"version", PREFIXD_VERSION}});
  list->Gauge("prefixd_model_info", "Always 1; what is served and what computes.", 1,
              {{"model", model.name},
               {"family", model.family},
               {"digest", model.digest},
               {"dtype", model.weights_dtype},
               {"kv_dtype", runtime.kv_dtype},
               {"engine", EngineName(runtime)}});
  list->Gauge("prefixd_ready", "1 while readiness probes succeed, else 0.",
              context.ready && stats.state == EngineState::kServing ? 1 : 0);
  constexpr char kLoad[] = "prefixd_model_load_seconds";
  constexpr char kLoadHelp[] =
      "Time that loading took, by stage: open (config, tokenizer, headers), "
      "weights.";
  list->Declare(prometheus::MetricType::Gauge, kLoad, kLoadHelp);
  for (const auto& [stage, nanos] : {std::pair("open", context.open_nanos.load()),
                                     std::pair("weights", context.load_nanos.load())}) {
    if (nanos > 0) {
      list->Gauge(kLoad, kLoadHelp, static_cast<double>(nanos) / 1e9, {{"stage", stage}});
    }
  }
  AddCallMetrics(context.calls.Read(), list);
  list->Counter("prefixd_stream_stalls_total",
                "Times that a request was parked because its stream was not read fast enough.",
                context.stream_stalls.load());
}

std::vector<prometheus::MetricFamily> CollectMetrics(const ServingContext& context) {
  const std::shared_ptr<const EngineStats> stats = context.engine->Stats();
  MetricList list;
  AddServerMetrics(context, *stats, &list);
  AddEngineMetrics(*stats, &list);
  AddCacheMetrics(*stats, &list);
  AddRetentionMetrics(stats->retention, &list);
  AddScoringMetrics(stats->scoring, &list);
  AddProcessMetrics(context.wall_start, &list);
  std::vector<prometheus::MetricFamily> families = list.Take();
  if (context.options.metrics_compat == "vllm") {
    MetricList vllm({{"model_name", context.engine->model_info().name}, {"engine", "0"}});
    AddVllmMetrics(*stats, &vllm);
    std::vector<prometheus::MetricFamily> more = vllm.Take();
    std::move(more.begin(), more.end(), std::back_inserter(families));
  }
  return families;
}

std::string MetricsText(const ServingContext& context) {
  std::ostringstream out;
  prometheus::TextSerializer().Serialize(out, CollectMetrics(context));
  return out.str();
}

}  // namespace prefixd
