#include "engine/backend/cuda/cuda_attention_plan.h"

#include <algorithm>

#include "base/check.h"

namespace prefixd::cuda {
namespace {

using Head = AttentionPlan::Head;
using Run = AttentionPlan::Run;

void PlaceRows(const KvSegment& segment, int32_t index, AttentionPlan* plan) {
  for (int32_t i = 0; i < segment.num_rows; ++i) {
    const int32_t row = segment.row_begin + i;
    const int32_t slot = segment.write_slots[i];
    plan->sequence[row] = index;
    plan->visible[row] = static_cast<int32_t>(VisibleTo(segment, i));
    plan->max_visible = std::max(plan->max_visible, plan->visible[row]);
    plan->position[row] = segment.position(i);
    plan->slots[row] = int64_t{segment.pages[slot / kSlots]} * kSlots + slot % kSlots;
  }
}

// Where any segment is a tree.
void PlacePaths(absl::Span<const KvSegment> segments, AttentionPlan* plan) {
  plan->context = plan->visible;
  plan->path_begin.assign(plan->visible.size(), 0);
  for (const KvSegment& segment : segments) {
    if (!segment.is_tree()) continue;
    for (int32_t i = 0; i < segment.num_rows; ++i) {
      PREFIXD_CHECK(plan->paths.size() <= INT32_MAX);
      const int32_t row = segment.row_begin + i;
      plan->context[row] = segment.first_visible;
      plan->path_begin[row] = static_cast<int32_t>(plan->paths.size());
      const auto path = segment.path_slots.subspan(segment.path_begins[i], segment.path_length(i));
      plan->paths.insert(plan->paths.end(), path.begin(), path.end());
    }
  }
}

// Slots that the row sees through its sequence's pages.
int32_t InPages(const AttentionPlan& plan, int32_t row) {
  return plan.context.empty() ? plan.visible[row] : plan.context[row];
}

void AddTiles(const KvSegment& segment, AttentionPlan* plan) {
  for (int32_t i = 0; i < segment.num_rows; i += kTileRows) {
    plan->tiles.push_back({.row_begin = segment.row_begin + i,
                           .num_rows = std::min(kTileRows, segment.num_rows - i)});
  }
}

// Extends the last run where the rows follow it.
void AddToRuns(const KvSegment& segment, AttentionPlan* plan) {
  const int32_t max_visible = static_cast<int32_t>(VisibleTo(segment, segment.num_rows - 1));
  if (!plan->runs.empty()) {
    Run& last = plan->runs.back();
    if (!last.tree && last.row_begin + last.num_rows == segment.row_begin) {
      last.num_rows += segment.num_rows;
      last.max_visible = std::max(last.max_visible, max_visible);
      return;
    }
  }
  plan->runs.push_back(
      {.row_begin = segment.row_begin, .num_rows = segment.num_rows, .max_visible = max_visible});
}

// The same for a tree, in runs of at most kMaxTreeRows rows.
void AddTreeToRuns(const KvSegment& segment, AttentionPlan* plan) {
  for (int32_t i = 0; i < segment.num_rows; ++i) {
    const int32_t row = segment.row_begin + i;
    const Run* const last = plan->runs.empty() ? nullptr : &plan->runs.back();
    if (last == nullptr || !last->tree || last->num_rows == kMaxTreeRows ||
        last->row_begin + last->num_rows != row) {
      plan->runs.push_back({.row_begin = row, .tree = true});
    }
    Run& run = plan->runs.back();
    ++run.num_rows;
    run.max_visible = std::max(run.max_visible, plan->visible[row]);
  }
}

void AddSums(const KvSegment& segment, int64_t max_summed, AttentionPlan* plan) {
  if (segment.sums == nullptr) return;
  int32_t row = std::min(segment.first_summed_row, segment.num_rows);
  for (bool first = true; row < segment.num_rows; first = false) {
    // What the last row sees bounds all rows of a piece.
    const int64_t most = VisibleTo(segment, segment.num_rows - 1);
    const int32_t count = static_cast<int32_t>(
        std::min<int64_t>(segment.num_rows - row, std::max<int64_t>(1, max_summed / most)));
    const int32_t num_slots = static_cast<int32_t>(VisibleTo(segment, row + count - 1));
    const int64_t num_floats = int64_t{count} * num_slots;
    // The pieces of one segment are not in one batch.
    if (!first || plan->sum_batches.empty() ||
        plan->sum_batches.back().num_floats + num_floats > max_summed) {
      const int32_t begin = static_cast<int32_t>(plan->sums.size());
      plan->sum_batches.push_back({.begin = begin, .end = begin});
    }
    AttentionPlan::SumBatch& batch = plan->sum_batches.back();
    plan->sums.push_back({.row_begin = segment.row_begin + row,
                          .num_rows = count,
                          .num_slots = num_slots,
                          .scratch_offset = batch.num_floats,
                          .sums = reinterpret_cast<float*>(segment.sums->data)});
    batch.num_floats += num_floats;
    ++batch.end;
    row += count;
  }
}

// Leading slots in pages that both rows have and see whole.
int32_t CommonSlots(absl::Span<const KvSegment> segments, const Head& a, const Head& b) {
  const int32_t limit = std::min(a.full_slots, b.full_slots);
  if (a.segment == b.segment) return limit;
  const auto x = segments[a.segment].pages, y = segments[b.segment].pages;
  int32_t page = 0;
  while (page * kSlots < limit && x[page] == y[page]) ++page;
  return page * kSlots;
}

// Makes groups of heads [begin, end) with one first page: each takes the rows that share at least
// half of what the best partner of its first row shares.
void GroupHeads(absl::Span<const KvSegment> segments, const AttentionPlanOptions& options,
                size_t begin, size_t end, Run* run, std::vector<int32_t>* next_members,
                AttentionPlan* plan) {
  std::vector<int32_t> common;
  while (end - begin >= 2) {
    Head* const heads = plan->heads.data();
    int32_t best = 0;
    common.assign(end - begin, 0);
    for (size_t i = begin + 1; i < end; ++i) {
      common[i - begin] = CommonSlots(segments, heads[begin], heads[i]);
      best = std::max(best, common[i - begin]);
    }
    // Members come first, in order; the others are left for the next round.
    std::vector<Head> rest;
    size_t size = 1;
    int32_t shared = best;
    for (size_t i = begin + 1; i < end; ++i) {
      const int32_t slots = common[i - begin];
      if (2 * slots >= best && slots >= options.shared_unit && size < kMaxGroupRows) {
        shared = std::min(shared, slots);
        heads[begin + size++] = heads[i];
      } else {
        rest.push_back(heads[i]);
      }
    }
    std::copy(rest.begin(), rest.end(), heads + begin + size);
    shared -= shared % options.shared_unit;
    if (size >= 2 && shared > 0) {
      run->grouped = true;
      const int32_t base = run->row_begin;
      const int32_t first = static_cast<int32_t>(next_members->size());
      for (size_t i = begin; i < begin + size; ++i) next_members->push_back(heads[i].row - base);
      std::sort(next_members->begin() + first, next_members->end());
      const int32_t leader = (*next_members)[first];
      for (size_t i = begin; i < begin + size; ++i) {
        plan->shared[heads[i].row] = shared;
        plan->leader[heads[i].row] = leader;
      }
      plan->member_begin[base + leader] = first;
      plan->member_count[base + leader] = static_cast<int32_t>(size);
    }
    begin += size;
  }
}

void GroupRun(absl::Span<const KvSegment> segments, const AttentionPlanOptions& options, Run* run,
              AttentionPlan* plan) {
  plan->heads.clear();
  for (int32_t row = run->row_begin; row < run->row_begin + run->num_rows; ++row) {
    const int32_t full = InPages(*plan, row) / kSlots * kSlots;
    if (full < options.shared_unit) continue;
    const int32_t segment = plan->sequence[row];
    plan->heads.push_back({row, full, segments[segment].pages[0], segment});
  }
  std::stable_sort(plan->heads.begin(), plan->heads.end(),
                   [](const Head& a, const Head& b) { return a.first_page < b.first_page; });
  std::vector<int32_t> members;
  for (size_t begin = 0; begin < plan->heads.size();) {
    size_t end = begin + 1;
    while (end < plan->heads.size() &&
           plan->heads[end].first_page == plan->heads[begin].first_page) {
      ++end;
    }
    GroupHeads(segments, options, begin, end, run, &members, plan);
    begin = end;
  }
  std::copy(members.begin(), members.end(), plan->members.begin() + run->row_begin);
}

}  // namespace

int64_t PagesSeen(const KvSegment& segment) {
  int64_t slots = segment.first_visible;
  if (!segment.is_tree()) {
    slots = VisibleTo(segment, std::max(segment.num_rows, 1) - 1);
  } else if (segment.num_rows > 0) {
    const auto path = segment.path_slots.begin();
    slots = std::max<int64_t>(slots, 1 + *std::max_element(path + segment.path_begins.front(),
                                                           path + segment.path_begins.back()));
  }
  return (slots + kSlots - 1) / kSlots;
}

void PlanAttention(absl::Span<const KvSegment> segments, int64_t num_rows,
                   const AttentionPlanOptions& options, AttentionPlan* plan) {
  const size_t rows = static_cast<size_t>(num_rows);
  plan->sequence.assign(rows, 0);
  plan->visible.assign(rows, 0);
  plan->position.assign(rows, 0);
  plan->slots.assign(rows, -1);
  for (auto* array : {&plan->context, &plan->path_begin, &plan->paths}) array->clear();
  plan->tiles.clear();
  plan->runs.clear();
  plan->sums.clear();
  plan->sum_batches.clear();
  plan->max_visible = 0;
  for (auto* array :
       {&plan->shared, &plan->leader, &plan->member_begin, &plan->member_count, &plan->members}) {
    array->assign(rows, 0);
  }
  bool has_trees = false;
  for (size_t s = 0; s < segments.size(); ++s) {
    const KvSegment& segment = segments[s];
    if (segment.num_rows == 0) continue;
    PlaceRows(segment, static_cast<int32_t>(s), plan);
    if (segment.is_tree()) {
      PREFIXD_CHECK(!options.one_run);
      has_trees = true;
      AddTreeToRuns(segment, plan);
      continue;
    }
    AddSums(segment, options.max_summed, plan);
    if (options.one_run) continue;
    if (options.tiles && segment.num_rows > kFewRows) {
      AddTiles(segment, plan);
    } else {
      AddToRuns(segment, plan);
    }
  }
  if (options.one_run && num_rows > 0) {
    plan->runs.push_back({.num_rows = static_cast<int32_t>(num_rows),
                          .max_visible = std::max(plan->max_visible, 1)});
  }
  if (has_trees) PlacePaths(segments, plan);
  for (Run& run : plan->runs) GroupRun(segments, options, &run, plan);
}

}  // namespace prefixd::cuda
