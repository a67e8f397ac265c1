// RetentionWorld: what must hold after every operation.
#include <algorithm>
#include <set>

#include <gtest/gtest.h>

#include "tests/cache/retention_world.h"

namespace prefixd::testing {

void RetentionWorld::After(const char* mark, int64_t max_taken) {
  ++operations_;
  ++marks_[mark];
  ASSERT_LE(free_before_ - cache_->num_free_pages(), max_taken) << mark;
  free_before_ = cache_->num_free_pages();
  cache_->CheckInvariants(Sequences());
  ScrubFreePages();
}

// A page that is free has lost its content.
void RetentionWorld::ScrubFreePages() {
  for (PageId page = 0; page < num_pages_; ++page) {
    if (cache_->num_claims(page) > 0) continue;
    const bool is_source =
        std::any_of(cache_->copies().begin(), cache_->copies().end(),
                    [page](const PendingCopy& copy) { return copy.source == page; });
    if (!is_source) std::fill(memory_[page].begin(), memory_[page].end(), next_value_++);
  }
}

void RetentionWorld::CheckAllStreams() {
  for (const auto& stream : streams_) CheckStream(*stream);
}

void RetentionWorld::CheckStream(const Stream& stream) {
  std::vector<std::pair<int32_t, Value>> held;
  for (int layer = 0; layer < num_layers_; ++layer) {
    const LayerTable& table = stream.kv.layer(layer);
    const std::vector<Entry>& list = stream.lists[layer];
    held.clear();
    bool in_order = true;
    for (int32_t slot = 0; slot < table.length(); ++slot) {
      if (slot == table.free_slot()) continue;
      const int32_t position = table.positions()[slot];
      in_order = in_order && (held.empty() || held.back().first < position);
      const PageId page = table.page_ids()[slot / kSlotsPerPage];
      held.emplace_back(position, memory_[page][slot % kSlotsPerPage]);
    }
    if (!in_order) std::sort(held.begin(), held.end());
    ASSERT_EQ(held.size(), list.size());
    for (size_t i = 0; i < list.size(); ++i) {
      ASSERT_EQ(held[i].first, list[i].position) << "layer " << layer << " entry " << i;
      ASSERT_EQ(held[i].second, Mix(list[i].value, layer)) << "layer " << layer << " entry " << i;
    }
    if (stream.budgets.empty() || stream.victim != Stream::Victim::kOldest) continue;
    // What is pinned stays: everything below the first droppable slot is never handed on.
    ASSERT_TRUE(table.free_slot() < 0 ||
                table.free_slot() >= stream.budgets[layer].first_droppable);
  }
}

void RetentionWorld::CheckSnapshotUse() {
  std::set<PageId> used;
  std::vector<std::set<PageId>> by_tenant(kTenants);
  for (const auto& stream : streams_) {
    EXPECT_EQ(static_cast<bool>(stream->kv.snapshot()), !stream->stands_on.empty());
    if (!stream->kv.snapshot()) continue;
    for (const LayerTable& layer : stream->kv.snapshot()->layers) {
      for (const PageId id : layer.page_ids()) {
        used.insert(id);
        by_tenant[stream->kv.tenant()].insert(id);
      }
    }
  }
  int64_t unused = 0, all = 0;
  cache_->snapshots().ForEachPage([&](PageId id, bool is_used) {
    ++all;
    unused += is_used ? 0 : 1;
    EXPECT_EQ(is_used, used.contains(id));
  });
  const SnapshotStore& store = cache_->snapshots();
  EXPECT_EQ(store.evictable_pages(), unused);
  EXPECT_EQ(store.num_pages(), all);
  for (int32_t t = 0; t < kTenants; ++t) {
    EXPECT_EQ(store.num_pages(t) - store.evictable_pages(t),
              static_cast<int64_t>(by_tenant[t].size()));
  }
  EXPECT_EQ(static_cast<uint64_t>(store.size()), store.counters().made - store.counters().evicted);
}

// Pages that the tenant's streams hold beyond shared columns and their snapshot, each once.
int64_t RetentionWorld::CountOwnPages(int32_t tenant) const {
  std::set<PageId> pages;
  for (const auto& stream : streams_) {
    if (stream->kv.tenant() != tenant) continue;
    for (int layer = 0; layer < num_layers_; ++layer) {
      const absl::Span<const PageId> ids = stream->kv.layer(layer).page_ids();
      std::set<PageId> of_snapshot;
      if (stream->kv.snapshot()) {
        const auto held = stream->kv.snapshot()->layers[layer].page_ids();
        of_snapshot.insert(held.begin(), held.end());
      }
      for (size_t i = stream->kv.num_shared_columns(); i < ids.size(); ++i) {
        if (!of_snapshot.contains(ids[i])) pages.insert(ids[i]);
      }
    }
  }
  return static_cast<int64_t>(pages.size());
}

// A partly matched column is both its index's and its stream's own until it is copied, so that it
// may count twice; everything else counts once.
void RetentionWorld::CheckHeld() {
  int64_t pinned = 0, counted_pinned = 0;
  cache_->index().ForEachPage([&](PageId, bool is_pinned) { pinned += is_pinned ? 1 : 0; });
  for (int32_t t = 0; t < kTenants; ++t) {
    std::set<PageId> pages, used;
    for (const auto& stream : streams_) {
      if (stream->kv.tenant() != t) continue;
      for (int layer = 0; layer < num_layers_; ++layer) {
        const absl::Span<const PageId> ids = stream->kv.layer(layer).page_ids();
        pages.insert(ids.begin(), ids.end());
        if (!stream->kv.snapshot()) continue;
        const auto held = stream->kv.snapshot()->layers[layer].page_ids();
        used.insert(held.begin(), held.end());
      }
    }
    pages.insert(used.begin(), used.end());
    const int64_t of_index = cache_->index().num_pages(t) - cache_->index().evictable_pages(t);
    counted_pinned += of_index;
    const int64_t own = CountOwnPages(t);
    const auto once = static_cast<int64_t>(pages.size());
    const int64_t twice = own + of_index + static_cast<int64_t>(used.size());
    ASSERT_GE(cache_->held_pages(t), once + promised_[t]);
    ASSERT_LE(cache_->held_pages(t), twice + promised_[t]);
    ++marks_[once == twice ? "held exactly" : "held with partial columns"];
  }
  ASSERT_EQ(pinned, counted_pinned);
}

}  // namespace prefixd::testing
