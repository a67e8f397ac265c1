// KV pages and attention of the CPU backend.
#include <algorithm>
#include <cstring>

#include "base/check.h"
#include "base/status_macros.h"
#include "engine/backend/check_tree.h"
#include "engine/backend/cpu/attention.h"
#include "engine/backend/cpu/cpu_backend_impl.h"
#include "engine/backend/cpu/kv_pool.h"
#include "engine/backend/cpu/memory.h"
#include "engine/backend/cpu/tensor_access.h"

namespace prefixd::cpu {
namespace {

constexpr int32_t kMostPositions = 1 << 24;  // Exact in f32, as the pool keeps them.

void CheckSegment(const KvSegment& segment, int64_t batch_rows, const KvPoolShape& shape) {
  PREFIXD_CHECK(segment.row_begin >= 0 && segment.num_rows >= 0);
  PREFIXD_CHECK(int64_t{segment.row_begin} + segment.num_rows <= batch_rows);
  for (const int32_t page : segment.pages) PREFIXD_CHECK(page >= 0 && page < shape.num_pages);
  if (segment.is_tree()) CheckTree(segment);
  if (!shape.keeps_positions) return;
  PREFIXD_CHECK(segment.first_position >= 0);
  int64_t last_row = segment.num_rows - 1;  // As positions go.
  for (int32_t i = 0; i < segment.num_rows && segment.is_tree(); ++i) {
    last_row = std::max<int64_t>(last_row, segment.path_length(i) - 1);
  }
  PREFIXD_CHECK(segment.first_position + last_row < kMostPositions);
}

}  // namespace

absl::Status CpuBackend::WriteKv(const Tensor& qkv, const Tensor* angles, int num_heads,
                                 absl::Span<const KvSegment> segments, KvPool* pool) {
  const auto& pages = *static_cast<PagedKvPool*>(pool);
  const int num_kv_heads = pages.shape().num_kv_heads;
  const int64_t head_dim = pages.shape().head_dim;
  PREFIXD_CHECK(num_heads >= 1 && qkv.cols == (num_heads + 2 * num_kv_heads) * head_dim);
  if (angles != nullptr) {
    PREFIXD_CHECK(angles->rows == qkv.rows && angles->cols <= head_dim && angles->cols % 2 == 0);
  }
  segment_rows_.clear();
  for (const KvSegment& segment : segments) {
    CheckSegment(segment, qkv.rows, pages.shape());
    PREFIXD_CHECK(static_cast<int64_t>(segment.write_slots.size()) == segment.num_rows);
    const int64_t num_slots = static_cast<int64_t>(segment.pages.size()) * kPageSlots;
    for (int32_t i = 0; i < segment.num_rows; ++i) {
      PREFIXD_CHECK(segment.write_slots[i] >= 0 && segment.write_slots[i] < num_slots);
      segment_rows_.push_back({&segment, i});
    }
  }
  ForRows(static_cast<int64_t>(segment_rows_.size()), 2 * qkv.cols, [&](int64_t item) {
    const auto [segment, i] = segment_rows_[item];
    const int64_t row = segment->row_begin + i;
    float* q = RowOf(qkv, row);
    float* k = q + num_heads * head_dim;
    const float* v = k + num_kv_heads * head_dim;
    if (angles != nullptr) {
      const float* cosines = RowOf(*angles, row);
      const int64_t half = angles->cols / 2;
      for (int head = 0; head < num_heads + num_kv_heads; ++head) {
        kernels_->rotate(cosines, cosines + half, half, q + head * head_dim);
      }
    }
    const int32_t slot = segment->write_slots[i];
    const int32_t page = segment->pages[slot / kPageSlots];
    if (pages.shape().keeps_positions) {
      pages.positions(page)[slot % kPageSlots] = static_cast<float>(segment->position(i));
    }
    std::byte* head = pages.head(page, 0);
    for (int kv = 0; kv < num_kv_heads; ++kv, head += pages.layout().head_bytes()) {
      pages.layout().WriteSlot(slot % kPageSlots, k + kv * head_dim, v + kv * head_dim, head);
    }
  });
  return absl::OkStatus();
}

// Every row is a sequence of its own: the context, which all have in common, and its path.
void CpuBackend::AddTree(const KvSegment& segment) {
  for (int32_t i = 0; i < segment.num_rows; ++i) {
    attention_.AddRows({.row_begin = segment.row_begin + i,
                        .num_rows = 1,
                        .first_visible = segment.first_visible + segment.path_length(i),
                        .first_position = segment.position(i),
                        .page_ids = segment.pages.data(),
                        .path = segment.path_slots.data() + segment.path_begins[i],
                        .context = segment.first_visible});
  }
}

absl::Status CpuBackend::PagedAttention(const Tensor& q, const KvPool& pool, int num_heads,
                                        const AttentionOptions& options,
                                        absl::Span<const KvSegment> segments, const Tensor& y) {
  const auto& pages = static_cast<const PagedKvPool&>(pool);
  const KvPoolShape& shape = pages.shape();
  const int64_t width = int64_t{num_heads} * shape.head_dim;
  PREFIXD_CHECK(num_heads >= 1 && num_heads % shape.num_kv_heads == 0);
  PREFIXD_CHECK(q.rows == y.rows && q.cols >= width && y.cols == width);
  const float* slopes = nullptr;
  if (options.alibi_slopes != nullptr) {
    PREFIXD_CHECK(shape.keeps_positions);
    CheckRow(*options.alibi_slopes, num_heads);
    slopes = RowOf(*options.alibi_slopes, 0);
  }
  attention_.Begin({.q = RowOf(q, 0),
                    .q_stride = q.row_stride,
                    .y = RowOf(y, 0),
                    .y_stride = y.row_stride,
                    .num_heads = num_heads,
                    .num_kv_heads = shape.num_kv_heads,
                    .scale = options.scale,
                    .alibi_slopes = slopes,
                    .layout = pages.layout(),
                    .pages = pages.page(0),
                    .page_bytes = pages.page_bytes(),
                    .head_bytes = pages.layout().head_bytes(),
                    .positions_offset = pages.positions_offset()});
  for (const KvSegment& segment : segments) {
    CheckSegment(segment, q.rows, shape);
    if (segment.is_tree()) {
      AddTree(segment);
      continue;
    }
    const int64_t last_visible = std::max<int64_t>(
        int64_t{segment.first_visible} + segment.num_rows - 1, segment.visible_prefix);
    PREFIXD_CHECK(segment.first_visible >= 1 && segment.visible_prefix >= 0);
    PREFIXD_CHECK(last_visible <= static_cast<int64_t>(segment.pages.size()) * kPageSlots);
    const AttentionRows rows = {.row_begin = segment.row_begin,
                                .num_rows = segment.num_rows,
                                .first_visible = segment.first_visible,
                                .visible_step = 1,
                                .visible_prefix = segment.visible_prefix,
                                .first_position = segment.first_position,
                                .page_ids = segment.pages.data()};
    if (segment.sums == nullptr) {
      attention_.AddRows(rows);
      continue;
    }
    PREFIXD_CHECK(segment.sums->rows == 1 && segment.sums->cols >= last_visible);
    PREFIXD_CHECK(segment.first_summed_row >= 0);
    const int first_row = std::min(segment.first_summed_row, segment.num_rows);
    attention_.AddRowsWithSums(rows, first_row, RowOf(*segment.sums, 0));
  }
  return attention_.Run();
}

absl::Status CpuBackend::CopyPages(absl::Span<const PageCopy> copies, KvPool* pool) {
  const auto& pages = *static_cast<PagedKvPool*>(pool);
  const int32_t num_pages = pages.shape().num_pages;
  for (const PageCopy& copy : copies) {
    PREFIXD_CHECK(copy.source >= 0 && copy.source < num_pages);
    PREFIXD_CHECK(copy.destination >= 0 && copy.destination < num_pages);
  }
  ForRows(static_cast<int64_t>(copies.size()), pages.page_bytes() / 4, [&](int64_t i) {
    std::memcpy(pages.page(copies[i].destination), pages.page(copies[i].source),
                static_cast<size_t>(pages.page_bytes()));
  });
  return absl::OkStatus();
}

}  // namespace prefixd::cpu
