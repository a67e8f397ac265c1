// What the world counts afresh after every step, and what it notes of the paths that were taken.
#include <algorithm>

#include "absl/strings/str_cat.h"
#include "tests/simulation/world.h"

namespace prefixd::simulation {

// Whatever had to end has ended: a cancel or deadline that this step could see, a fault that hit.
void World::AuditEnds(absl::Time step_begin) {
  for (const auto& [id, request] : requests_) {
    if (request->ended) continue;
    if (request->must_end)
      return Fail("I25", *request, "lives on after a step that saw its cancel");
    if (step_begin >= request->deadline) {
      return Fail("I25", *request, "lives on after a step that saw its deadline");
    }
    if (step_begin >= request->soft_limit) {
      return Fail("I25", *request, "lives on after a step that saw its time limit");
    }
    if (request->must_fail) return Fail("faults", *request, "survived a step that failed for it");
    if (request->image_must_fail) return Fail("faults", *request, "survived its image's failure");
  }
}

// I1, I3, I4, I34: pages counted afresh. Free pages are poisoned, so that a late read shows.
void World::AuditPages(const EngineStats& stats) {
  core_->FindTables(&tables_);
  core_->CountClaims(tables_, absl::MakeSpan(claims_));
  int32_t free = 0;
  for (size_t page = 0; page < claims_.size(); ++page) {
    if (claims_[page] > 0) continue;
    ++free;
    pool_->Poison(static_cast<int32_t>(page));
  }
  if (free != stats.free_pages || static_cast<int64_t>(claims_.size()) != stats.total_pages) {
    report_->Fail("I1", absl::StrCat(free, " of ", claims_.size(),
                                     " pages are claimed by nobody, the core says ",
                                     stats.free_pages, " of ", stats.total_pages, " are free"));
  }
  for (const Core::Table& table : tables_) {
    if (table.compressed()) NoteDrops(table);
    for (int layer = 1; layer < table.kv->num_layers() && !table.compressed(); ++layer) {
      if (table.length(layer) == table.length(0)) continue;
      Fail("I21", *table.request,
           absl::StrCat("layer ", layer, " has ", table.length(layer), " slots, layer 0 has ",
                        table.length(0)));
    }
  }
}

void World::NoteDrops(const Core::Table& table) {
  for (int layer = 0; layer < table.kv->num_layers(); ++layer) {
    const int32_t slot = table.free_slot(layer);
    if (slot < 0) continue;
    report_->Reach(Mark::kDropped);
    const int32_t page = table.pages(layer)[slot / kPageSlots];
    if (claims_[static_cast<size_t>(page)] > 1) report_->Reach(Mark::kDropInSharedPage);
  }
}

// A page that tables hold too is never evictable; without pinned prefixes all others are.
void World::AuditIndex(const EngineStats& stats) {
  bool any_pin = false;
  for (const auto& [id, request] : requests_) {
    const bool pinned = request->spec.pin != 0 && core_->IsPinned(*request);
    any_pin |= pinned;
    if (request->pin_stays && !pinned) {
      report_->Reach(Mark::kPinExpired);
      request->pin_stays = false;
    }
  }
  int64_t pages = 0, unused = 0, evictable = 0, used_and_evictable = 0;
  core_->index().ForEachPage([&](int32_t page, bool pinned) {
    const bool used = claims_[static_cast<size_t>(page)] > 1;
    ++pages;
    unused += !used;
    evictable += !pinned;
    used_and_evictable += used && !pinned;
    if (pool_->compressed(page)) {
      report_->Fail("budget", absl::StrCat("page ", page, " of the prefix index holds KV that was ",
                                           "computed under a budget"));
    }
  });
  int64_t snapshot_pages = 0, of_snapshots = 0;
  core_->snapshots().ForEachPage([&](int32_t page, bool pinned) {
    const bool used = claims_[static_cast<size_t>(page)] > 1;
    ++snapshot_pages;
    of_snapshots += !pinned;
    used_and_evictable += used && !pinned;
  });
  if (snapshot_pages != stats.retention.snapshot_pages) {
    report_->Fail("I34", absl::StrCat(snapshot_pages, " pages of snapshots; told ",
                                      stats.retention.snapshot_pages));
  }
  if (used_and_evictable > 0) {
    report_->Fail("I10", absl::StrCat(used_and_evictable, " pages in use may be evicted"));
  }
  if (!any_pin && unused != evictable) {
    report_->Fail("I34", absl::StrCat(unused, " cached pages are used by nobody, ", evictable,
                                      " may be evicted"));
  }
  evictable += of_snapshots;
  if (evictable != stats.cache.evictable_pages || pages != stats.cache.columns * config_.layers) {
    report_->Fail("I34", absl::StrCat(pages, " cached pages, ", evictable, " evictable; told ",
                                      stats.cache.columns * config_.layers, " and ",
                                      stats.cache.evictable_pages));
  }
}

// I20, I34: gauges and totals counted afresh.
void World::AuditTotals(const EngineStats& stats) {
  const auto check = [this](absl::string_view name, uint64_t told, uint64_t counted) {
    if (told == counted) return;
    report_->Fail("I34", absl::StrCat(name, " is ", told, ", counted afresh ", counted));
  };
  uint64_t running = 0;
  int64_t choices = 0;
  for (const auto& [id, request] : requests_) {
    if (request->ended) continue;
    const Core::Look look = core_->LookAt(*request);
    running += look.waiting ? 0 : 1;
    if (!look.waiting && !look.parked) choices += look.unfinished;
  }
  check("running", static_cast<uint64_t>(stats.running), running);
  check("waiting", static_cast<uint64_t>(stats.waiting),
        static_cast<uint64_t>(num_live_) - running);
  check("requests", stats.requests.size(), static_cast<uint64_t>(num_live_));
  check("requests_finished", stats.requests_finished, finished_);
  check("requests_failed", stats.requests_failed, failed_);
  check("generated_tokens", stats.generated_tokens, generated_);
  check("prompt_tokens", stats.prompt_tokens, prompt_tokens_);
  check("images", stats.images, images_);
  if (stats.waiting > 0 && choices < config_.max_running) {
    report_->Reach(Mark::kPagesBlockAdmission);
  }
}

// I17, I34: by tenant, generated tokens, hits, and distinct pages under its requests.
void World::AuditTenants(const EngineStats& stats) {
  std::vector<int32_t> owner(claims_.size(), -1);
  std::vector<int64_t> held(counted_.size());
  for (const Core::Table& table : tables_) {
    const auto tenant = static_cast<int32_t>(table.request->spec.tenant);
    for (int layer = 0; layer < table.kv->num_layers(); ++layer) {
      for (const int32_t page : table.pages(layer)) {
        int32_t& of = owner[static_cast<size_t>(page)];
        if (of >= 0 && of != tenant) {
          return Fail("I8", *table.request, absl::StrCat("reads page ", page, " of tenant ", of));
        }
        held[static_cast<size_t>(tenant)] += of < 0 ? 1 : 0;
        of = tenant;
      }
    }
  }
  for (size_t t = 0; t < counted_.size(); ++t) {
    const TenantStats& told = stats.tenants[t];
    const int64_t quota = tenants_[t].share * config_.pages / 100;
    if (held[t] > quota) {
      report_->Fail("I17", absl::StrCat("requests of tenant ", t, " hold ", held[t],
                                        " pages, its quota is ", quota));
    }
    if (held[t] == quota && quota < config_.pages) report_->Reach(Mark::kQuotaReached);
    if (told.generated_tokens != counted_[t].generated) {
      report_->Fail("I34", absl::StrCat("tenant ", t, " generated ", counted_[t].generated,
                                        " tokens, told ", told.generated_tokens));
    }
    if (told.cached_tokens < counted_[t].hits) {
      report_->Fail("I34", absl::StrCat("tenant ", t, " had ", counted_[t].hits, " hits, told ",
                                        told.cached_tokens));
    }
  }
}

// I17: while nothing of a tenant lives, others leave it what it has cached, up to its floor.
void World::AuditFloors(const EngineStats& stats) {
  for (size_t t = 0; t < counted_.size(); ++t) {
    const Tenant& tenant = counted_[t];
    const int64_t now = core_->index().num_pages(static_cast<int32_t>(t));
    const int64_t floor = tenants_[t].floor * config_.pages / 100;
    if (!tenant.idle || flushed_ || floor == 0) continue;
    if (now < std::min(tenant.cached_pages, floor)) {
      report_->Fail("I17", absl::StrCat("tenant ", t, " at rest had ", tenant.cached_pages,
                                        " cached pages, a floor of ", floor, ", and has ", now));
    }
    const bool tight = stats.free_pages < config_.layers;
    if (now > 0 && now - config_.layers < floor && tight) report_->Reach(Mark::kFloorKept);
  }
}

// I28: of two tenants with work that waits, neither gets ahead by more than what may be under way.
// Only where nothing but the share decides: no limits of their own, no pins, no parked requests.
void World::AuditFairness() {
  if (pinned_ever_ || stalled_ever_) return;
  for (Tenant& tenant : counted_) tenant.backlogged = false;
  for (const auto& [id, request] : requests_) {
    if (request->ended) continue;
    const Core::Look look = core_->LookAt(*request);
    if (!look.waiting || look.column_waits) continue;
    counted_[static_cast<size_t>(request->spec.tenant)].backlogged = true;
  }
  const size_t count = counted_.size();
  const double rows =
      static_cast<double>(config_.context + config_.context / config_.image_rows *
                                                config_.tower_steps * config_.tower_rows);
  const double bound = 4 * rows * static_cast<double>(config_.max_running + 1);
  for (size_t a = 0; a < count; ++a) {
    for (size_t b = 0; b < count; ++b) {
      if (a == b || !IsFree(a) || !IsFree(b)) continue;
      const size_t pair = a * count + b;
      const double lead = counted_[a].served - counted_[b].served;
      if (!counted_[a].backlogged || !counted_[b].backlogged) {
        competing_[pair] = false;
      } else if (!competing_[pair]) {
        competing_[pair] = true;
        leads_[pair] = lead;
      } else if (lead - leads_[pair] > bound) {
        return report_->Fail("I28", absl::StrCat("tenant ", a, " got ", lead - leads_[pair],
                                                 " rows for its weight more than tenant ", b,
                                                 " while both waited; at most ", bound));
      }
    }
  }
}

// A tenant that was not left waiting starts level with those that were, or, if nobody was, with
// whoever asked last: nobody saves up.
void World::BeginShares() {
  if (shares_begun_) return;
  shares_begun_ = true;
  for (Tenant& tenant : counted_) tenant.asking = false;
  for (const auto& [id, request] : requests_) {
    if (request->ended) continue;
    const Core::Look look = core_->LookAt(*request);
    const bool prefill = !look.waiting && !look.decodes && !look.parked;
    const bool waits = look.waiting && !look.parked;
    if (waits || prefill) counted_[static_cast<size_t>(request->spec.tenant)].asking = true;
  }
  double least = -1;
  for (const Tenant& tenant : counted_) {
    if (!tenant.asking || !tenant.left_waiting) continue;
    least = least < 0 ? tenant.counter : std::min(least, tenant.counter);
  }
  for (Tenant& tenant : counted_) {
    if (!tenant.asking || tenant.left_waiting) continue;
    tenant.counter = std::max(tenant.counter, least < 0 ? level_ : least);
  }
}

void World::EndShares() {
  for (Tenant& tenant : counted_) {
    if (tenant.asking) level_ = std::max(level_, tenant.counter);
    tenant.left_waiting = false;
  }
  for (const auto& [id, request] : requests_) {
    if (request->ended) continue;
    const Core::Look look = core_->LookAt(*request);
    const bool prefill = !look.waiting && !look.decodes && !look.parked;
    const bool waits = look.waiting && !look.parked;
    if (look.column_waits || !(waits || prefill)) continue;
    counted_[static_cast<size_t>(request->spec.tenant)].left_waiting = true;
  }
}

// I28: who starts is of the tenant that had least for its weight, of those with somebody who could
// start, give or take two steps. Where all is counted, and nothing but the share decides.
void World::CheckTurn(const LiveRequest& request) {
  if (pinned_ever_ || stalled_ever_ || uncounted_ever_) return;
  const double mine = counted_[static_cast<size_t>(request.spec.tenant)].counter;
  // Who came back to waiting within a step, and at which level, is not seen exactly from outside.
  const double slack = static_cast<double>(2 * config_.max_batch);
  for (const auto& [id, other] : requests_) {
    const auto tenant = static_cast<size_t>(other->spec.tenant);
    if (other->ended || other->spec.tenant == request.spec.tenant || !IsFree(tenant)) continue;
    const Core::Look look = core_->LookAt(*other);
    if (look.preemptions != other->preemptions) continue;  // It made room for this one.
    const bool could_start = look.waiting && !look.parked && !look.column_waits;
    if (!could_start || counted_[tenant].counter + slack > mine) continue;
    return Fail("I28", request,
                absl::StrCat("starts with ", mine, " rows for its tenant's weight, ", "request ",
                             id, " waits with ", counted_[tenant].counter));
  }
}

// Floors of others are limits, too.
bool World::IsFree(size_t tenant) const {
  const bool floors = std::any_of(tenants_.begin(), tenants_.end(),
                                  [](const TenantSpec& spec) { return spec.floor > 0; });
  const TenantSpec& spec = tenants_[tenant];
  return spec.share == 100 && !floors && spec.max_running >= config_.max_running;
}

void World::NoteWaitsAndPreemptions() {
  for (const auto& [id, request] : requests_) {
    if (request->ended) continue;
    const Core::Look look = core_->LookAt(*request);
    if (look.column_waits) {
      report_->Reach(Mark::kColumnWaited);
      request->column_waited = true;
      request->hits_when_waiting = request->hit_rows;
    }
    if (look.image_waits && !look.waiting) report_->Reach(Mark::kImageWaited);
    if (look.preemptions == request->preemptions) continue;
    request->preemptions = look.preemptions;
    report_->Reach(request->any_token() ? Mark::kPreemptedDecode : Mark::kPreemptedPrefill);
    if (request->stalled && request->was_parked) report_->Reach(Mark::kPreemptedParked);
    if (request->spec.choices > 1) report_->Reach(Mark::kPreemptedChoices);
    if (look.preemptions > 1) report_->Reach(Mark::kPreemptedTwice);
  }
}

void World::NoteEvictions() {
  const PrefixIndex::Counters& now = core_->index().counters();
  if (now.evicted > index_before_.evicted) {
    report_->Reach(Mark::kEvicted);
    if (ended_in_last_step_) report_->Reach(Mark::kEvictedAfterEnd);
  }
  if (now.duplicates > index_before_.duplicates) report_->Reach(Mark::kDuplicate);
  if (now.collisions > index_before_.collisions) report_->Reach(Mark::kCollision);
  const SnapshotStore::Counters& snapshots = core_->snapshots().counters();
  if (snapshots.evicted > snapshots_before_.evicted) report_->Reach(Mark::kSnapshotEvicted);
  if (snapshots.collisions > snapshots_before_.collisions) {
    report_->Reach(Mark::kSnapshotCollision);
  }
}

}  // namespace prefixd::simulation
