// The only file of the simulation that knows how the core is built, fed and looked into. The rest
// speaks of specs, live requests and page ids.
#ifndef PREFIXD_TESTS_SIMULATION_CORE_ADAPTER_H_
#define PREFIXD_TESTS_SIMULATION_CORE_ADAPTER_H_

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "base/clock.h"
#include "engine/backend/backend.h"
#include "engine/engine.h"
#include "engine/models/model.h"
#include "engine/prefix_registry.h"
#include "engine/request.h"
#include "engine/step_loop.h"
#include "tests/simulation/live_request.h"
#include "tests/simulation/scenario.h"
#include "tests/simulation/sim_tokenizer.h"

namespace prefixd::simulation {

class Core {
 public:
  struct Callbacks {
    std::function<void(LiveRequest*)> on_scheduled;
    std::function<void(LiveRequest*)> on_end;
    std::function<void(LiveRequest*, Event)> on_event;
  };

  // All must outlive the core. The pool is the model's business.
  Core(const Config& config, const std::vector<TenantSpec>& tenants, Backend* backend,
       std::unique_ptr<Model> model, std::unique_ptr<KvPool> pool, const Clock* clock,
       Callbacks callbacks);
  ~Core();

  // `request` must live until it ended.
  void Submit(LiveRequest* request);
  void Cancel(LiveRequest* request, bool draining);
  bool Step() { return loop_->Step(); }
  absl::Time NextTimer() const { return loop_->NextTimer(); }
  void FailAll(const absl::Status& status) { loop_->FailAll(status); }
  EngineStats Stats() const;

  // Drops what is cached and unused, of one tenant or (-1) of all.
  void Flush(int32_t tenant) { loop_->Flush(tenant); }
  // Of the prefix that `request` pinned: whether it stays, and how many tokens of it.
  bool IsPinned(const LiveRequest& request) const;
  int32_t PinnedTokens(const LiveRequest& request) const;
  void Release(const LiveRequest& request);

  // What the core thinks of a live request.
  struct Look {
    bool waiting = false;  // To be admitted, for the first time or again.
    bool parked = false;
    bool column_waits = false;  // For a column that another computes.
    bool image_waits = false;
    bool decodes = false;
    int32_t unfinished = 0;  // Choices.
    int32_t preemptions = 0;
  };
  // Requires: it has not ended.
  Look LookAt(const LiveRequest& request) const;

  // The index of shared prefixes, and the compressed ones.
  const PrefixIndex& index() const { return loop_->cache().index(); }
  const SnapshotStore& snapshots() const { return loop_->cache().snapshots(); }
  // Rows of the request's prompt that the index holds.
  int32_t IndexedRows(const LiveRequest& request) const;

  // The KV tables of live choices. Pointers are valid until the next call into the core.
  struct Table {
    LiveRequest* request = nullptr;
    int choice = 0;
    const KvSequence* kv = nullptr;

    absl::Span<const int32_t> pages(int layer) const { return kv->layer(layer).page_ids(); }
    int32_t length(int layer) const { return kv->layer(layer).length(); }
    absl::Span<const int32_t> positions(int layer) const { return kv->layer(layer).positions(); }
    int32_t free_slot(int layer) const { return kv->layer(layer).free_slot(); }
    bool compressed() const { return kv->compressed(); }
  };
  // Fills `tables`; tables without pages are left out.
  void FindTables(std::vector<Table>* tables) const;
  // Counts the claims on each page afresh: those of tables, of the index and of
  // snapshots. claims: [pages].
  void CountClaims(absl::Span<const Table> tables, absl::Span<int32_t> claims) const;

 private:
  struct Entry {
    LiveRequest* request = nullptr;
    const ActiveRequest* active = nullptr;
  };

  std::shared_ptr<PrefixEntry> Reserve(const LiveRequest& request);

  const Config config_;
  const SimTokenizer tokenizer_;
  const Clock* const clock_;
  const Callbacks callbacks_;
  PrefixRegistry registry_;
  std::map<int64_t, std::shared_ptr<PrefixEntry>> pins_;  // By id of the request.
  std::vector<Entry> entries_;                            // Live ones, in order of arrival.
  std::unique_ptr<StepLoop> loop_;
};

}  // namespace prefixd::simulation

#endif  // PREFIXD_TESTS_SIMULATION_CORE_ADAPTER_H_
