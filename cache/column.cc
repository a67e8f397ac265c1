#include "cache/column.h"

#include <algorithm>
#include <cstring>

#include "base/check.h"
#include "base/planted_bug.h"

namespace prefixd {
namespace {

// The first position at which the images under `a` and `b` differ; INT32_MAX: none. A span that was
// cut at its view's size differs from a longer one at that size.
int32_t CommonMedia(const ColumnView& a, const ColumnView& b) {
  const size_t common = std::min(a.media.size(), b.media.size());
  for (size_t i = 0; i < common; ++i) {
    const MediaSpan& x = a.media[i];
    const MediaSpan& y = b.media[i];
    if (x == y) continue;
    if (x.begin != y.begin || x.first_row != y.first_row || x.media_id != y.media_id) {
      return std::min(x.begin, y.begin);
    }
    return x.begin + std::min(x.num_rows, y.num_rows);
  }
  if (common < a.media.size()) return a.media[common].begin;
  if (common < b.media.size()) return b.media[common].begin;
  return INT32_MAX;
}

// The image rows at `position`, null if there are none.
const MediaSpan* SpanAt(const ColumnView& column, int32_t position) {
  for (const MediaSpan& span : column.media) {
    if (position >= span.begin && position < span.begin + span.num_rows) return &span;
  }
  return nullptr;
}

}  // namespace

bool SameContent(const ColumnView& a, const ColumnView& b) {
  PREFIXD_DCHECK(a.size == kSlotsPerPage && b.size == kSlotsPerPage);
  if (PREFIXD_PLANTED(kTokensNotCompared)) return a.media == b.media;
  const bool same_media = a.media == b.media || PREFIXD_PLANTED(kMediaNotCompared);
  return std::memcmp(a.ids, b.ids, kSlotsPerPage * sizeof(int32_t)) == 0 && same_media;
}

int32_t CommonTokens(const ColumnView& a, const ColumnView& b) {
  const int32_t limit = std::min(a.size, b.size);
  int32_t same = 0;
  while (same < limit && a.ids[same] == b.ids[same]) ++same;
  if (a.media.empty() && b.media.empty()) return same;
  return std::min(same, CommonMedia(a, b));
}

int CompareContent(const ColumnView& a, const ColumnView& b) {
  const int32_t same = CommonTokens(a, b);
  if (same == a.size || same == b.size) return a.size - b.size;
  if (a.ids[same] != b.ids[same]) return a.ids[same] < b.ids[same] ? -1 : 1;
  const MediaSpan* x = SpanAt(a, same);
  const MediaSpan* y = SpanAt(b, same);
  if (x == nullptr || y == nullptr) return x == nullptr ? -1 : 1;
  if (x->media_id != y->media_id) return x->media_id < y->media_id ? -1 : 1;
  // The row at `same` is first_row + (same - begin).
  return x->first_row - x->begin < y->first_row - y->begin ? -1 : 1;
}

ColumnView ColumnReader::Read(int32_t column, int32_t size) {
  const int64_t begin = int64_t{column} * kSlotsPerPage;
  const int64_t end = begin + size;
  PREFIXD_CHECK(column >= 0 && size >= 0 && size <= kSlotsPerPage);
  PREFIXD_CHECK(end <= static_cast<int64_t>(tokens_.ids.size()));
  const absl::Span<const MediaRun> runs = tokens_.media;
  while (next_run_ < runs.size() && runs[next_run_].row_end() <= begin) ++next_run_;
  size_t count = 0;
  for (size_t i = next_run_; i < runs.size() && runs[i].row_begin < end; ++i) {
    const MediaRun& run = runs[i];
    const int64_t from = std::max<int64_t>(run.row_begin, begin);
    const int64_t to = std::min<int64_t>(run.row_end(), end);
    if (from >= to) continue;              // An image of no rows.
    PREFIXD_CHECK(count < spans_.size());  // Disjoint runs fit.
    spans_[count++] = {run.media_id, static_cast<int32_t>(from - run.row_begin),
                       static_cast<uint8_t>(from - begin), static_cast<uint8_t>(to - from)};
  }
  return {tokens_.ids.data() + begin, size, absl::MakeConstSpan(spans_.data(), count)};
}

}  // namespace prefixd
