// The same facts under the names of vLLM, for routers and dashboards that know only those. Colons
// in names are theirs; docs/operations.md maps them.
#include "absl/strings/str_cat.h"
#include "server/metrics.h"

namespace prefixd {
namespace {

void AddVllmCounts(const EngineStats& stats, MetricList* list) {
  const CacheStats& cache = stats.cache;
  list->Counter("vllm:prefix_cache_queries_total", "Prompt tokens looked up in the prefix cache.",
                cache.text_query_tokens + cache.image_query_tokens);
  list->Counter("vllm:prefix_cache_hits_total", "Prompt tokens found in the prefix cache.",
                cache.text_hit_tokens + cache.image_hit_tokens);
  list->Counter("vllm:mm_cache_queries_total", "Images looked up in the feature cache.",
                cache.feature_hits + cache.tower_runs);
  list->Counter("vllm:mm_cache_hits_total", "Images found in the feature cache.",
                cache.feature_hits);
  list->Counter("vllm:num_preemptions_total", "Preemptions.", stats.preemptions);
  list->Counter("vllm:prompt_tokens_total", "Tokens of prompts.", stats.prompt_tokens);
  list->Counter("vllm:prompt_tokens_cached_total", "Tokens of prompts that were cached.",
                cache.text_hit_tokens + cache.image_hit_tokens);
  list->Counter("vllm:generation_tokens_total", "Tokens generated.", stats.generated_tokens);
  const auto finished = [&](FinishReason reason) {
    return stats.finishes[static_cast<size_t>(reason)];
  };
  constexpr char kSuccess[] = "vllm:request_success_total";
  constexpr char kSuccessHelp[] = "Requests that ended, by the reason.";
  list->Counter(kSuccess, kSuccessHelp,
                finished(FinishReason::kEos) + finished(FinishReason::kStopString) +
                    finished(FinishReason::kStopToken),
                {{"finished_reason", "stop"}});
  list->Counter(kSuccess, kSuccessHelp,
                finished(FinishReason::kMaxTokens) + finished(FinishReason::kContextLength) +
                    finished(FinishReason::kTimeLimit),
                {{"finished_reason", "length"}});
  list->Counter(kSuccess, kSuccessHelp, stats.requests_failed, {{"finished_reason", "abort"}});
}

void AddVllmDistributions(const EngineHistograms& histograms, MetricList* list) {
  list->Distribution("vllm:request_prompt_tokens", "Tokens of the prompt, by request.",
                     histograms.prompt_tokens);
  list->Distribution("vllm:request_generation_tokens", "Tokens generated, by request.",
                     histograms.generated_tokens);
  list->Distribution("vllm:iteration_tokens_total", "Tokens computed, by step.",
                     histograms.batch_tokens);
  list->Distribution("vllm:time_to_first_token_seconds", "From arrival to the first token.",
                     histograms.time_to_first_token_seconds);
  list->Distribution("vllm:inter_token_latency_seconds", "Between two tokens.",
                     histograms.inter_token_seconds);
  list->Distribution("vllm:request_time_per_output_token_seconds",
                     "Mean time between the tokens of a request.",
                     histograms.time_per_output_token_seconds);
  list->Distribution("vllm:e2e_request_latency_seconds", "From arrival to the end.",
                     histograms.request_seconds);
  list->Distribution("vllm:request_queue_time_seconds", "From arrival until scheduled.",
                     histograms.queue_seconds);
  list->Distribution("vllm:request_prefill_time_seconds", "From scheduled to the first token.",
                     histograms.prefill_seconds);
  list->Distribution("vllm:request_decode_time_seconds", "From the first token to the last.",
                     histograms.decode_seconds);
}

}  // namespace

void AddVllmMetrics(const EngineStats& stats, MetricList* list) {
  list->Gauge("vllm:num_requests_running", "Requests that are being computed.", stats.running);
  list->Gauge("vllm:num_requests_waiting", "Requests that wait.", stats.waiting);
  list->Gauge("vllm:kv_cache_usage_perc", "Share of the KV cache in use; 1 is all of it.",
              KvUsageRatio(stats));
  list->Gauge("vllm:cache_config_info", "Always 1; the shape of the KV cache.", 1,
              {{"block_size", absl::StrCat(stats.page_slots)},
               {"num_gpu_blocks", absl::StrCat(stats.total_pages)}});
  AddVllmCounts(stats, list);
  AddVllmDistributions(stats.histograms, list);
}

}  // namespace prefixd
