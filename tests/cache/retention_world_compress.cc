// RetentionWorld: compressing, storing snapshots, dropping.
#include <algorithm>
#include <climits>
#include <cmath>
#include <utility>

#include <gtest/gtest.h>

#include "tests/cache/kept_sets.h"
#include "tests/cache/retention_world.h"

namespace prefixd::testing {

using Scope = StreamModel::Scope;
using Victim = StreamModel::Victim;

// --- Compressing ---------------------------------------------------------------------------------

std::vector<int32_t> RetentionWorld::Kept(const Stream& stream, int layer, Value choice) {
  std::mt19937_64 random(Mix(choice, static_cast<Value>(layer)));
  const auto tokens = static_cast<uint64_t>(stream.boundary);
  // A third of the layers keep 2 to 6.
  const uint64_t count = random() % 3 == 0 ? 2 + random() % 5 : 1 + random() % tokens;
  return RandomKept(stream.boundary, static_cast<int32_t>(std::min(count, tokens)), &random);
}

void RetentionWorld::CompressModel(Stream* stream, Value choice) {
  for (int layer = 0; layer < num_layers_; ++layer) {
    std::vector<Entry> kept;
    for (const int32_t position : Kept(*stream, layer, choice)) {
      kept.push_back(stream->lists[layer][position]);
    }
    stream->lists[layer] = std::move(kept);
  }
}

int64_t RetentionWorld::PeakOfCompress(const Stream& stream, Value choice) const {
  int64_t taken = 0, peak = 0;
  for (int layer = 0; layer < num_layers_; ++layer) {
    const auto kept = static_cast<int64_t>(Kept(stream, layer, choice).size());
    taken += (kept + kSlotsPerPage - 1) / kSlotsPerPage;
    peak = std::max(peak, taken);
    for (const PageId id : stream.kv.layer(layer).page_ids()) {
      taken -= cache_->num_claims(id) == 1 ? 1 : 0;
    }
  }
  return peak;
}

void RetentionWorld::Compress(Stream* stream) {
  const bool shared = stream->scope == Scope::kShared && stream->name_space >= 0;
  const Value choice =
      shared ? Mix(3, std::hash<std::string>()(Identity(*stream))) : Mix(5, next_value_++);
  cache_->BeginRound(Sequences());
  std::fill(promised_.begin(), promised_.end(), 0);
  const int64_t peak = PeakOfCompress(*stream, choice);
  if (!Reserve(stream->kv.tenant(), peak)) return;
  const int32_t free = cache_->num_free_pages();
  for (int layer = 0; layer < num_layers_; ++layer) {
    const std::vector<int32_t> kept = Kept(*stream, layer, choice);
    const LayerTable old = cache_->Compress(layer, kept, &stream->kv);
    ASSERT_LE(free - cache_->num_free_pages(), peak) << "layer " << layer;
    const absl::Span<const PageId> pages = stream->kv.layer(layer).page_ids();
    for (size_t i = 0; i < kept.size(); ++i) {
      const PageId source = old.page_ids()[kept[i] / kSlotsPerPage];
      memory_[pages[i / kSlotsPerPage]][i % kSlotsPerPage] =
          memory_[source][kept[i] % kSlotsPerPage];
    }
  }
  cache_->FinishCompress(&stream->kv);
  ASSERT_FALSE(stream->kv.shares());
  CompressModel(stream, choice);
  After("compress", peak);
  CheckStream(*stream);
  if (shared) StoreSnapshot(stream);
}

void RetentionWorld::StoreSnapshot(Stream* stream) {
  const SnapshotSpec spec = SpecOf(*stream);
  cache_->StoreSnapshot(SnapshotKey(spec), spec, {.num_tokens = stream->kv.next_position()},
                        &stream->kv);
  const bool stands = static_cast<bool>(stream->kv.snapshot());
  ASSERT_TRUE(stands || key_bits_ < 256) << "only other content under its key is in the way";
  if (stands) {
    stream->stands_on = Identity(*stream);
    stored_[stream->stands_on] = cache_->snapshots().counters().evicted;
    ASSERT_EQ(cache_->SharedPages(stream->kv), stream->kv.num_pages());
  }
  After(stands ? "store snapshot" : "snapshot collision");
  CheckStream(*stream);
  CheckSnapshotUse();
}

// --- Dropping ------------------------------------------------------------------------------------

void RetentionWorld::BeginDrops(Stream* stream) {
  std::vector<LayerBudget> budgets;
  const bool exact = Chance(50);
  for (const std::vector<Entry>& list : stream->lists) {
    const auto kept = static_cast<int32_t>(list.size());
    LayerBudget budget;
    budget.forget_ratio = Chance(15)   ? 0.0
                          : Chance(15) ? 0.9925
                          : Chance(30) ? 1.0 - static_cast<double>(kept) / stream->seen()
                                       : static_cast<double>(Draw(1000)) / 1000.0;
    if (!exact) {
      budget.offset = kept;
      budget.seen_before = stream->seen();
    }
    budget.first_droppable = PublishedIndex(kept);
    if (Chance(30)) budget.first_droppable = static_cast<int32_t>(Draw(list.size() + 8));
    if (stream->victim == Victim::kGiven) budget.first_droppable = INT_MAX;
    budgets.push_back(budget);
  }
  cache_->BeginDrops(budgets, &stream->kv);
  stream->budgets = std::move(budgets);
  After("begin drops");
}

void RetentionWorld::Drop(Stream* stream) {
  if (stream->victim == Victim::kGiven) {
    size_t shortest = SIZE_MAX;
    for (const std::vector<Entry>& list : stream->lists) shortest = std::min(shortest, list.size());
    if (Chance(50)) return;
    const auto slot = static_cast<int32_t>(Draw(static_cast<uint32_t>(shortest)));
    for (int layer = 0; layer < num_layers_; ++layer) {
      const int32_t position = stream->kv.layer(layer).positions()[slot];
      std::erase_if(stream->lists[layer],
                    [position](const Entry& entry) { return entry.position == position; });
    }
    ASSERT_EQ(cache_->DropSlot(slot, &stream->kv), num_layers_);
    After("drop slot");
    return;
  }
  int32_t expected = 0;
  for (int layer = 0; layer < num_layers_; ++layer) {
    std::vector<Entry>& list = stream->lists[layer];
    const LayerBudget& budget = stream->budgets[layer];
    const double allowed =
        budget.offset + (stream->seen() - budget.seen_before) * (1.0 - budget.forget_ratio);
    const double over = std::trunc(static_cast<double>(list.size()) - allowed);
    if (over < 1 || budget.first_droppable >= static_cast<int32_t>(list.size())) continue;
    list.erase(list.begin() + budget.first_droppable);
    ++expected;
  }
  ASSERT_EQ(cache_->DropOldest(&stream->kv), expected);
  After("drop oldest");
}

}  // namespace prefixd::testing
