#include "engine/backend/cpu/attention_plan.h"

#include <algorithm>
#include <cstddef>
#include <cstring>

namespace prefixd::cpu {
namespace {

constexpr int kWorthwhileParts = 8;  // Pages are shared from an eighth of the shorter list on.

using Entry = AttentionPlan::Entry;
using Member = AttentionPlan::Member;
using Tile = AttentionPlan::Tile;

Entry EntryOf(const AttentionRows& rows) {
  const int full = rows.page_ids == nullptr ? 0 : rows.context_pages();
  return {.rows = &rows, .first_page = full > 0 ? rows.page_ids[0] : -1, .full_pages = full};
}

// An order in which entries with a common beginning stand together, longer ones closer. Which of
// two different pages comes first does not matter: their bytes decide.
bool Before(const Entry& a, const Entry& b) {
  if (a.first_page != b.first_page) return a.first_page < b.first_page;
  const int both = std::min(a.full_pages, b.full_pages);
  const bool equal = both == 0 || a.rows->page_ids == b.rows->page_ids;  // Rows of one tree.
  const int order =
      equal ? 0 : std::memcmp(a.rows->page_ids, b.rows->page_ids, both * sizeof(int32_t));
  if (order != 0) return order < 0;
  if (a.full_pages != b.full_pages) return a.full_pages < b.full_pages;
  return a.rows < b.rows;
}

// 0 also where so little is common that one tile would rather be a long item than save reads.
int CommonPages(const Entry& a, const Entry& b) {
  const int both = std::min(a.full_pages, b.full_pages);
  if (both == 0 || a.first_page != b.first_page) return 0;
  const int32_t* pages = a.rows->page_ids;
  const int common =
      static_cast<int>(std::mismatch(pages, pages + both, b.rows->page_ids).first - pages);
  return common * kWorthwhileParts < both ? 0 : common;
}

void AddMember(const AttentionRows& rows, int begin, int count, int common, int vectors_per_row,
               AttentionPlan* plan) {
  Tile& tile = plan->tiles.back();
  Member member = {.rows = rows, .vector_begin = tile.num_vectors};
  member.rows.row_begin += begin;
  member.rows.num_rows = count;
  member.rows.first_visible += begin * rows.visible_step;
  member.rows.first_position += begin;
  plan->members.push_back(member);
  plan->member_common.push_back(common);
  const int visible = member.rows.last_visible();
  tile.num_vectors += count * vectors_per_row;
  tile.last_visible = std::max(tile.last_visible, visible);
  tile.work += int64_t{count} * vectors_per_row * visible;
}

void BeginTile(AttentionPlan* plan) {
  plan->tiles.push_back({.member_begin = static_cast<int>(plan->members.size())});
}

// Covers the pages from `page` on of members [begin, end), whose earlier pages are covered. Calls
// itself at most as deep as a tile has members.
void AddStrips(int begin, int end, int page, AttentionPlan* plan) {
  if (end - begin == 1) {
    const int last = plan->members[begin].rows.last_visible();
    const int page_end = (last + kPageRows - 1) / kPageRows;
    if (page < page_end) plan->strips.push_back({begin, end, page, page_end});
    return;
  }
  const std::vector<int>& common = plan->member_common;
  const int shared = *std::min_element(common.begin() + begin + 1, common.begin() + end);
  if (page < shared) plan->strips.push_back({begin, end, page, shared});
  for (int first = begin; first < end;) {
    int last = first + 1;
    while (last < end && common[last] > shared) ++last;
    AddStrips(first, last, shared, plan);
    first = last;
  }
}

void EndTile(AttentionPlan* plan) {
  Tile& tile = plan->tiles.back();
  tile.member_end = static_cast<int>(plan->members.size());
  tile.strip_begin = static_cast<int>(plan->strips.size());
  AddStrips(tile.member_begin, tile.member_end, 0, plan);
  tile.strip_end = static_cast<int>(plan->strips.size());
}

void AddAlone(const AttentionRows& rows, int vectors_per_row, AttentionPlan* plan) {
  const int tile_rows = std::max(1, kTileVectors / vectors_per_row);
  // Later rows see more slots: begun first, they end with the others.
  for (int tile = (rows.num_rows + tile_rows - 1) / tile_rows - 1; tile >= 0; --tile) {
    const int begin = tile * tile_rows;
    BeginTile(plan);
    AddMember(rows, begin, std::min(tile_rows, rows.num_rows - begin), 0, vectors_per_row, plan);
    EndTile(plan);
  }
}

// Tiles of equal size, at most `tile_rows` rows each, over the entries in their order.
void AddTogether(absl::Span<const Entry> entries, int64_t num_rows, int64_t tile_rows,
                 int vectors_per_row, AttentionPlan* plan) {
  const int64_t num_tiles = (num_rows + tile_rows - 1) / tile_rows;
  tile_rows = (num_rows + num_tiles - 1) / num_tiles;
  int64_t room = 0;
  for (const Entry& entry : entries) {
    int common = entry.common_pages;
    for (int begin = 0; begin < entry.rows->num_rows;) {
      if (room == 0) {
        if (begin > 0 || &entry != entries.begin()) EndTile(plan);
        BeginTile(plan);
        room = tile_rows;
      }
      const int count = static_cast<int>(std::min<int64_t>(room, entry.rows->num_rows - begin));
      AddMember(*entry.rows, begin, count, common, vectors_per_row, plan);
      begin += count;
      room -= count;
    }
  }
  EndTile(plan);
}

int64_t CountRows(absl::Span<const Entry> entries) {
  int64_t rows = 0;
  for (const Entry& entry : entries) rows += entry.rows->num_rows;
  return rows;
}

}  // namespace

void PlanAttention(absl::Span<const AttentionRows> rows, const AttentionPlanOptions& options,
                   AttentionPlan* plan) {
  plan->members.clear();
  plan->member_common.clear();
  plan->strips.clear();
  plan->tiles.clear();
  plan->sets.clear();
  plan->entries.clear();
  for (const AttentionRows& r : rows) {
    if (r.num_rows > 0) plan->entries.push_back(EntryOf(r));
  }
  std::vector<Entry>& entries = plan->entries;
  int64_t shared_rows = 0;
  if (options.share_pages && entries.size() > 1) {
    std::sort(entries.begin(), entries.end(), Before);
    for (size_t i = 1; i < entries.size(); ++i) {
      entries[i].common_pages = CommonPages(entries[i - 1], entries[i]);
      if (entries[i].common_pages == 0) continue;
      shared_rows += entries[i].rows->num_rows;
      if (entries[i - 1].common_pages == 0) shared_rows += entries[i - 1].rows->num_rows;
    }
  }
  // Large tiles read a page less often, but all threads should have some.
  const int64_t shared_vectors = shared_rows * options.vectors_per_row * options.num_kv_heads;
  const int64_t tile_vectors = options.num_threads == 1
                                   ? kMaxSharedTileVectors
                                   : std::clamp<int64_t>(shared_vectors / (2 * options.num_threads),
                                                         kTileVectors, kMaxSharedTileVectors);
  const int64_t tile_rows = std::max<int64_t>(1, tile_vectors / options.vectors_per_row);
  for (size_t begin = 0; begin < entries.size();) {
    size_t end = begin + 1;
    while (end < entries.size() && entries[end].common_pages > 0) ++end;
    const auto set = absl::MakeConstSpan(entries).subspan(begin, end - begin);
    const int first_tile = static_cast<int>(plan->tiles.size());
    if (set.size() == 1) {
      AddAlone(*set[0].rows, options.vectors_per_row, plan);
    } else {
      AddTogether(set, CountRows(set), tile_rows, options.vectors_per_row, plan);
    }
    plan->sets.push_back({first_tile, static_cast<int>(plan->tiles.size())});
    begin = end;
  }
}

}  // namespace prefixd::cpu
