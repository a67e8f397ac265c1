#include <algorithm>
#include <cstdio>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "client/prefixctl/commands.h"
#include "client/prefixctl/exit_code.h"
#include "client/prefixctl/message_json.h"
#include "client/prefixctl/quantity.h"
#include "client/prefixctl/retention_text.h"
#include "client/prefixctl/table.h"

namespace prefixd::ctl {
namespace {

using Rows = std::vector<std::vector<std::string>>;

// "30 (41.7 %, 1.5 MiB)": pages, their share of all, their size.
std::string Pages(const v1::GetCacheStatsResponse& stats, int64_t pages) {
  const uint64_t count = pages < 0 ? 0 : static_cast<uint64_t>(pages);
  return absl::StrCat(count, " (",
                      FormatShare(count, static_cast<uint64_t>(std::max(0, stats.total_pages()))),
                      ", ", FormatBytes(count * stats.page_bytes()), ")");
}

// "41.7 % (5 of 12 tokens)".
std::string Hits(uint64_t hits, uint64_t queries, absl::string_view things) {
  return absl::StrCat(FormatShare(hits, queries), " (", hits, " of ", queries, " ", things, ")");
}

Rows Describe(const v1::GetCacheStatsResponse& stats) {
  const v1::CacheMisses& misses = stats.misses();
  return {
      {"pages", absl::StrCat(stats.total_pages(), ", each ", stats.page_slots(), " tokens of a ",
                             "layer, ", FormatBytes(stats.page_bytes()))},
      {"  free", Pages(stats, stats.free_pages())},
      {"  active", Pages(stats, stats.active_pages())},
      {"  cached", Pages(stats, stats.cached_pages())},
      {"    can be evicted", Pages(stats, stats.evictable_pages())},
      {"  reserved", Pages(stats, stats.reserved_pages())},
      {"pinned prefixes", absl::StrCat(stats.prefixes(), ", ", stats.pinned_pages(), " pages")},
      {"text hits", Hits(stats.text_hit_tokens(), stats.text_query_tokens(), "tokens")},
      {"image hits", Hits(stats.image_hit_tokens(), stats.image_query_tokens(), "tokens")},
      {"computed",
       absl::StrCat(stats.computed_tokens(), " prompt tokens, ", stats.recomputed_tokens(),
                    " again after ", stats.preemptions(), " preemptions")},
      {"requests", absl::StrCat(misses.none(), " hit, ", misses.not_cached(), " not cached, ",
                                misses.diverged(), " diverged, ", misses.evicted(), " evicted, ",
                                misses.no_scores(), " without scores, ",
                                misses.bypassed(), " bypassed")},
      {"columns", absl::StrCat(stats.columns(), " in the index, ", stats.published_columns(),
                               " published, ", stats.evicted_columns(), " evicted")},
      {"evicted pages", absl::StrCat(stats.evicted_pages_lru(), " unused, ",
                                     stats.evicted_pages_preempt(), " by preemption")},
      {"key collisions", absl::StrCat(stats.collisions())},
      {"image features",
       absl::StrCat(Hits(stats.feature_hits(), stats.feature_hits() + stats.tower_runs(), "images"),
                    ", ", stats.feature_entries(), " held, ", FormatBytes(stats.feature_bytes()))},
      {"decoded images",
       absl::StrCat(Hits(stats.image_hits(), stats.image_hits() + stats.image_misses(), "images"),
                    ", ", stats.image_entries(), " held, ", FormatBytes(stats.image_bytes()))},
  };
}

Rows DescribeTenants(const v1::GetCacheStatsResponse& stats) {
  Rows rows = {{"TENANT", "RUNNING", "WAITING", "ACTIVE", "CACHED", "QUOTA", "FLOOR", "PREFIXES",
                "PROMPT", "HITS", "GENERATED"}};
  for (const v1::TenantCacheStats& tenant : stats.tenants()) {
    rows.push_back({tenant.tenant().empty() ? "-" : tenant.tenant(), absl::StrCat(tenant.running()),
                    absl::StrCat(tenant.waiting()), absl::StrCat(tenant.active_pages()),
                    absl::StrCat(tenant.cached_pages()), absl::StrCat(tenant.page_quota()),
                    absl::StrCat(tenant.page_floor()), absl::StrCat(tenant.prefixes()),
                    absl::StrCat(tenant.prompt_tokens()),
                    FormatShare(tenant.cached_tokens(), tenant.prompt_tokens()),
                    absl::StrCat(tenant.generated_tokens())});
  }
  return rows;
}

// Asks the person at the terminal; true for "y" or "yes".
bool Confirm(absl::string_view question) {
  std::fprintf(stderr, "%s [y/N] ", std::string(question).c_str());
  std::fflush(stderr);
  char answer[16] = "";
  if (std::fgets(answer, sizeof(answer), stdin) == nullptr) return false;
  const absl::string_view text(answer);
  return text == "y\n" || text == "Y\n" || text == "yes\n";
}

}  // namespace

int RunCacheStats(Session* session) {
  const auto stats = session->client->GetCacheStats();
  if (!stats.ok()) return Fail(session, stats.status());
  if (session->options.json) {
    PrintLine(MessageLine(*stats));
    return kExitOk;
  }
  Rows rows = Describe(*stats);
  if (stats->has_retention()) {
    for (std::vector<std::string>& row : RetentionRows(stats->retention())) {
      rows.push_back(std::move(row));
    }
  }
  Print(FormatTable(rows));
  if (stats->tenants_size() > 0) Print(absl::StrCat("\n", FormatTable(DescribeTenants(*stats))));
  return kExitOk;
}

int RunCacheFlush(Session* session) {
  const Options& options = session->options;
  const bool ask = session->terminal.stdin_tty && session->terminal.stderr_tty && !options.yes;
  const std::string whose = options.tenant ? absl::StrCat(" of ", *options.tenant) : "";
  if (ask && !Confirm(absl::StrCat("Drop everything cached", whose, " at ", options.server, "?"))) {
    session->messages.Note("nothing was dropped");
    return kExitFailed;
  }
  const auto flushed = session->client->FlushCache(options.tenant);
  if (!flushed.ok()) return Fail(session, flushed.status());
  if (options.json) {
    PrintLine(MessageLine(*flushed));
    return kExitOk;
  }
  PrintLine(absl::StrCat("dropped ", flushed->pages(), " pages (", flushed->columns(),
                         " columns), ", FormatBytes(flushed->feature_bytes()),
                         " of image features, ", FormatBytes(flushed->image_bytes()),
                         " of decoded images"));
  return kExitOk;
}

}  // namespace prefixd::ctl
