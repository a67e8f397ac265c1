// The content of one column, read out of a token sequence, and its order. The unit of comparison is
// what one position holds: its token id and, under an image, the image and the row within it.
// Values; safe from any thread.
#ifndef PREFIXD_CACHE_COLUMN_H_
#define PREFIXD_CACHE_COLUMN_H_

#include <array>
#include <cstddef>
#include <cstdint>

#include "absl/types/span.h"
#include "base/planted_bug.h"
#include "cache/content.h"
#include "cache/page_pool.h"

namespace prefixd {

// The rows of one image that lie in a column.
struct MediaSpan {
  ContentKey media_id;
  int32_t first_row;  // Within the image.
  uint8_t begin;      // Slot of the column, 0..kSlotsPerPage - 1.
  uint8_t num_rows;   // 1..kSlotsPerPage.

  friend bool operator==(const MediaSpan&, const MediaSpan&) = default;
};

// The first `size` tokens of a column, 0..kSlotsPerPage. Borrows everything.
struct ColumnView {
  const int32_t* ids;
  int32_t size;
  absl::Span<const MediaSpan> media;  // Ascending; the part below `size`.
};

// Whether two whole columns hold the same.
inline bool SameContent(const ColumnView& a, const ColumnView& b) {
  // Without branches: most comparisons of a lookup succeed.
  int32_t difference = 0;
  for (int32_t i = 0; i < kSlotsPerPage; ++i) difference |= a.ids[i] ^ b.ids[i];
  if (PREFIXD_PLANTED(kTokensNotCompared)) difference = 0;
  if (PREFIXD_PLANTED(kMediaNotCompared)) return difference == 0;
  return difference == 0 && a.media.size() == b.media.size() &&
         (a.media.empty() || a.media == b.media);
}

// The number of leading positions that hold the same in both.
int32_t CommonTokens(const ColumnView& a, const ColumnView& b);

// Negative, 0, positive: lexicographic by position; a proper prefix comes first. So of a sorted
// set, what shares the most leading positions with `a` is next to where `a` would go.
int CompareContent(const ColumnView& a, const ColumnView& b);

// Reads the columns of `tokens` in ascending order.
class ColumnReader {
 public:
  explicit ColumnReader(TokenView tokens) : tokens_(tokens) {}
  ColumnReader(const ColumnReader&) = delete;
  ColumnReader& operator=(const ColumnReader&) = delete;

  // The first `size` tokens of `column`; valid until the next call.
  // Requires: they lie within the sequence; no later column was read before.
  ColumnView Read(int32_t column, int32_t size = kSlotsPerPage);

 private:
  const TokenView tokens_;
  size_t next_run_ = 0;  // Runs before it end before every column that is still to be read.
  std::array<MediaSpan, kSlotsPerPage> spans_;
};

}  // namespace prefixd

#endif  // PREFIXD_CACHE_COLUMN_H_
