#include "server/convert_retention.h"

#include <algorithm>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "engine/error_reasons.h"
#include "engine/retention_limits.h"

namespace prefixd {
namespace {

// Names that a message lists; more are counted.
constexpr size_t kMaxListedNames = 12;

std::string ListNames(const std::vector<std::string>& names) {
  if (names.empty()) return "there is none";
  const auto end = names.begin() + static_cast<int>(std::min(names.size(), kMaxListedNames));
  std::string list = absl::StrCat("known: ", absl::StrJoin(names.begin(), end, ", "));
  if (names.size() > kMaxListedNames) {
    absl::StrAppend(&list, " and ", names.size() - kMaxListedNames, " more");
  }
  return list;
}

// A name is repeated in the message only if it is one.
void CheckName(absl::string_view field, absl::string_view name, bool well_formed,
               absl::string_view form, const std::vector<std::string>& known,
               Violations* violations) {
  if (std::find(known.begin(), known.end(), name) != known.end()) return;
  const std::string list = ListNames(known);
  violations->Add(reason::kParameterOutOfRange, std::string(field),
                  well_formed ? absl::StrCat("`", name, "` is not known; ", list)
                              : absl::StrCat("a name has 1..64 characters of ", form, "; ", list),
                  {{"known", absl::StrJoin(known, ",").substr(0, 1024)}});
}

void ConvertScope(v1::RetentionScope scope, RetentionParams* out, Violations* violations) {
  switch (scope) {
    case v1::RETENTION_SCOPE_UNSPECIFIED:
      return;
    case v1::RETENTION_SCOPE_OFF:
      out->scope = RetentionScope::kOff;
      return;
    case v1::RETENTION_SCOPE_EXACT:
      out->scope = RetentionScope::kExact;
      return;
    case v1::RETENTION_SCOPE_SHARED:
      out->scope = RetentionScope::kShared;
      return;
    default:  // Of a newer client.
      violations->CheckRange("retention.scope", scope, v1::RETENTION_SCOPE_UNSPECIFIED,
                             v1::RETENTION_SCOPE_SHARED);
  }
}

v1::RetentionScope ToScope(RetentionScope scope) {
  switch (scope) {
    case RetentionScope::kOff:
      return v1::RETENTION_SCOPE_OFF;
    case RetentionScope::kExact:
      return v1::RETENTION_SCOPE_EXACT;
    case RetentionScope::kShared:
      return v1::RETENTION_SCOPE_SHARED;
  }
  return v1::RETENTION_SCOPE_UNSPECIFIED;
}

}  // namespace

RetentionParams ConvertRetention(const v1::RetentionParams& message, const EngineModelInfo& model,
                                 Violations* violations) {
  RetentionParams out;
  if (message.has_scope()) ConvertScope(message.scope(), &out, violations);
  if (message.has_budget()) {
    violations->CheckNumber("retention.budget", message.budget(), kMinRetentionBudget, 1);
    out.budget = message.budget();
  }
  if (message.has_policy()) {
    CheckName("retention.policy", message.policy(), IsPolicyName(message.policy()), "[a-z0-9-]",
              model.policies, violations);
    out.policy = message.policy();
  }
  if (message.has_profile()) {
    if (!message.profile().empty()) {
      CheckName("retention.profile", message.profile(), IsProfileName(message.profile()),
                "[A-Za-z0-9._-]", model.profiles, violations);
    }
    out.profile = message.profile();
  }
  if (message.has_start_size()) {
    violations->CheckRange("retention.start_size", message.start_size(), 0, kMaxRetentionStartSize);
    out.start_size = message.start_size();
  }
  if (message.has_protect()) {
    violations->CheckRange("retention.protect", message.protect(), 1, kMaxRetentionProtect);
    out.protect = message.protect();
  }
  if (message.has_distance()) {
    violations->CheckRange("retention.distance", message.distance(), -kMaxRetentionDistance,
                           kMaxRetentionDistance);
    out.distance = message.distance();
  }
  out.reference_positions = message.reference_positions();
  return out;
}

void ToProto(const RetentionParams& params, v1::RetentionParams* out) {
  if (params.scope) out->set_scope(ToScope(*params.scope));
  if (params.budget) out->set_budget(*params.budget);
  if (params.policy) out->set_policy(*params.policy);
  if (params.profile) out->set_profile(*params.profile);
  if (params.start_size) out->set_start_size(*params.start_size);
  if (params.protect) out->set_protect(*params.protect);
  if (params.distance) out->set_distance(*params.distance);
  out->set_reference_positions(params.reference_positions);
}

void ToProto(const RetentionReceipt& receipt, v1::RetentionReceipt* out) {
  out->set_scope(ToScope(receipt.scope));
  out->set_policy(receipt.policy);
  out->set_profile(receipt.profile);
  out->set_budget(receipt.budget);
  out->set_selected_from(receipt.selected_from);
  out->mutable_kept_tokens()->Add(receipt.kept_tokens.begin(), receipt.kept_tokens.end());
  out->set_score_mass(receipt.score_mass);
  out->set_snapshot_hit(receipt.snapshot_hit);
  out->set_decode_drops(receipt.decode_drops);
  out->set_saved_kv_bytes(receipt.saved_kv_bytes);
}

void ToProto(const RetentionStats& stats, v1::RetentionStats* out) {
  const auto requests = [&](RetentionScope scope) {
    return stats.requests[static_cast<size_t>(scope)];
  };
  out->set_off_requests(requests(RetentionScope::kOff));
  out->set_exact_requests(requests(RetentionScope::kExact));
  out->set_shared_requests(requests(RetentionScope::kShared));
  out->set_selections(stats.selections);
  out->set_selected_from(stats.selected_from);
  out->mutable_kept_tokens()->Add(stats.kept_tokens.begin(), stats.kept_tokens.end());
  out->set_score_mass(MeanScoreMass(stats));
  out->set_decode_drops(stats.decode_drops);
  out->set_saved_kv_bytes(stats.saved_kv_bytes);
  out->set_snapshot_hits(stats.snapshot_hits);
  out->set_snapshot_misses(stats.snapshot_misses);
  out->set_snapshots_made(stats.snapshots_made);
  out->set_snapshots_evicted(stats.snapshots_evicted);
  out->set_snapshots(stats.snapshots);
  out->set_snapshot_pages(stats.snapshot_pages);
  out->set_score_bytes(stats.score_bytes);
  out->set_default_budget(stats.default_budget);
  v1::GuardStats* const guard = out->mutable_guard();
  guard->set_sampled(stats.guard_sampled);
  guard->set_replayed(stats.guard_replayed);
  guard->set_dropped(stats.guard_dropped);
  guard->set_agreement(stats.guard_agreement);
  guard->set_logprob_drift(stats.guard_logprob_drift);
  guard->set_raises(stats.guard_raises);
}

double MeanScoreMass(const RetentionStats& stats) {
  return stats.selections == 0 ? 1.0 : stats.score_mass / static_cast<double>(stats.selections);
}

}  // namespace prefixd
