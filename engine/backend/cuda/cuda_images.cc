// Ops of image towers, and attention to what they give.
#include <cmath>

#include "base/check.h"
#include "base/status_macros.h"
#include "engine/backend/cuda/cuda_backend_impl.h"
#include "engine/backend/cuda/kernels/row_ops.h"
#include "engine/backend/cuda/kernels/tile_attention.h"

namespace prefixd::cuda {

absl::Status CudaBackend::VisionAttention(const Tensor& qkv, int num_heads, float scale,
                                          const Tensor& y) {
  PREFIXD_CHECK(num_heads >= 1 && y.cols % num_heads == 0 && qkv.cols == 3 * y.cols);
  PREFIXD_CHECK(qkv.rows == y.rows && y.cols >= num_heads);
  PREFIXD_RETURN_IF_ERROR(Enter());
  if (y.rows == 0) return absl::OkStatus();
  PREFIXD_ASSIGN_OR_RETURN(const cudaStream_t stream, memory_->Use({qkv.data, y.data}));
  return Check(LaunchVisionAttention(ViewOf(qkv), num_heads, scale, ViewOf(y), stream),
               "VisionAttention");
}

// A launch a segment: they are few. Passes with them are not recorded.
absl::Status CudaBackend::CrossAttention(const Tensor& q, int num_heads, float scale,
                                         absl::Span<const CrossSegment> segments, const Tensor& y) {
  PREFIXD_CHECK(num_heads >= 1 && y.cols >= num_heads && y.cols % num_heads == 0);
  PREFIXD_CHECK(q.rows == y.rows && q.cols == y.cols);
  int64_t end = 0;
  for (const CrossSegment& segment : segments) {
    PREFIXD_CHECK(segment.row_begin >= end && segment.num_rows >= 0);
    end = int64_t{segment.row_begin} + segment.num_rows;
    PREFIXD_CHECK(end <= y.rows && segment.kv.rows >= 1 && segment.kv.cols == 2 * y.cols);
  }
  PREFIXD_RETURN_IF_ERROR(Enter());
  if (y.rows == 0) return absl::OkStatus();
  if (memory_->recording()) {
    return absl::FailedPreconditionError("a recorded pass takes segments that were not announced");
  }
  may_record_ = false;
  PREFIXD_ASSIGN_OR_RETURN(cudaStream_t stream, memory_->Use({q.data, y.data}));
  const size_t element = DTypeSize(y.dtype);
  const auto zero_rows = [&](int64_t from, int64_t to) {
    if (from == to) return absl::OkStatus();
    const Tensor rows = y.Rows(from, to - from);
    return Check(cudaMemset2DAsync(rows.data, rows.row_stride * element, 0, rows.cols * element,
                                   rows.rows, stream),
                 "CrossAttention");
  };
  int64_t done = 0;
  for (const CrossSegment& segment : segments) {
    PREFIXD_RETURN_IF_ERROR(zero_rows(done, segment.row_begin));
    done = int64_t{segment.row_begin} + segment.num_rows;
    if (segment.num_rows == 0) continue;
    PREFIXD_ASSIGN_OR_RETURN(stream, memory_->Use({segment.kv.data}));
    PREFIXD_RETURN_IF_ERROR(
        Check(LaunchCrossAttention(ViewOf(q.Rows(segment.row_begin, segment.num_rows)),
                                   ViewOf(segment.kv), num_heads, scale,
                                   ViewOf(y.Rows(segment.row_begin, segment.num_rows)), stream),
              "CrossAttention"));
  }
  return zero_rows(done, y.rows);
}

absl::Status CudaBackend::Patchify(const Tensor& pixels, int patch_size, const Tensor& y) {
  const int64_t side = std::llround(std::sqrt(static_cast<double>(pixels.cols)));
  PREFIXD_CHECK(patch_size >= 1 && pixels.rows == 3 && side * side == pixels.cols);
  const int64_t grid = side / patch_size;
  PREFIXD_CHECK(y.rows == grid * grid && y.cols == 3 * int64_t{patch_size} * patch_size);
  PREFIXD_RETURN_IF_ERROR(Enter());
  if (y.rows == 0) return absl::OkStatus();
  PREFIXD_ASSIGN_OR_RETURN(const cudaStream_t stream, memory_->Use({pixels.data, y.data}));
  return Check(
      LaunchPatchify(ViewOf(pixels), static_cast<int>(side), patch_size, ViewOf(y), stream),
      "Patchify");
}

}  // namespace prefixd::cuda
