// SimModel: slots of KV as rows write and see them.
#include <algorithm>

#include "absl/strings/str_cat.h"
#include "tests/simulation/sim_model.h"

namespace prefixd::simulation {

int32_t SimModel::FirstPosition(const KvSegment& segment, const Core::Table& table) {
  return table.kv->next_position() - segment.num_rows;
}

// What the first row of a compressed segment sees in all layers, without itself.
uint64_t SimModel::ViewBefore(const KvView& kv, size_t segment_index) const {
  uint64_t view = 0;
  for (size_t layer = 0; layer < kv.layers.size(); ++layer) {
    const KvSegment& segment = kv.layers[layer][segment_index];
    for (int32_t slot = 0; slot < segment.first_visible; ++slot) {
      if (slot == segment.write_slots[0]) continue;
      const Slot& seen = SlotAt(segment, slot);
      view += SeenSlot(static_cast<int>(layer), seen.chain, seen.position);
    }
  }
  return view;
}

Slot& SimModel::SlotAt(const KvSegment& segment, int32_t slot) const {
  return parts_.pool->page(segment.pages[slot / kPageSlots])[slot % kPageSlots];
}

void SimModel::NoteBudget(int32_t first, const Core::Table& table) {
  const LiveRequest& request = *table.request;
  if (!table.compressed()) return;
  if (table.choice == 0 && request.covered_rows < request.oracle.boundary()) {
    parts_.report->Reach(Mark::kSnapshotHit);
    const int32_t columns = (request.oracle.boundary() - 1) / kPageSlots;
    if (core_->IndexedRows(request) < columns * kPageSlots) {
      parts_.report->Reach(Mark::kSnapshotOutlivesColumns);
    }
  }
  // The token that this row yields was sent before.
  const int32_t index = first - request.oracle.prompt_rows() + 1;
  const LiveRequest::Choice& choice = request.choices[static_cast<size_t>(table.choice)];
  if (index > 0 && index < choice.tokens) parts_.report->Reach(Mark::kReplayed);
}

void SimModel::WriteSegment(const KvSegment& segment, int layer, const Core::Table& table) {
  const int32_t first = FirstPosition(segment, table);
  const absl::Span<const int32_t> positions = table.positions(layer);
  for (int32_t i = 0; i < segment.num_rows; ++i) {
    const int32_t slot = segment.write_slots[i];
    const bool in_table = 0 <= slot && slot < static_cast<int32_t>(positions.size()) &&
                          slot / kPageSlots < static_cast<int32_t>(segment.pages.size());
    const bool expected = table.compressed() ? in_table && positions[slot] == first + i
                                             : in_table && slot == first + i;
    if (!expected) {
      return parts_.report->Fail("I21", absl::StrCat(NameOf(table), " layer ", layer, ": position ",
                                                     first + i, " is written to slot ", slot));
    }
    const int32_t page = segment.pages[slot / kPageSlots];
    if (page < 0 || page >= config_.pages || claims_[page] != 1) {
      return parts_.report->Fail(
          "I3", absl::StrCat(NameOf(table), " layer ", layer, ": position ", first + i,
                             " is written to page ", page, " with ",
                             page >= 0 && page < config_.pages ? claims_[page] : -1, " claims"));
    }
    parts_.pool->Revive(page);
    // Rows that see everything fill pages from their first slot on.
    if (table.compressed()) {
      parts_.pool->set_compressed(page, true);
    } else if (slot % kPageSlots == 0) {
      parts_.pool->set_compressed(page, false);
    }
    SlotAt(segment, slot) = {
        .chain = row_chain_[segment.row_begin + i], .position = first + i, .layer = layer};
    parts_.report->Trace(static_cast<uint64_t>(page));
  }
}

// Each slot that the last row sees; the rows before it see a part of them.
void SimModel::ReadSegment(const KvSegment& segment, int layer, const Core::Table& table) {
  const int32_t visible = segment.first_visible + segment.num_rows - 1;
  if (visible > table.length(layer) ||
      (visible + kPageSlots - 1) / kPageSlots > static_cast<int32_t>(segment.pages.size())) {
    return parts_.report->Fail("I21", absl::StrCat(NameOf(table), " layer ", layer, ": ", visible,
                                                   " slots in ", segment.pages.size(), " pages"));
  }
  if (table.compressed() && !CheckKept(segment, layer, table, visible)) return;
  Oracle& oracle = table.request->oracle;
  const KeptLists* const kept = table.compressed() ? &oracle.Selected() : nullptr;
  const absl::Span<const int32_t> positions = table.positions(layer);
  for (int32_t slot = 0; slot < visible; ++slot) {
    const int32_t page = segment.pages[slot / kPageSlots];
    const Slot& found = SlotAt(segment, slot);
    const int32_t position = kept != nullptr ? positions[slot] : slot;
    const bool merged = kept != nullptr && position < oracle.boundary();
    const Slot expected{
        .chain = merged ? kept->ChainAt(layer, position) : oracle.Chain(table.choice, position),
        .position = position,
        .layer = layer};
    if (found == expected) continue;
    return parts_.report->Fail(
        "KV",
        absl::StrCat(NameOf(table), " layer ", layer, " position ", position, ", page ", page,
                     parts_.pool->poisoned(page) ? " (free)" : "", ": holds layer ", found.layer,
                     " position ", found.position,
                     found.chain == expected.chain ? " of" : " of other than", " this chain"));
  }
  if (segment.sums != nullptr) AddScores(segment, layer, table);
}

// Whether what the last row sees of a compressed layer is what the oracle says, by position.
bool SimModel::CheckKept(const KvSegment& segment, int layer, const Core::Table& table,
                         int32_t visible) {
  const auto fail = [&](absl::string_view what) {
    parts_.report->Fail("budget", absl::StrCat(NameOf(table), " layer ", layer, " position ",
                                               table.kv->next_position() - 1, ": ", what));
    return false;
  };
  Oracle& oracle = table.request->oracle;
  const int32_t row = FirstPosition(segment, table) + segment.num_rows - 1;
  if (!oracle.budgeted() || row < oracle.boundary()) return fail("sees a compressed layer");
  const KeptLists& kept = oracle.KeptAt(table.choice, row);
  if (visible != kept.NumSeen(layer, row)) {
    return fail(absl::StrCat("sees ", visible, " slots, must see ", kept.NumSeen(layer, row)));
  }
  uint64_t order = 0;
  seen_positions_.assign(static_cast<size_t>(row) + 1, false);
  for (int32_t slot = 0; slot < visible; ++slot) {
    const int32_t position = table.positions(layer)[slot];
    if (position > row || !kept.Sees(layer, row, position) || seen_positions_[position]) {
      return fail(absl::StrCat("sees position ", position, ", which should have gone"));
    }
    seen_positions_[position] = true;
    order = Mix(order ^ static_cast<uint64_t>(position));
  }
  // Computed again it sees them in the same order, which real sums depend on. Pieces of a prompt
  // need not end where they did.
  if (row < oracle.prompt_rows()) return true;
  const auto [seen, first] =
      table.request->slot_orders.try_emplace({table.choice, layer, row}, order);
  return first || seen->second == order || fail("sees its slots in another order than before");
}

// What the rows of the segment pay to the slots that they see.
void SimModel::AddScores(const KvSegment& segment, int layer, const Core::Table& table) {
  const int32_t visible = segment.first_visible + segment.num_rows - 1;
  if (!table.request->oracle.budgeted()) {
    return parts_.report->Fail("budget", absl::StrCat(NameOf(table), " is scored for no budget"));
  }
  if (segment.sums->rows != 1 || segment.sums->cols < visible) {
    return parts_.report->Fail(
        "I21", absl::StrCat(NameOf(table), " layer ", layer, ": scores of ", segment.sums->cols,
                            " slots, ", visible, " are seen"));
  }
  auto* const sums = reinterpret_cast<float*>(segment.sums->data);
  for (int32_t i = std::max(0, segment.first_summed_row); i < segment.num_rows; ++i) {
    const ChainHash query = row_chain_[segment.row_begin + i];
    for (int32_t slot = 0; slot < segment.first_visible + i; ++slot) {
      sums[slot] += static_cast<float>(AttentionScore(layer, query, SlotAt(segment, slot).chain));
    }
  }
}

}  // namespace prefixd::simulation
