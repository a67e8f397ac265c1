// Attention of the CPU backend to keys and values outside the KV pages: those of an image's own
// rows, and the latents that a sequence attends to across. Both run on the machinery of pages.
#include <algorithm>
#include <cstring>
#include <numeric>

#include "base/check.h"
#include "base/status_macros.h"
#include "engine/backend/cpu/attention.h"
#include "engine/backend/cpu/cpu_backend_impl.h"
#include "engine/backend/cpu/kv_pool.h"
#include "engine/backend/cpu/memory.h"
#include "engine/backend/cpu/tensor_access.h"

namespace prefixd::cpu {
namespace {

constexpr int64_t kMostHeadDim = 65536;       // PageLayout multiplies ints below.
constexpr int64_t kMostDensePages = 1 << 26;  // Page ids and slots are ints.

int HeadDim(const Tensor& y, int num_heads) {
  PREFIXD_CHECK(num_heads >= 1 && y.cols >= num_heads && y.cols % num_heads == 0);
  PREFIXD_CHECK(y.cols / num_heads <= kMostHeadDim);
  return static_cast<int>(y.cols / num_heads);
}

void ZeroRows(const Tensor& y, int64_t begin, int64_t end) {
  for (int64_t row = begin; row < end; ++row) {
    std::memset(RowOf(y, row), 0, y.cols * sizeof(float));
  }
}

bool SameMemory(const Tensor& a, const Tensor& b) {
  return a.data == b.data && a.rows == b.rows && a.row_stride == b.row_stride;
}

}  // namespace

absl::Status CpuBackend::CopyToPages(const PageLayout& layout, int num_heads,
                                     absl::Span<DenseKv> matrices) {
  num_dense_pages_ = 0;
  pages_of_dense_.clear();
  for (DenseKv& kv : matrices) {
    kv.first_page = num_dense_pages_;
    num_dense_pages_ += kv.num_pages();
    PREFIXD_CHECK(num_dense_pages_ <= kMostDensePages);
    for (int64_t page = 0; page < kv.num_pages(); ++page) pages_of_dense_.push_back({&kv, page});
  }
  const auto bytes =
      SizeProduct({static_cast<uint64_t>(num_heads), static_cast<uint64_t>(num_dense_pages_),
                   static_cast<uint64_t>(layout.head_bytes())});
  if (!bytes.has_value() || dense_pages_.size_bytes() < *bytes) {
    dense_pages_ = Buffer();
    PREFIXD_ASSIGN_OR_RETURN(dense_pages_,
                             AllocateZeroed(bytes, MemoryUse::kDense, "keys and values"));
  }
  const int64_t head_bytes = num_dense_pages_ * layout.head_bytes();
  const int64_t page_elements = int64_t{kPageSlots} * 4 * num_heads * layout.head_dim;
  ForRows(num_dense_pages_, page_elements, [&](int64_t item) {
    const auto [kv, page] = pages_of_dense_[item];
    const int64_t begin = page * kPageSlots;
    const int count = static_cast<int>(std::min<int64_t>(kPageSlots, kv->k.rows - begin));
    std::byte* head = dense_pages_.data() + (kv->first_page + page) * layout.head_bytes();
    for (int h = 0; h < num_heads; ++h, head += head_bytes) {
      const int64_t column = int64_t{h} * layout.head_dim;
      for (int slot = 0; slot < count; ++slot) {
        layout.WriteSlot(slot, RowOf(kv->k, begin + slot) + column,
                         RowOf(kv->v, begin + slot) + column, head);
      }
    }
  });
  return absl::OkStatus();
}

AttentionCall CpuBackend::DenseCall(const Tensor& q, int num_heads, float scale,
                                    const PageLayout& layout, const Tensor& y) const {
  return {.q = RowOf(q, 0),
          .q_stride = q.row_stride,
          .y = RowOf(y, 0),
          .y_stride = y.row_stride,
          .num_heads = num_heads,
          .num_kv_heads = num_heads,
          .scale = scale,
          .layout = layout,
          .pages = dense_pages_.data(),
          .page_bytes = layout.head_bytes(),
          .head_bytes = num_dense_pages_ * layout.head_bytes()};
}

absl::Status CpuBackend::VisionAttention(const Tensor& qkv, int num_heads, float scale,
                                         const Tensor& y) {
  PREFIXD_CHECK(qkv.rows == y.rows && qkv.cols == 3 * y.cols);
  const PageLayout layout(ElementType::kF32, HeadDim(y, num_heads));
  if (y.rows == 0) return absl::OkStatus();
  dense_kv_.assign({{.k = qkv.Cols(y.cols, y.cols), .v = qkv.Cols(2 * y.cols, y.cols)}});
  PREFIXD_RETURN_IF_ERROR(CopyToPages(layout, num_heads, absl::MakeSpan(dense_kv_)));
  attention_.Begin(DenseCall(qkv, num_heads, scale, layout, y));
  attention_.AddRows({.row_begin = 0,
                      .num_rows = static_cast<int>(qkv.rows),
                      .first_visible = static_cast<int>(qkv.rows),
                      .visible_step = 0});
  return attention_.Run();
}

absl::Status CpuBackend::CrossAttention(const Tensor& q, int num_heads, float scale,
                                        absl::Span<const CrossSegment> segments, const Tensor& y) {
  PREFIXD_CHECK(q.rows == y.rows && q.cols == y.cols);
  const PageLayout layout(ElementType::kF32, HeadDim(y, num_heads));
  // Neighbours with the same latents (text behind one image, in several sequences) share a copy,
  // and pass over it together.
  dense_kv_.clear();
  int64_t row = 0;
  for (const CrossSegment& segment : segments) {
    PREFIXD_CHECK(segment.row_begin >= row && segment.num_rows >= 0);
    PREFIXD_CHECK(segment.kv.rows >= 1 && segment.kv.cols == 2 * y.cols);
    ZeroRows(y, row, segment.row_begin);
    row = int64_t{segment.row_begin} + segment.num_rows;
    PREFIXD_CHECK(row <= y.rows);
    const Tensor k = segment.kv.Cols(0, y.cols);
    if (!dense_kv_.empty() && SameMemory(dense_kv_.back().k, k)) continue;
    dense_kv_.push_back({.k = k, .v = segment.kv.Cols(y.cols, y.cols)});
  }
  ZeroRows(y, row, y.rows);
  if (y.rows == 0 || dense_kv_.empty()) return absl::OkStatus();
  PREFIXD_RETURN_IF_ERROR(CopyToPages(layout, num_heads, absl::MakeSpan(dense_kv_)));
  const size_t had = dense_page_ids_.size();
  if (had < static_cast<size_t>(num_dense_pages_)) {
    dense_page_ids_.resize(static_cast<size_t>(num_dense_pages_));
    std::iota(dense_page_ids_.begin() + had, dense_page_ids_.end(), static_cast<int32_t>(had));
  }
  attention_.Begin(DenseCall(q, num_heads, scale, layout, y));
  size_t copy = 0;
  for (const CrossSegment& segment : segments) {
    if (!SameMemory(dense_kv_[copy].k, segment.kv.Cols(0, y.cols))) ++copy;
    attention_.AddRows({.row_begin = segment.row_begin,
                        .num_rows = segment.num_rows,
                        .first_visible = static_cast<int>(segment.kv.rows),
                        .visible_step = 0,
                        .page_ids = dense_page_ids_.data() + dense_kv_[copy].first_page});
  }
  return attention_.Run();
}

}  // namespace prefixd::cpu
