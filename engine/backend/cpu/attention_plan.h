// Cuts the rows of an attention call into tiles: query vectors that pass over pages together. Rows
// of sequences that begin with the same pages share tiles, and in a tile each page is passed over
// once, by all the vectors that see it ("cascade"): page group outside, sequences inside.
//
// A common beginning of less than an eighth of both sequences is left as it is.
//
//   sequence a  | 1  2  3 | 4 | 5  6 |      strips: pages [0, 3) of a, b and c together,
//   sequence b  | 1  2  3 | 4 | 7 |                 pages [3, 4) of a and b,
//   sequence c  | 1  2  3 | 8 |                     and what is left of a, b and c apart.
//
// A pure function into storage that only grows; safe from any thread. Nothing here shows in the
// results, whose order is fixed by each row alone (docs/decisions.md, rule 3).
#ifndef PREFIXD_ENGINE_BACKEND_CPU_ATTENTION_PLAN_H_
#define PREFIXD_ENGINE_BACKEND_CPU_ATTENTION_PLAN_H_

#include <algorithm>
#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "engine/backend/cpu/kernels.h"

namespace prefixd::cpu {

// Consecutive rows of one sequence; row i sees slots [0, visible(i)).
struct AttentionRows {
  int64_t row_begin = 0;
  int num_rows = 0;
  int first_visible = 0;  // >= 1.
  int visible_step = 0;
  int visible_prefix = 0;             // Slots that every row sees.
  int first_position = 0;             // Row i's is first_position + i; for ALiBi.
  const int32_t* page_ids = nullptr;  // Null: page i has id i, and nothing is shared.
  int sums = -1;                      // Which rows of AttentionSums these are, or are part of.
  // Of a tree (KvSegment::path_slots), one row: slots from `context` on are not those of the pages
  // but path[0], path[1], ... Null: no tree. Requires page ids.
  const int32_t* path = nullptr;
  int context = 0;

  // Never less than that of the row before.
  int visible(int i) const { return std::max(first_visible + i * visible_step, visible_prefix); }
  int last_visible() const { return visible(num_rows - 1); }
  // Whole pages that the row sees as they are.
  int context_pages() const { return (path == nullptr ? visible(0) : context) / kPageRows; }
};

// A row gives vectors_per_row query vectors to each of num_kv_heads; the plan is of one kv head.
struct AttentionPlanOptions {
  int vectors_per_row = 1;
  int num_kv_heads = 1;
  int num_threads = 1;
  bool share_pages = true;  // False: every sequence by itself.
};

struct AttentionPlan {
  // Rows of a tile; their vectors (row i, head j) are vector_begin + i * vectors_per_row + j.
  struct Member {
    AttentionRows rows;
    int vector_begin = 0;  // Within the tile.
  };
  // Pages [page_begin, page_end) of members [member_begin, member_end), the same for all of them. A
  // strip of several members holds only slots that all of their rows see. The strips that cover a
  // member come in ascending order of pages and cover all that it sees.
  struct Strip {
    int member_begin = 0, member_end = 0;
    int page_begin = 0, page_end = 0;
  };
  struct Tile {
    int member_begin = 0, member_end = 0;
    int strip_begin = 0, strip_end = 0;
    int num_vectors = 0;
    int last_visible = 0;  // The largest of all rows.
    int64_t work = 0;      // About the query-key products.
  };
  // Tiles that read the same pages: of one sequence, or of sequences that share some.
  struct Set {
    int tile_begin = 0, tile_end = 0;
  };
  std::vector<Member> members;
  std::vector<Strip> strips;
  std::vector<Tile> tiles;
  std::vector<Set> sets;

  // Scratch of PlanAttention: sequences ordered by their pages, and for every member the number of
  // leading pages that it shares with the member before.
  struct Entry {
    const AttentionRows* rows = nullptr;
    int first_page = -1;
    int full_pages = 0;    // Leading pages of which every row sees every slot.
    int common_pages = 0;  // Leading full pages shared with the entry before, where worthwhile.
  };
  std::vector<Entry> entries;
  std::vector<int> member_common;
};

// Query vectors in a tile, unless one row has more.
inline constexpr int kTileVectors = 48;
inline constexpr int kMaxSharedTileVectors = 192;

// Overwrites *plan. Takes O(n log n) comparisons of page lists; none longer than what is shared.
void PlanAttention(absl::Span<const AttentionRows> rows, const AttentionPlanOptions& options,
                   AttentionPlan* plan);

}  // namespace prefixd::cpu

#endif  // PREFIXD_ENGINE_BACKEND_CPU_ATTENTION_PLAN_H_
