#include "server/convert.h"

#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "base/status_macros.h"
#include "engine/error_reasons.h"
#include "server/convert_input.h"
#include "server/convert_params.h"
#include "server/convert_retention.h"

namespace prefixd {
namespace {

// Numbers in generation_service.proto and params.proto that are reserved.
constexpr int kRequestReserved[][2] = {{13, 13}, {16, 17}};  // First and last.
constexpr int kPromptLogprobsField = 4;

constexpr size_t kMaxPrefixIdBytes = 63;

bool HasOnly(absl::string_view text, absl::string_view punctuation) {
  for (const char c : text) {
    if (!absl::ascii_isalnum(static_cast<unsigned char>(c)) &&
        punctuation.find(c) == absl::string_view::npos) {
      return false;
    }
  }
  return true;
}

// Whether `name` could name a model: no path, no odd characters.
bool IsModelName(absl::string_view name) {
  if (name.empty() || name.size() > kMaxIdBytes || !HasOnly(name, "._/-")) return false;
  for (const absl::string_view component : absl::StrSplit(name, '/')) {
    if (component.empty() || component == "." || component == "..") return false;
  }
  return true;
}

// What a request says about the cache.
template <typename Message>
void ConvertCacheControls(Message* message, Request* request, Violations* violations) {
  if (!message->prefix().empty()) CheckPrefixName("prefix", message->prefix(), violations);
  request->prefix = std::move(*message->mutable_prefix());
  request->bypass_prefix_cache = message->bypass_prefix_cache();
  violations->CheckCount("cache_salt", "bytes", message->cache_salt().size(), kMaxIdBytes);
  request->cache_salt = std::move(*message->mutable_cache_salt());
}

}  // namespace

bool IsRequestId(absl::string_view id) {
  return !id.empty() && id.size() <= kMaxIdBytes && HasOnly(id, "._:/-");
}

void CheckRequestId(const std::string& id, Violations* violations) {
  if (id.empty() || IsRequestId(id)) return;
  violations->Add(reason::kParameterOutOfRange, "request_id",
                  "a request id has 1..128 characters of [A-Za-z0-9._:/-]");
}

bool IsPrefixId(absl::string_view id) {
  return !id.empty() && id.size() <= kMaxPrefixIdBytes &&
         id.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789-") == absl::string_view::npos;
}

void CheckPrefixName(absl::string_view field, absl::string_view name, Violations* violations) {
  if (absl::ConsumePrefix(&name, "prefixes/") && IsPrefixId(name)) return;
  violations->Add(reason::kParameterOutOfRange, std::string(field),
                  "the name of a prefix is prefixes/ and 1..63 characters of [a-z0-9-]");
}

void CheckClassSetName(absl::string_view field, absl::string_view name, Violations* violations) {
  if (absl::ConsumePrefix(&name, "classSets/") && IsPrefixId(name)) return;
  violations->Add(reason::kParameterOutOfRange, std::string(field),
                  "the name of a class set is classSets/ and 1..63 characters of [a-z0-9-]");
}

absl::Status CheckModelName(absl::string_view field, const std::string& name,
                            const EngineModelInfo& model, Violations* violations) {
  if (name.empty() || name == model.name) return absl::OkStatus();
  if (!IsModelName(name)) {
    violations->Add(
        reason::kParameterOutOfRange, std::string(field),
        "a model name has 1..128 characters of [A-Za-z0-9._/-] and no component . or ..");
    return absl::OkStatus();
  }
  return MakeError(absl::StatusCode::kNotFound, reason::kModelNotFound,
                   absl::StrCat("model ", name, " is not served here"), {{"model", name}});
}

absl::StatusOr<Request> ConvertGenerateRequest(v1::GenerateRequest message,
                                               const EngineModelInfo& model,
                                               const RequestLimits& limits) {
  Violations violations;
  InputConverter converter(model, limits, &violations);
  for (const auto& [first, last] : kRequestReserved) {
    converter.RefuseReserved(message, "", first, last);
  }
  converter.RefuseReserved(message.output(), "output", kPromptLogprobsField, kPromptLogprobsField);
  CheckRequestId(message.request_id(), &violations);
  PREFIXD_RETURN_IF_ERROR(CheckModelName("model", message.model(), model, &violations));

  Request request;
  request.input = converter.Convert(&message);
  request.sampling = ConvertSampling(message.sampling(), model, &violations);
  request.stopping = ConvertStopping(message.stopping(), model, &violations);
  request.output = ConvertOutput(message.output(), &violations);
  request.retention = ConvertRetention(message.retention(), model, &violations);
  violations.CheckRange("priority", message.priority(), -kMaxPriority, kMaxPriority);
  request.priority = message.priority();
  ConvertCacheControls(&message, &request, &violations);
  if (!v1::KvCacheMode_IsValid(message.kv_cache())) {
    violations.Add(reason::kParameterOutOfRange, "kv_cache",
                   absl::StrCat(static_cast<int>(message.kv_cache()), " is not a value"));
  }
  request.recompute_all = message.kv_cache() == v1::KV_CACHE_MODE_DISABLED;

  PREFIXD_RETURN_IF_ERROR(converter.Finish());
  PREFIXD_RETURN_IF_ERROR(violations.ToStatus());
  return request;
}

absl::StatusOr<Request> ConvertCountTokensRequest(v1::CountTokensRequest message,
                                                  const EngineModelInfo& model,
                                                  const RequestLimits& limits) {
  Violations violations;
  InputConverter converter(model, limits, &violations);
  PREFIXD_RETURN_IF_ERROR(CheckModelName("model", message.model(), model, &violations));
  Request request;
  request.input = converter.Convert(&message);
  ConvertCacheControls(&message, &request, &violations);
  PREFIXD_RETURN_IF_ERROR(converter.Finish());
  PREFIXD_RETURN_IF_ERROR(violations.ToStatus());
  return request;
}

}  // namespace prefixd
