#include "engine/options.h"

#include <set>

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "base/status_macros.h"
#include "engine/error_reasons.h"
#include "engine/validate_retention.h"

namespace prefixd {
namespace {

absl::Status OutOfRange(absl::string_view name, int64_t value, int64_t low, int64_t high) {
  return MakeError(absl::StatusCode::kInvalidArgument, reason::kParameterOutOfRange,
                   absl::StrCat(name, " is ", value, ", the range is [", low, ", ", high, "]"),
                   {{"option", std::string(name)}});
}

absl::Status BadTenant(const TenantOptions& tenant, absl::string_view field, double value,
                       absl::string_view range) {
  return MakeError(absl::StatusCode::kInvalidArgument, reason::kParameterOutOfRange,
                   absl::StrCat("tenant \"", tenant.name, "\": ", field, " is ", value,
                                ", the range is ", range),
                   {{"option", "tenants"}, {"tenant", tenant.name}});
}

absl::Status ValidateTenants(const std::vector<TenantOptions>& tenants) {
  constexpr size_t kMaxTenants = 1000;
  if (tenants.size() > kMaxTenants) {
    return OutOfRange("tenants", static_cast<int64_t>(tenants.size()), 0, kMaxTenants);
  }
  std::set<std::string> names;
  double floors = 0;
  for (const TenantOptions& tenant : tenants) {
    if (!names.insert(tenant.name).second) {
      return MakeError(absl::StatusCode::kInvalidArgument, reason::kInputInvalid,
                       absl::StrCat("two tenants are named \"", tenant.name, "\""),
                       {{"option", "tenants"}});
    }
    if (!(tenant.weight > 0 && tenant.weight <= 1000)) {
      return BadTenant(tenant, "weight", tenant.weight, "(0, 1000]");
    }
    if (!(tenant.page_share > 0 && tenant.page_share <= 1)) {
      return BadTenant(tenant, "page_share", tenant.page_share, "(0, 1]");
    }
    if (!(tenant.page_floor >= 0 && tenant.page_floor <= tenant.page_share)) {
      return BadTenant(tenant, "page_floor", tenant.page_floor, "[0, page_share]");
    }
    if (tenant.max_running < 1) return BadTenant(tenant, "max_running", tenant.max_running, ">= 1");
    if (tenant.max_queue < 1) return BadTenant(tenant, "max_queue", tenant.max_queue, ">= 1");
    if (tenant.max_prefixes < 0) {
      return BadTenant(tenant, "max_prefixes", tenant.max_prefixes, ">= 0");
    }
    floors += tenant.page_floor;
  }
  if (floors > 1) {
    return MakeError(
        absl::StatusCode::kInvalidArgument, reason::kParameterOutOfRange,
        absl::StrCat("the page_floors of all tenants sum to ", floors, ", the limit is 1"),
        {{"option", "tenants"}});
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status EngineOptions::Validate() const {
  if (model_path.empty()) {
    return MakeError(absl::StatusCode::kInvalidArgument, reason::kInputInvalid,
                     "model_path is empty; name a model directory");
  }
  const struct {
    absl::string_view name;
    int64_t value, low, high;
  } ranges[] = {
      {"threads", threads, 0, 256},
      {"cuda_device", cuda_device, 0, 1023},
      {"max_running", max_running, 1, 4096},
      // A step decodes every running choice, so its budget must hold them all.
      {"max_batch_tokens", max_batch_tokens, max_running, 65536},
      {"prefill_chunk", prefill_chunk, 0, max_batch_tokens},
      {"max_queue", max_queue, 1, 65536},
      {"max_output_tokens", max_output_tokens, 1, 1 << 24},
      {"prep_threads", prep_threads, 1, 64},
      {"max_prompt_bytes", static_cast<int64_t>(max_prompt_bytes), 1, 1 << 28},
      {"max_image_bytes", static_cast<int64_t>(max_image_bytes), 1, 1 << 28},
      {"max_images", max_images, 0, 64},
      {"max_prefixes", max_prefixes, 0, 1 << 20},
      {"pinned_percent", pinned_percent, 0, 100},
      {"max_class_names", classification.max_names, 2, 100'000},
      {"max_class_sets", classification.max_sets, 0, 100'000},
      {"scoring_workspace", static_cast<int64_t>(classification.scoring_workspace), 1 << 20,
       int64_t{1} << 40},
      {"max_image_memory", static_cast<int64_t>(max_image_memory), 1 << 20, int64_t{1} << 50},
  };
  for (const auto& range : ranges) {
    if (range.value < range.low || range.value > range.high) {
      return OutOfRange(range.name, range.value, range.low, range.high);
    }
  }
  if (admission != "optimistic" && admission != "reserve") {
    return MakeError(absl::StatusCode::kInvalidArgument, reason::kParameterOutOfRange,
                     absl::StrCat("admission is \"", admission, "\", allowed: optimistic, reserve"),
                     {{"option", "admission"}});
  }
  PREFIXD_RETURN_IF_ERROR(ValidateRetention(*this));
  for (const TenantOptions& tenant : tenants) {
    PREFIXD_RETURN_IF_ERROR(ValidateRetention(*this, tenant));
  }
  return ValidateTenants(tenants);
}

}  // namespace prefixd
