// Metrics of requests and steps.
#include <iterator>

#include "server/metrics.h"

namespace prefixd {
namespace {

// In the order of FinishReason.
constexpr const char* kFinishNames[] = {"eos",        "stop_string",    "stop_token",
                                        "max_tokens", "context_length", "time_limit"};
static_assert(std::size(kFinishNames) == std::tuple_size_v<decltype(EngineStats::finishes)>);

void AddTokenCounts(const EngineStats& stats, MetricList* list) {
  list->Counter("prefixd_prompt_tokens_total", "Tokens of prompts, image tokens included.",
                stats.prompt_tokens);
  list->Counter("prefixd_cached_prompt_tokens_total",
                "Tokens of prompts that came from the prefix cache.",
                stats.cache.text_hit_tokens + stats.cache.image_hit_tokens);
  list->Counter("prefixd_computed_prompt_tokens_total", "Tokens of prompts that were computed.",
                stats.cache.computed_tokens);
  list->Counter("prefixd_generated_tokens_total", "Tokens that were generated.",
                stats.generated_tokens);
  list->Counter("prefixd_recomputed_tokens_total",
                "Tokens that were computed again, after preemption or without a KV cache.",
                stats.recomputed_tokens);
  list->Counter("prefixd_images_total", "Images of prompts.", stats.images);
}

void AddDistributions(const EngineHistograms& histograms, MetricList* list) {
  list->Distribution("prefixd_time_to_first_token_seconds",
                     "From the arrival of a request to its first token.",
                     histograms.time_to_first_token_seconds);
  list->Distribution("prefixd_inter_token_latency_seconds", "Between two tokens of a choice.",
                     histograms.inter_token_seconds);
  list->Distribution("prefixd_time_per_output_token_seconds",
                     "Mean time of a request between its tokens after the first.",
                     histograms.time_per_output_token_seconds);
  list->Distribution("prefixd_request_duration_seconds", "From arrival to the end of a request.",
                     histograms.request_seconds);
  list->Distribution("prefixd_queue_time_seconds", "From arrival until a request is scheduled.",
                     histograms.queue_seconds);
  list->Distribution("prefixd_prefill_time_seconds",
                     "From when a request is scheduled to its first token.",
                     histograms.prefill_seconds);
  list->Distribution("prefixd_decode_time_seconds", "From the first token to the last.",
                     histograms.decode_seconds);
  list->Distribution("prefixd_image_encode_time_seconds", "Time of an image in the vision tower.",
                     histograms.image_encode_seconds);
  list->Distribution("prefixd_request_prompt_tokens", "Tokens of the prompt, by request.",
                     histograms.prompt_tokens);
  list->Distribution("prefixd_request_generated_tokens", "Tokens generated, by request.",
                     histograms.generated_tokens);
  list->Distribution("prefixd_batch_tokens", "Tokens computed, by step.", histograms.batch_tokens);
  list->Distribution("prefixd_batch_sequences", "Sequences computed, by step.",
                     histograms.batch_sequences);
}

}  // namespace

void AddEngineMetrics(const EngineStats& stats, MetricList* list) {
  list->Gauge("prefixd_requests_waiting", "Requests that wait to be scheduled.", stats.waiting);
  list->Gauge("prefixd_requests_running", "Requests that are being computed.", stats.running);
  for (size_t i = 0; i < stats.finishes.size(); ++i) {
    list->Counter("prefixd_requests_finished_total",
                  "Choices of requests that finished, by what ended them.", stats.finishes[i],
                  {{"reason", kFinishNames[i]}});
  }
  list->Counter("prefixd_requests_failed_total",
                "Requests that the engine took and that failed, cancelled ones included.",
                stats.requests_failed);
  list->Counter("prefixd_preemptions_total",
                "Times that a request lost its pages to others and had to wait again.",
                stats.preemptions);
  list->Counter("prefixd_steps_total", "Steps of the engine.", stats.steps);
  AddTokenCounts(stats, list);
  AddDistributions(stats.histograms, list);
}

}  // namespace prefixd
