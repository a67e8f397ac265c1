#include "tests/simulation/sim_backend.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"

namespace prefixd::simulation {
namespace {

Slot* SlotIn(absl::Span<const int32_t> pages, int32_t slot, SimPool* pool) {
  return &pool->page(pages[slot / kPageSlots])[slot % kPageSlots];
}

}  // namespace

absl::Status SimBackend::CopyPages(absl::Span<const PageCopy> copies, KvPool* pool) {
  if (std::exchange(faults_->copy_fails, false)) {
    failed_ = true;
    report_->Reach(Mark::kCopyFailed);
    return absl::InternalError("injected: a copy failed");
  }
  auto* const memory = static_cast<SimPool*>(pool);
  for (const PageCopy& copy : copies) {
    if (memory->poisoned(copy.source)) {
      report_->Fail("I26", absl::StrCat("page ", copy.source, " is copied after it was freed"));
    }
    std::copy_n(memory->page(copy.source), kPageSlots, memory->page(copy.destination));
    memory->Revive(copy.destination);
    memory->set_compressed(copy.destination, memory->compressed(copy.source));
  }
  copies_ += static_cast<int64_t>(copies.size());
  report_->Reach(Mark::kCopyOnWrite);
  return absl::OkStatus();
}

// The tables that the slots go to are found by their lists of pages.
absl::Status SimBackend::GatherSlots(absl::Span<const SlotGather> gathers, KvPool* pool) {
  core_->FindTables(&tables_);
  claims_.resize(static_cast<size_t>(pool->shape().num_pages));
  core_->CountClaims(tables_, absl::MakeSpan(claims_));
  for (const SlotGather& gather : gathers) {
    const Core::Table* owner = nullptr;
    int of_layer = 0;
    for (const Core::Table& table : tables_) {
      for (int layer = 0; layer < table.kv->num_layers(); ++layer) {
        if (table.pages(layer).data() != gather.destination_pages.data()) continue;
        owner = &table;
        of_layer = layer;
      }
    }
    if (owner == nullptr) {
      report_->Fail("I21", "slots are moved to no live table");
      return absl::OkStatus();
    }
    if (std::exchange(faults_->gather_fails, false)) {
      owner->request->gather_failed = true;
      return absl::InternalError("injected: a move of slots failed");
    }
    Gather(gather, static_cast<SimPool*>(pool));
    CheckGathered(gather, static_cast<SimPool*>(pool), *owner, of_layer);
  }
  return absl::OkStatus();
}

void SimBackend::Gather(const SlotGather& gather, SimPool* pool) {
  const bool means = !gather.first_source.empty();
  const size_t count = means ? gather.first_source.size() - 1 : gather.sources.size();
  for (const int32_t page : gather.destination_pages) {
    const bool source = std::count(gather.source_pages.begin(), gather.source_pages.end(), page);
    if (source || claims_[static_cast<size_t>(page)] != 1) {
      report_->Fail("I3", absl::StrCat("slots are moved to page ", page, " with ",
                                       claims_[static_cast<size_t>(page)], " claims",
                                       source ? ", from which others are moved" : ""));
    }
    for (int32_t slot = 0; slot < kPageSlots; ++slot) pool->page(page)[slot] = Slot();
    pool->Revive(page);
    pool->set_compressed(page, true);
  }
  if (gather.destination_pages.size() != (count + kPageSlots - 1) / kPageSlots) {
    return report_->Fail("I21", absl::StrCat(count, " slots are moved to ",
                                             gather.destination_pages.size(), " pages"));
  }
  for (size_t to = 0; to < count; ++to) {
    const auto first = static_cast<size_t>(means ? gather.first_source[to] : to);
    const auto end = static_cast<size_t>(means ? gather.first_source[to + 1] : to + 1);
    std::vector<ChainHash> chains;
    Slot moved;
    for (size_t i = first; i < end; ++i) {
      const int32_t page = gather.source_pages[gather.sources[i] / kPageSlots];
      if (pool->poisoned(page)) {
        report_->Fail("I26", absl::StrCat("slots of page ", page, " are moved after it was freed"));
      }
      moved = *SlotIn(gather.source_pages, gather.sources[i], pool);
      chains.push_back(moved.chain);
    }
    if (means) moved.position = -1;  // Of several; the table knows which it stands for.
    moved.chain = MeanOf(chains);
    *SlotIn(gather.destination_pages, static_cast<int32_t>(to), pool) = moved;
  }
  if (means) report_->Reach(Mark::kMerged);
}

// What the selection left of the layer, and nothing else.
void SimBackend::CheckGathered(const SlotGather& gather, SimPool* pool, const Core::Table& table,
                               int layer) {
  Oracle& oracle = table.request->oracle;
  const absl::Span<const int32_t> positions = table.positions(layer);
  const auto fail = [&](absl::string_view what) {
    report_->Fail("budget", absl::StrCat("request ", table.request->spec.id, " layer ", layer,
                                         " of what the selection left: ", what));
  };
  if (!oracle.budgeted()) return fail("there is no budget");
  const KeptLists& kept = oracle.Selected();
  if (table.length(layer) != kept.kept_tokens()[layer]) {
    return fail(absl::StrCat(table.length(layer), " slots, must be ", kept.kept_tokens()[layer]));
  }
  for (int32_t slot = 0; slot < table.length(layer); ++slot) {
    const int32_t position = positions[slot];
    if (position >= oracle.boundary() || !kept.Sees(layer, oracle.boundary(), position)) {
      return fail(absl::StrCat("position ", position, " should have gone"));
    }
    Slot* const moved = SlotIn(gather.destination_pages, slot, pool);
    if (!gather.first_source.empty()) moved->position = position;
    if (*moved == Slot{kept.ChainAt(layer, position), position, layer}) continue;
    return fail(absl::StrCat("position ", position, " holds something else"));
  }
  if (table.request->preemptions > 0) report_->Reach(Mark::kSelectedAgain);
  if (table.length(layer) < oracle.boundary()) report_->Reach(Mark::kSelected);
}

}  // namespace prefixd::simulation
