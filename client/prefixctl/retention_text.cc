#include "client/prefixctl/retention_text.h"

#include <algorithm>
#include <cstdint>
#include <numeric>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/strip.h"
#include "client/prefixctl/quantity.h"

namespace prefixd::ctl {

std::string ScopeName(v1::RetentionScope scope) {
  const std::string& name = v1::RetentionScope_Name(scope);
  if (name.empty()) return absl::StrCat("scope_", static_cast<int>(scope));
  return absl::AsciiStrToLower(absl::StripPrefix(name, "RETENTION_SCOPE_"));
}

std::string RetentionSummary(const v1::RetentionReceipt& receipt) {
  if (receipt.scope() == v1::RETENTION_SCOPE_UNSPECIFIED ||
      receipt.scope() == v1::RETENTION_SCOPE_OFF) {
    return "";
  }
  std::string line = absl::StrCat("retention ", ScopeName(receipt.scope()));
  if (!receipt.policy().empty()) absl::StrAppend(&line, " ", receipt.policy());
  if (!receipt.profile().empty()) absl::StrAppend(&line, "/", receipt.profile());
  absl::StrAppendFormat(&line, " %g %%: ", 100 * receipt.budget());
  const auto& kept = receipt.kept_tokens();
  if (kept.empty()) {
    absl::StrAppend(&line, "nothing was selected");
  } else {
    const int64_t sum = std::accumulate(kept.begin(), kept.end(), int64_t{0});
    absl::StrAppendFormat(&line, "kept %.0f of %d tokens (min %d, max %d a layer), mass %.0f %%",
                          static_cast<double>(sum) / kept.size(), receipt.selected_from(),
                          *std::min_element(kept.begin(), kept.end()),
                          *std::max_element(kept.begin(), kept.end()), 100 * receipt.score_mass());
  }
  if (receipt.snapshot_hit()) absl::StrAppend(&line, "; the compressed prefix was there");
  if (receipt.decode_drops() > 0) {
    absl::StrAppend(&line, "; ", receipt.decode_drops(), " slots taken over");
  }
  if (receipt.saved_kv_bytes() > 0) {
    absl::StrAppend(&line, "; ", FormatBytes(receipt.saved_kv_bytes()), " saved");
  }
  return line;
}

std::string DescribeRetention(const v1::RetentionParams& params) {
  return absl::StrFormat("%s, budget %g %%, %s%s%s, start %d, protect %d, distance %d",
                         ScopeName(params.scope()), 100 * params.budget(), params.policy(),
                         params.profile().empty() ? "" : "/", params.profile(), params.start_size(),
                         params.protect(), params.distance());
}

std::string FormatRatio(double ratio) { return absl::StrFormat("%.1f %%", 100 * ratio); }

KeptShares KeptSharesOf(const v1::RetentionStats& stats) {
  KeptShares shares;
  if (stats.selected_from() == 0 || stats.kept_tokens().empty()) return shares;
  const double whole = static_cast<double>(stats.selected_from());
  for (const uint64_t kept : stats.kept_tokens()) {
    shares.layers.push_back(std::min(1.0, static_cast<double>(kept) / whole));
  }
  const auto [least, most] = std::minmax_element(shares.layers.begin(), shares.layers.end());
  shares.least = *least;
  shares.most = *most;
  shares.mean = std::accumulate(shares.layers.begin(), shares.layers.end(), 0.0) /
                static_cast<double>(shares.layers.size());
  return shares;
}

std::vector<std::vector<std::string>> RetentionRows(const v1::RetentionStats& stats) {
  const KeptShares shares = KeptSharesOf(stats);
  const v1::GuardStats& guard = stats.guard();
  const std::string kept =
      shares.layers.empty()
          ? "-"
          : absl::StrCat(FormatRatio(shares.mean), " of ", stats.selected_from(), " tokens in ",
                         stats.selections(), " selections, by layer ", FormatRatio(shares.least),
                         " to ", FormatRatio(shares.most), "; mass ",
                         FormatRatio(stats.score_mass()));
  const uint64_t lookups = stats.snapshot_hits() + stats.snapshot_misses();
  return {
      {"retention", absl::StrCat(stats.exact_requests(), " exact, ", stats.shared_requests(),
                                 " shared, ", stats.off_requests(), " off; default budget ",
                                 FormatRatio(stats.default_budget()))},
      {"  kept", kept},
      {"  saved", absl::StrCat(FormatBytes(stats.saved_kv_bytes()), "; ", stats.decode_drops(),
                               " slots taken over")},
      {"  snapshots", absl::StrCat(stats.snapshots(), ", ", stats.snapshot_pages(), " pages; ",
                                   FormatShare(stats.snapshot_hits(), lookups), " (",
                                   stats.snapshot_hits(), " of ", lookups, " lookups), ",
                                   stats.snapshots_made(), " made, ", stats.snapshots_evicted(),
                                   " evicted; scores ", FormatBytes(stats.score_bytes()))},
      {"quality guard",
       absl::StrCat("agreement ", FormatRatio(guard.agreement()),
                    absl::StrFormat(", drift %.3f", guard.logprob_drift()), "; ", guard.replayed(),
                    " replayed of ", guard.sampled(), " sampled, ", guard.dropped(), " dropped, ",
                    guard.raises(), " raises")},
  };
}

}  // namespace prefixd::ctl
