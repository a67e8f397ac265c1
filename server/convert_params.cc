#include "server/convert_params.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "engine/error_reasons.h"
#include "server/request_limits.h"

namespace prefixd {
namespace {

// Below this a temperature means greedy (docs/decisions.md, rule 6).
constexpr float kGreedyTemperature = 1e-6f;

enum class Bounds { kClosed, kOpenLow };

// Checks `value` against [low, high], or (low, high]. NaN is never inside.
void CheckFloat(absl::string_view field, float value, float low, float high, Bounds bounds,
                Violations* violations) {
  const bool above = bounds == Bounds::kClosed ? value >= low : value > low;
  if (above && value <= high) return;
  const std::string range =
      absl::StrCat(bounds == Bounds::kClosed ? "[" : "(", low, ", ", high, "]");
  violations->Add(reason::kParameterOutOfRange, absl::StrCat("sampling.", field),
                  absl::StrCat(value, " is outside the range ", range),
                  {{"value", absl::StrCat(value)}, {"range", range}});
}

void ConvertLogitBias(const v1::SamplingParams& message, const EngineModelInfo& model,
                      SamplingParams* out, Violations* violations) {
  violations->CheckCount("sampling.logit_bias", "entries", message.logit_bias().size(),
                         kMaxLogitBias);
  if (message.logit_bias().size() > kMaxLogitBias) return;
  for (const auto& [id, bias] : message.logit_bias()) out->logit_bias.emplace_back(id, bias);
  std::sort(out->logit_bias.begin(), out->logit_bias.end());  // A map has no order of its own.
  for (const auto& [id, bias] : out->logit_bias) {
    const std::string field = absl::StrCat("logit_bias[", id, "]");
    violations->CheckRange(absl::StrCat("sampling.", field), id, 0, model.vocab_size - 1);
    CheckFloat(field, bias, -100.0f, 100.0f, Bounds::kClosed, violations);
  }
}

void ConvertSoftTimeLimit(const google::protobuf::Duration& message, StoppingParams* out,
                          Violations* violations) {
  const bool malformed = message.nanos() <= -1'000'000'000 || message.nanos() >= 1'000'000'000;
  // Seconds are capped so that the sum cannot overflow; either end is far outside the range.
  const int64_t seconds = std::clamp<int64_t>(message.seconds(), -1'000'000, 1'000'000);
  const absl::Duration limit = absl::Seconds(seconds) + absl::Nanoseconds(message.nanos());
  if (malformed || limit <= absl::ZeroDuration() || limit > kMaxSoftTimeLimit) {
    violations->Add(reason::kParameterOutOfRange, "stopping.soft_time_limit",
                    absl::StrCat(message.seconds(), " s and ", message.nanos(),
                                 " ns is outside the range (0 s, 600 s]"),
                    {{"range", "(0 s, 600 s]"}});
    return;
  }
  out->soft_time_limit = limit;
}

}  // namespace

SamplingParams ConvertSampling(const v1::SamplingParams& message, const EngineModelInfo& model,
                               Violations* violations) {
  SamplingParams out = model.sampling_defaults;
  const auto take = [&](bool has, const char* field, float value, float low, float high,
                        Bounds bounds, float* target) {
    if (!has) return;
    CheckFloat(field, value, low, high, bounds, violations);
    *target = value;
  };
  take(message.has_temperature(), "temperature", message.temperature(), 0.0f, 100.0f,
       Bounds::kClosed, &out.temperature);
  if (out.temperature < kGreedyTemperature) out.temperature = 0.0f;
  take(message.has_top_p(), "top_p", message.top_p(), 0.0f, 1.0f, Bounds::kOpenLow, &out.top_p);
  if (message.has_num_beams()) {
    violations->CheckRange("sampling.num_beams", message.num_beams(), 1, kMaxBeams);
    out.num_beams = message.num_beams();
  }
  take(message.has_length_penalty(), "length_penalty", message.length_penalty(), -10.0f, 10.0f,
       Bounds::kClosed, &out.length_penalty);
  take(message.has_min_p(), "min_p", message.min_p(), 0.0f, 1.0f, Bounds::kClosed, &out.min_p);
  take(message.has_repetition_penalty(), "repetition_penalty", message.repetition_penalty(), 0.0f,
       100.0f, Bounds::kOpenLow, &out.repetition_penalty);
  take(message.has_presence_penalty(), "presence_penalty", message.presence_penalty(), -2.0f, 2.0f,
       Bounds::kClosed, &out.presence_penalty);
  take(message.has_frequency_penalty(), "frequency_penalty", message.frequency_penalty(), -2.0f,
       2.0f, Bounds::kClosed, &out.frequency_penalty);
  if (message.has_top_k()) {
    violations->CheckRange("sampling.top_k", message.top_k(), 0, model.vocab_size);
    out.top_k = message.top_k();
  }
  if (message.has_seed()) out.seed = message.seed();
  ConvertLogitBias(message, model, &out, violations);
  return out;
}

StoppingParams ConvertStopping(const v1::StoppingParams& message, const EngineModelInfo& model,
                               Violations* violations) {
  StoppingParams out;
  if (message.has_max_tokens()) {
    violations->CheckRange("stopping.max_tokens", message.max_tokens(), 1, INT32_MAX);
    out.max_tokens = message.max_tokens();
  }
  if (message.has_min_tokens()) {
    const int32_t cap =
        std::max(1, std::min(out.max_tokens.value_or(INT32_MAX), model.max_output_tokens));
    violations->CheckRange("stopping.min_tokens", message.min_tokens(), 0, cap);
    out.min_tokens = message.min_tokens();
  }
  violations->CheckCount("stopping.stop", "stop strings",
                         static_cast<uint64_t>(message.stop_size()), kMaxStopStrings);
  for (int i = 0; i < std::min(message.stop_size(), kMaxStopStrings); ++i) {
    const std::string field = absl::StrCat("stopping.stop[", i, "]");
    if (message.stop(i).empty()) {
      violations->Add(reason::kParameterOutOfRange, field, "the stop string is empty");
    }
    violations->CheckCount(field, "bytes", message.stop(i).size(), kMaxStopStringBytes);
    if (message.stop(i).size() <= kMaxStopStringBytes) out.stop.push_back(message.stop(i));
  }
  violations->CheckCount("stopping.stop_token_ids", "stop token ids",
                         static_cast<uint64_t>(message.stop_token_ids_size()), kMaxStopTokenIds);
  for (int i = 0; i < std::min(message.stop_token_ids_size(), kMaxStopTokenIds); ++i) {
    violations->CheckRange(absl::StrCat("stopping.stop_token_ids[", i, "]"),
                           message.stop_token_ids(i), 0, model.vocab_size - 1);
    out.stop_token_ids.push_back(message.stop_token_ids(i));
  }
  out.include_stop = message.include_stop();
  out.ignore_eos = message.ignore_eos();
  if (message.has_soft_time_limit()) {
    ConvertSoftTimeLimit(message.soft_time_limit(), &out, violations);
  }
  return out;
}

OutputParams ConvertOutput(const v1::OutputParams& message, Violations* violations) {
  OutputParams out;
  if (message.has_n()) {
    violations->CheckRange("output.n", message.n(), 1, kMaxChoices);
    out.num_choices = message.n();
  }
  if (message.has_logprobs()) {
    violations->CheckRange("output.logprobs", message.logprobs(), 0, kMaxLogprobs);
    out.logprobs = message.logprobs();
  }
  out.token_ids = message.token_ids();
  return out;
}

}  // namespace prefixd
