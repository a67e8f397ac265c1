// Cuts the rows of an attention call into launches: tiles of a sequence's rows for the kernels that
// work on 64 rows at once, runs of rows for the split kernels, and within a run groups of rows
// whose sequences begin with the same pages, so that these are read once ("cascade").
//
//   sequence a  | 1  2  3 | 4 |        rows of a, b and c share pages [0, 3), if all of their rows
//   sequence b  | 1  2  3 | 5  6 |     see them whole: 48 slots
//   sequence c  | 1  2  3 | 7 |
//
// Rows of trees go in runs of their own: their context is what such a group shares, and what is
// left of it and their paths are read row by row.
//
// A pure function into storage that only grows; safe from any thread.
#ifndef PREFIXD_ENGINE_BACKEND_CUDA_CUDA_ATTENTION_PLAN_H_
#define PREFIXD_ENGINE_BACKEND_CUDA_CUDA_ATTENTION_PLAN_H_

#include <algorithm>
#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "engine/backend/backend.h"
#include "engine/backend/cuda/kernels/column_sums.h"
#include "engine/backend/cuda/kernels/tile_attention.h"

namespace prefixd::cuda {

struct AttentionPlanOptions {
  // Segments with more than kFewRows rows go in tiles. False: all rows go in runs.
  bool tiles = false;
  // The shared slots of a group are a multiple of this: kSlots, or kSplitSlots where the bits of a
  // row must not depend on its group.
  int shared_unit = kSlots;
  // All rows of the call are one run, also those without a segment (they see nothing).
  bool one_run = false;
  // Probabilities in memory at a time, unless one row has more.
  int64_t max_summed = int64_t{16} << 20;
};

inline constexpr int kFewRows = 4;        // As many rows cost the split kernels less than a tile.
inline constexpr int kMaxGroupRows = 64;  // One block passes over the shared pages for so many.
inline constexpr int kMaxTreeRows = 4 * kMaxGroupRows;  // Of a run: bounds what their states take.

// How many slots a row sees. Without a tree the last row sees the most: [0, that).
inline int64_t VisibleTo(const KvSegment& segment, int32_t row) {
  if (segment.is_tree()) return int64_t{segment.first_visible} + segment.path_length(row);
  return std::max<int64_t>(int64_t{segment.first_visible} + row, segment.visible_prefix);
}

// The segment's rows see slots of pages [0, that).
int64_t PagesSeen(const KvSegment& segment);

struct AttentionPlan {
  // [rows of the call]; rows without a segment see nothing and write nowhere (slot -1).
  std::vector<int32_t> sequence;  // The segment's index: the row of the page tables.
  std::vector<int32_t> visible;
  std::vector<int32_t> position;
  std::vector<int64_t> slots;  // page * kSlots + slot.
  // As in AttentionRows; empty in a call without trees. A row of no tree has context = visible.
  std::vector<int32_t> context, path_begin, paths;

  std::vector<RowTile> tiles;
  // Rows [row_begin, row_begin + num_rows), which see up to max_visible slots.
  struct Run {
    int32_t row_begin = 0, num_rows = 0, max_visible = 0;
    bool grouped = false;
    bool tree = false;  // All rows are of trees; else none is.
  };
  std::vector<Run> runs;
  // [rows of the call], as in RowGroups; rows and positions are counted from the run's first row.
  std::vector<int32_t> shared, leader, member_begin, member_count, members;

  // Rows whose probabilities are summed, in batches that come one after the other: rows of one
  // sequence ascend from batch to batch.
  std::vector<SummedRows> sums;
  struct SumBatch {
    int32_t begin = 0, end = 0;  // Of `sums`.
    int64_t num_floats = 0;      // Of scratch.
  };
  std::vector<SumBatch> sum_batches;
  int32_t max_visible = 0;

  // Scratch of PlanAttention.
  struct Head {
    int32_t row = 0, full_slots = 0, first_page = 0, segment = 0;
  };
  std::vector<Head> heads;
};

// Overwrites *plan. Requires segments with rows inside [0, num_rows) and pages for all that their
// rows see and write.
void PlanAttention(absl::Span<const KvSegment> segments, int64_t num_rows,
                   const AttentionPlanOptions& options, AttentionPlan* plan);

}  // namespace prefixd::cuda

#endif  // PREFIXD_ENGINE_BACKEND_CUDA_CUDA_ATTENTION_PLAN_H_
