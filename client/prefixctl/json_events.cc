#include "client/prefixctl/json_events.h"

#include <nlohmann/json.hpp>

#include "absl/strings/ascii.h"
#include "absl/strings/strip.h"
#include "base/error.h"
#include "client/call_status.h"
#include "client/prefixctl/json_parts.h"
#include "client/prefixctl/proto_time.h"
#include "client/prefixctl/retention_text.h"

namespace prefixd::ctl {
namespace {

std::string String(absl::string_view text) { return std::string(text); }

Json LogprobJson(const v1::Logprob& logprob) {
  std::vector<int> bytes;
  for (const char c : logprob.token()) bytes.push_back(static_cast<unsigned char>(c));
  return {{"token", logprob.token()},
          {"token_id", logprob.token_id()},
          {"bytes", bytes},
          {"logprob", logprob.logprob()},
          {"rank", logprob.rank()}};
}

Json StartedJson(const v1::Started& started) {
  return {{"event", "started"},
          {"request_id", started.request_id()},
          {"model", started.model()},
          {"prompt_tokens", started.prompt_tokens()},
          {"cached_prompt_tokens", started.cached_prompt_tokens()},
          {"image_tokens", started.image_tokens()},
          {"seed", started.seed()},
          {"max_tokens", started.max_tokens()}};
}

Json DeltaJson(const v1::Delta& delta) {
  Json json = {{"event", "delta"}, {"index", delta.index()}, {"text", delta.text()}};
  for (const v1::TokenLogprobs& token : delta.logprobs()) {
    Json entry = LogprobJson(token.sampled());
    entry["top"] = Json::array();
    for (const v1::Logprob& top : token.top()) entry["top"].push_back(LogprobJson(top));
    json["logprobs"].push_back(std::move(entry));
  }
  return json;
}

Json ChoiceFinishedJson(const v1::ChoiceFinished& choice) {
  Json json = {{"event", "choice_finished"},
               {"index", choice.index()},
               {"finish_reason", FinishReasonName(choice.reason())}};
  if (choice.has_stop_string()) json["stop_string"] = choice.stop_string();
  if (choice.has_stop_token_id()) json["stop_token_id"] = choice.stop_token_id();
  return json;
}

Json RetentionJson(const v1::RetentionReceipt& retention) {
  return {{"scope", ScopeName(retention.scope())},
          {"policy", retention.policy()},
          {"profile", retention.profile()},
          {"budget", retention.budget()},
          {"selected_from", retention.selected_from()},
          {"kept_tokens",
           std::vector<int32_t>(retention.kept_tokens().begin(), retention.kept_tokens().end())},
          {"score_mass", retention.score_mass()},
          {"snapshot_hit", retention.snapshot_hit()},
          {"decode_drops", retention.decode_drops()},
          {"saved_kv_bytes", retention.saved_kv_bytes()}};
}

Json RetentionDefaultsJson(const v1::RetentionParams& defaults) {
  return {{"scope", ScopeName(defaults.scope())}, {"budget", defaults.budget()},
          {"policy", defaults.policy()},          {"profile", defaults.profile()},
          {"start_size", defaults.start_size()},  {"protect", defaults.protect()},
          {"distance", defaults.distance()}};
}

Json NamesJson(const google::protobuf::RepeatedPtrField<std::string>& names) {
  return std::vector<std::string>(names.begin(), names.end());
}

Json ReceiptJson(const v1::Receipt& receipt) {
  Json json = {{"model", receipt.model()},
               {"model_digest", receipt.model_digest()},
               {"seed", receipt.seed()},
               {"server_version", receipt.server_version()},
               {"backend", receipt.backend()},
               {"kv_dtype", receipt.kv_dtype()},
               {"activation_dtype", receipt.activation_dtype()}};
  if (receipt.has_retention()) json["retention"] = RetentionJson(receipt.retention());
  if (!receipt.has_cache()) return json;
  json["cache"] = ToJson(receipt.cache());
  return json;
}

Json FinishedJson(const Answer& answer) {
  const v1::Timings& timings = answer.finished.timings();
  Json json = {{"event", "finished"},
               {"text", answer.text},
               {"finish_reason", FinishReasonName(answer.finish_reason)},
               {"usage", ToJson(answer.finished.usage())},
               {"timings_ms",
                {{"queue", ToMillis(timings.queue())},
                 {"prefill", ToMillis(timings.prefill())},
                 {"first_token", ToMillis(timings.first_token())},
                 {"total", ToMillis(timings.total())}}}};
  if (answer.finished.has_receipt()) json["receipt"] = ReceiptJson(answer.finished.receipt());
  return json;
}

// "MODEL_STATE_SERVING" -> "serving".
std::string Lower(const std::string& name, absl::string_view prefix) {
  return absl::AsciiStrToLower(absl::StripPrefix(name, prefix));
}

}  // namespace

std::string EventLine(const v1::GenerateResponse& event, const Answer& answer) {
  switch (event.event_case()) {
    case v1::GenerateResponse::kStarted:
      return Dump(StartedJson(event.started()));
    case v1::GenerateResponse::kDelta:
      return Dump(DeltaJson(event.delta()));
    case v1::GenerateResponse::kChoiceFinished:
      return Dump(ChoiceFinishedJson(event.choice_finished()));
    case v1::GenerateResponse::kFinished:
      return Dump(FinishedJson(answer));
    case v1::GenerateResponse::EVENT_NOT_SET:
      break;
  }
  return "";
}

std::string ErrorLine(const absl::Status& status) {
  const ErrorDetail detail = GetErrorDetail(status).value_or(ErrorDetail{});
  Json metadata = Json::object();
  for (const auto& [key, value] : detail.metadata) metadata[key] = value;
  Json json = {{"event", "error"},
               {"code", absl::StatusCodeToString(status.code())},
               {"reason", detail.reason},
               {"message", String(status.message())},
               {"metadata", metadata},
               {"retry_after_ms", nullptr},
               {"request_id", GetRequestId(status)}};
  if (detail.retry_after) json["retry_after_ms"] = absl::ToInt64Milliseconds(*detail.retry_after);
  for (const FieldViolation& violation : detail.field_violations) {
    json["field_violations"].push_back(
        {{"field", violation.field}, {"description", violation.description}});
  }
  return Dump(json);
}

std::string ModelLine(const v1::Model& model) {
  const v1::ModelCapabilities& can = model.capabilities();
  const v1::ModelLimits& limits = model.limits();
  return Dump({{"name", model.name()},
               {"state", Lower(v1::ModelState_Name(model.state()), "MODEL_STATE_")},
               {"family", model.family()},
               {"weights_dtype", model.weights_dtype()},
               {"digest", model.digest()},
               {"num_parameters", model.num_parameters()},
               {"weight_bytes", model.weight_bytes()},
               {"chat", can.chat()},
               {"images", can.images()},
               {"logprobs", can.logprobs()},
               {"prefix_cache", can.prefix_cache()},
               {"context_length", limits.context_length()},
               {"max_output_tokens", limits.max_output_tokens()},
               {"max_images", limits.max_images()},
               {"tokens_per_image", limits.tokens_per_image()},
               {"max_image_bytes", limits.max_image_bytes()},
               {"retention_policies", NamesJson(model.retention_policies())},
               {"retention_profiles", NamesJson(model.retention_profiles())},
               {"retention_defaults", RetentionDefaultsJson(model.retention_defaults())}});
}

std::string RequestLine(const v1::RequestSummary& request) {
  return Dump({{"request_id", request.request_id()},
               {"state", Lower(v1::RequestState_Name(request.state()), "REQUEST_STATE_")},
               {"prompt_tokens", request.prompt_tokens()},
               {"computed_tokens", request.computed_tokens()},
               {"generated_tokens", request.generated_tokens()},
               {"kv_pages", request.kv_pages()},
               {"cached_positions", request.cached_positions()},
               {"age_ms", ToMillis(request.age())},
               {"tenant", request.tenant()},
               {"priority", request.priority()},
               {"cached_tokens", request.cached_tokens()},
               {"preemptions", request.preemptions()}});
}

std::string PrefixLine(const v1::Prefix& prefix) {
  return Dump({{"name", prefix.name()},
               {"model", prefix.model()},
               {"prompt_tokens", prefix.prompt_tokens()},
               {"pinned_tokens", prefix.pinned_tokens()},
               {"images", prefix.images()},
               {"kv_bytes", prefix.kv_bytes()},
               {"image_bytes", prefix.image_bytes()},
               {"requests", prefix.requests()},
               {"ttl_ms", ToMillis(prefix.ttl())},
               {"age_ms", ToMillis(prefix.age())},
               {"expires_in_ms", ToMillis(prefix.expires_in())}});
}

std::string TokenCountLine(const v1::CountTokensResponse& count) {
  return Dump({{"prompt_tokens", count.prompt_tokens()},
               {"cached_prompt_tokens", count.cached_prompt_tokens()},
               {"image_tokens", count.image_tokens()},
               {"num_images", count.num_images()}});
}

}  // namespace prefixd::ctl
