#include "server/convert_prefix.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "engine/error_reasons.h"
#include "server/convert.h"
#include "server/convert_input.h"
#include "server/to_proto.h"

namespace prefixd {
namespace {

constexpr absl::Duration kMinTtl = absl::Seconds(1);
constexpr absl::Duration kMaxTtl = absl::Hours(24);
constexpr char kTtlRange[] = "[1 s, 86400 s]";

// A value outside the range is a violation; then the result means nothing.
absl::Duration ConvertTtl(const google::protobuf::Duration& message, Violations* violations) {
  const bool malformed = message.nanos() <= -1'000'000'000 || message.nanos() >= 1'000'000'000;
  // Seconds are capped so that the sum cannot overflow; either end is far outside the range.
  const int64_t seconds = std::clamp<int64_t>(message.seconds(), -1'000'000, 1'000'000);
  const absl::Duration ttl = absl::Seconds(seconds) + absl::Nanoseconds(message.nanos());
  if (malformed || ttl < kMinTtl || ttl > kMaxTtl) {
    violations->Add(reason::kParameterOutOfRange, "ttl",
                    absl::StrCat(message.seconds(), " s and ", message.nanos(),
                                 " ns is outside the range ", kTtlRange),
                    {{"range", kTtlRange}});
  }
  return ttl;
}

}  // namespace

absl::StatusOr<PrefixSpec> ConvertCreatePrefixRequest(v1::CreatePrefixRequest message,
                                                      const EngineModelInfo& model,
                                                      const RequestLimits& limits) {
  Violations violations;
  InputConverter converter(model, limits, &violations, InputConverter::Use::kPrefix);
  PrefixSpec spec;
  if (!message.prefix_id().empty() && !IsPrefixId(message.prefix_id())) {
    violations.Add(reason::kParameterOutOfRange, "prefix_id",
                   "the id of a prefix has 1..63 characters of [a-z0-9-]");
  }
  spec.id = std::move(*message.mutable_prefix_id());
  PREFIXD_RETURN_IF_ERROR(CheckModelName("model", message.model(), model, &violations));
  spec.input = converter.Convert(&message);
  if (message.has_ttl()) spec.ttl = ConvertTtl(message.ttl(), &violations);
  violations.CheckCount("cache_salt", "bytes", message.cache_salt().size(), kMaxIdBytes);
  spec.cache_salt = std::move(*message.mutable_cache_salt());

  PREFIXD_RETURN_IF_ERROR(converter.Finish());
  PREFIXD_RETURN_IF_ERROR(violations.ToStatus());
  return spec;
}

absl::StatusOr<std::optional<absl::Duration>> ConvertTouchPrefixRequest(
    const v1::TouchPrefixRequest& message) {
  Violations violations;
  CheckPrefixName("name", message.name(), &violations);
  std::optional<absl::Duration> ttl;
  if (message.has_ttl()) ttl = ConvertTtl(message.ttl(), &violations);
  PREFIXD_RETURN_IF_ERROR(violations.ToStatus());
  return ttl;
}

absl::Status CheckPrefixRequestName(absl::string_view name) {
  Violations violations;
  CheckPrefixName("name", name, &violations);
  return violations.ToStatus();
}

void ToProto(const PrefixInfo& prefix, const std::string& model, absl::Time wall_now,
             v1::Prefix* out) {
  out->set_name(prefix.name);
  out->set_model(model);
  out->set_prompt_tokens(prefix.prompt_tokens);
  out->set_pinned_tokens(prefix.pinned_tokens);
  out->set_images(prefix.images);
  out->set_kv_bytes(prefix.kv_bytes);
  out->set_image_bytes(prefix.image_bytes);
  out->set_requests(prefix.requests);
  ToProto(prefix.ttl, out->mutable_ttl());
  ToProto(prefix.age, out->mutable_age());
  ToProto(prefix.expires_in, out->mutable_expires_in());
  ToProto(wall_now + prefix.expires_in, out->mutable_expire_time());
}

}  // namespace prefixd
