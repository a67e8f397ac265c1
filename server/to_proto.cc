#include "server/to_proto.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "server/convert_retention.h"

namespace prefixd {
namespace {

void FillLogprob(TokenLogprob logprob, v1::Logprob* out) {
  out->set_token_id(logprob.token_id);
  out->set_token(std::move(logprob.token));
  out->set_logprob(logprob.logprob);
  out->set_rank(logprob.rank);
}

v1::FinishReason ToFinishReason(FinishReason reason) {
  switch (reason) {
    case FinishReason::kEos:
      return v1::FINISH_REASON_EOS;
    case FinishReason::kStopString:
      return v1::FINISH_REASON_STOP_STRING;
    case FinishReason::kStopToken:
      return v1::FINISH_REASON_STOP_TOKEN;
    case FinishReason::kMaxTokens:
      return v1::FINISH_REASON_MAX_TOKENS;
    case FinishReason::kContextLength:
      return v1::FINISH_REASON_CONTEXT_LENGTH;
    case FinishReason::kTimeLimit:
      return v1::FINISH_REASON_TIME_LIMIT;
  }
  return v1::FINISH_REASON_UNSPECIFIED;
}

v1::CacheMissReason ToMissReason(CacheMiss miss) {
  switch (miss) {
    case CacheMiss::kNone:
      return v1::CACHE_MISS_REASON_NONE;
    case CacheMiss::kBypassed:
      return v1::CACHE_MISS_REASON_BYPASSED;
    case CacheMiss::kNotCached:
      return v1::CACHE_MISS_REASON_NOT_CACHED;
    case CacheMiss::kEvicted:
      return v1::CACHE_MISS_REASON_EVICTED;
    case CacheMiss::kDiverged:
      return v1::CACHE_MISS_REASON_DIVERGED;
    case CacheMiss::kNoScores:
      return v1::CACHE_MISS_REASON_NO_SCORES;
  }
  return v1::CACHE_MISS_REASON_UNSPECIFIED;
}

v1::ModelState ToModelState(EngineState state) {
  switch (state) {
    case EngineState::kLoading:
      return v1::MODEL_STATE_LOADING;
    case EngineState::kServing:
      return v1::MODEL_STATE_SERVING;
    case EngineState::kDraining:
    case EngineState::kStopped:
      return v1::MODEL_STATE_DRAINING;
    case EngineState::kFailed:
      return v1::MODEL_STATE_FAILED;
  }
  return v1::MODEL_STATE_UNSPECIFIED;
}

v1::RequestState ToRequestState(const std::string& state) {
  if (state == "queued") return v1::REQUEST_STATE_QUEUED;
  if (state == "prefill") return v1::REQUEST_STATE_PREFILL;
  if (state == "decode") return v1::REQUEST_STATE_DECODE;
  if (state == "parked") return v1::REQUEST_STATE_PARKED;
  return v1::REQUEST_STATE_UNSPECIFIED;
}

void FillDefaults(const SamplingParams& defaults, v1::SamplingParams* out) {
  out->set_temperature(defaults.temperature);
  out->set_top_p(defaults.top_p);
  out->set_top_k(defaults.top_k);
  out->set_min_p(defaults.min_p);
  out->set_repetition_penalty(defaults.repetition_penalty);
  out->set_presence_penalty(defaults.presence_penalty);
  out->set_frequency_penalty(defaults.frequency_penalty);
}

void FillLimits(const EngineModelInfo& model, const RequestLimits& limits, v1::ModelLimits* out) {
  out->set_context_length(model.context_length);
  out->set_max_output_tokens(model.max_output_tokens);
  out->set_vocab_size(model.vocab_size);
  if (model.supports_images) {
    out->set_max_images(std::min(model.max_images, limits.max_images));
    out->set_tokens_per_image(model.tokens_per_image);
    out->set_max_image_bytes(limits.max_image_bytes);
  }
  out->set_max_prompt_bytes(limits.max_prompt_bytes);
  out->set_max_choices(kMaxChoices);
  out->set_max_logprobs(kMaxLogprobs);
  out->set_max_stop_strings(kMaxStopStrings);
  out->set_max_stop_string_bytes(kMaxStopStringBytes);
  out->set_max_stop_token_ids(kMaxStopTokenIds);
  out->set_max_logit_bias(kMaxLogitBias);
  out->set_max_request_bytes(limits.max_request_bytes);
  ToProto(limits.default_deadline, out->mutable_default_deadline());
  ToProto(limits.max_deadline, out->mutable_max_deadline());
}

}  // namespace

void ToProto(absl::Duration duration, google::protobuf::Duration* out) {
  const int64_t nanos = absl::ToInt64Nanoseconds(duration);
  out->set_seconds(nanos / 1'000'000'000);
  out->set_nanos(static_cast<int32_t>(nanos % 1'000'000'000));
}

void ToProto(absl::Time time, google::protobuf::Timestamp* out) {
  const int64_t seconds = absl::ToUnixSeconds(time);
  out->set_seconds(seconds);
  out->set_nanos(
      static_cast<int32_t>(absl::ToInt64Nanoseconds(time - absl::FromUnixSeconds(seconds))));
}

void ToProto(const StartedEvent& event, absl::Duration time_left, v1::Started* out) {
  out->set_request_id(event.request_id);
  out->set_model(event.model);
  out->set_prompt_tokens(event.prompt_tokens);
  out->set_cached_prompt_tokens(event.cached_prompt_tokens);
  out->set_image_tokens(event.image_tokens);
  out->set_seed(event.seed);
  out->set_max_tokens(event.max_tokens);
  ToProto(time_left, out->mutable_deadline());
}

void ToProto(DeltaEvent event, v1::Delta* out) {
  out->set_index(event.choice);
  out->set_text(std::move(event.text));
  out->mutable_token_ids()->Add(event.token_ids.begin(), event.token_ids.end());
  for (LogprobEntry& entry : event.logprobs) {
    v1::TokenLogprobs* logprobs = out->add_logprobs();
    FillLogprob(std::move(entry.sampled), logprobs->mutable_sampled());
    for (TokenLogprob& top : entry.top) FillLogprob(std::move(top), logprobs->add_top());
  }
}

void ToProto(const ChoiceFinishedEvent& event, v1::ChoiceFinished* out) {
  out->set_index(event.choice);
  out->set_reason(ToFinishReason(event.reason));
  if (event.reason == FinishReason::kStopString) {
    out->set_stop_string(event.stop_string);
  } else if (event.stop_token) {
    out->set_stop_token_id(*event.stop_token);
  }
}

void ToProto(const Usage& usage, v1::Usage* out) {
  out->set_prompt_tokens(usage.prompt_tokens);
  out->set_cached_prompt_tokens(usage.cached_prompt_tokens);
  out->set_image_tokens(usage.image_tokens);
  out->set_completion_tokens(usage.completion_tokens);
  out->set_recomputed_tokens(usage.recomputed_tokens);
}

void ToProto(const Timings& timings, v1::Timings* out) {
  ToProto(timings.queue, out->mutable_queue());
  ToProto(timings.prefill, out->mutable_prefill());
  ToProto(timings.first_token, out->mutable_first_token());
  ToProto(timings.total, out->mutable_total());
}

void ToProto(const CacheReceipt& receipt, v1::CacheReceipt* out) {
  out->set_hit_tokens(receipt.hit_tokens);
  out->set_computed_tokens(receipt.computed_tokens);
  out->set_evicted_tokens(receipt.evicted_tokens);
  out->set_images(receipt.images);
  out->set_images_in_prefix(receipt.images_in_prefix);
  out->set_feature_hits(receipt.feature_hits);
  out->set_images_encoded(receipt.images_encoded);
  out->set_decode_hits(receipt.decode_hits);
  out->set_kv_bytes(receipt.kv_bytes);
  out->set_shared_kv_bytes(receipt.shared_kv_bytes);
  out->set_miss(ToMissReason(receipt.miss));
  out->set_preemptions(receipt.preemptions);
}

std::string EngineName(const EngineRuntimeInfo& runtime) {
  if (runtime.level.empty()) return runtime.backend;
  return absl::StrCat(runtime.backend, "/", runtime.level);
}

void FillReceipt(const EngineModelInfo& model, const EngineRuntimeInfo& runtime, uint64_t seed,
                 v1::Receipt* out) {
  out->set_model(model.name);
  out->set_model_digest(model.digest);
  out->set_seed(seed);
  out->set_server_version(PREFIXD_VERSION);
  out->set_backend(EngineName(runtime));
  out->set_kv_dtype(runtime.kv_dtype);
  out->set_activation_dtype(runtime.activation_dtype);
}

void ToProto(const EngineModelInfo& model, EngineState state, const RequestLimits& limits,
             v1::Model* out) {
  out->set_name(model.name);
  out->set_state(ToModelState(state));
  out->set_family(model.family);
  out->set_weights_dtype(model.weights_dtype);
  out->set_digest(model.digest);
  out->set_num_parameters(model.num_parameters);
  out->set_weight_bytes(model.weight_bytes);
  out->set_chat_template(model.chat_template);
  for (const int32_t id : model.eos_token_ids) out->add_eos_token_ids(id);
  if (model.supports_images) out->set_image_token_id(model.image_token_id);
  v1::ModelCapabilities* capabilities = out->mutable_capabilities();
  capabilities->set_chat(!model.chat_template.empty());
  capabilities->set_images(model.supports_images);
  capabilities->set_logprobs(true);
  FillLimits(model, limits, out->mutable_limits());
  FillDefaults(model.sampling_defaults, out->mutable_sampling_defaults());
  for (const std::string& name : model.policies) out->add_retention_policies(name);
  for (const std::string& name : model.profiles) out->add_retention_profiles(name);
  ToProto(model.retention_defaults, out->mutable_retention_defaults());
}

void ToProto(const RequestInfo& request, v1::RequestSummary* out) {
  out->set_request_id(request.id);
  out->set_state(ToRequestState(request.state));
  out->set_prompt_tokens(request.prompt_tokens);
  out->set_computed_tokens(request.computed_tokens);
  out->set_generated_tokens(request.generated_tokens);
  out->set_kv_pages(request.kv_pages);
  out->set_cached_positions(request.cached_positions);
  out->set_tenant(request.tenant);
  out->set_priority(request.priority);
  out->set_cached_tokens(request.cached_tokens);
  out->set_preemptions(request.preemptions);
  ToProto(request.age, out->mutable_age());
}

void FillEngineInfo(const EngineRuntimeInfo& runtime, const EngineStats& stats,
                    v1::EngineInfo* out) {
  out->set_backend(runtime.backend);
  out->set_level(runtime.level);
  out->set_device(runtime.device);
  out->set_threads(runtime.threads);
  out->set_kv_dtype(runtime.kv_dtype);
  out->set_activation_dtype(runtime.activation_dtype);
  out->set_kv_memory_bytes(runtime.kv_memory_bytes);
  out->set_steps(stats.steps);
  out->set_prompt_tokens(stats.prompt_tokens);
  out->set_generated_tokens(stats.generated_tokens);
  out->set_images(stats.images);
  out->set_requests_finished(stats.requests_finished);
  out->set_requests_failed(stats.requests_failed);
}

v1::ServerState ToServerState(EngineState state) {
  switch (state) {
    case EngineState::kLoading:
      return v1::SERVER_STATE_LOADING;
    case EngineState::kServing:
      return v1::SERVER_STATE_SERVING;
    case EngineState::kDraining:
    case EngineState::kStopped:
      return v1::SERVER_STATE_DRAINING;
    case EngineState::kFailed:
      return v1::SERVER_STATE_FAILED;
  }
  return v1::SERVER_STATE_UNSPECIFIED;
}

}  // namespace prefixd
