// KV pages and paged attention of the CUDA backend.
#include <algorithm>

#include "base/check.h"
#include "base/status_macros.h"
#include "engine/backend/check_tree.h"
#include "engine/backend/cuda/cuda_backend_impl.h"
#include "engine/backend/cuda/kernels/column_sums.h"
#include "engine/backend/cuda/kernels/kv_ops.h"
#include "engine/backend/cuda/kernels/split_attention.h"
#include "engine/backend/cuda/kernels/tile_attention.h"

namespace prefixd::cuda {
namespace {

// Rows inside the batch, and pages for all that rows see and write.
void CheckSegments(absl::Span<const KvSegment> segments, int64_t num_rows,
                   const KvPoolShape& shape) {
  for (const KvSegment& segment : segments) {
    PREFIXD_CHECK(segment.row_begin >= 0 && segment.num_rows >= 0 && segment.first_visible >= 1);
    PREFIXD_CHECK(int64_t{segment.row_begin} + segment.num_rows <= num_rows);
    PREFIXD_CHECK(static_cast<int64_t>(segment.write_slots.size()) == segment.num_rows);
    for (const int32_t page : segment.pages) PREFIXD_CHECK(page >= 0 && page < shape.num_pages);
    const int64_t num_slots = static_cast<int64_t>(segment.pages.size()) * kPageSlots;
    PREFIXD_CHECK(segment.visible_prefix >= 0);
    for (const int32_t slot : segment.write_slots) PREFIXD_CHECK(slot >= 0 && slot < num_slots);
    if (segment.is_tree()) {
      CheckTree(segment);
      continue;
    }
    const int64_t visible = segment.num_rows == 0 ? 0 : VisibleTo(segment, segment.num_rows - 1);
    PREFIXD_CHECK(visible <= num_slots);
    if (segment.sums == nullptr) continue;
    PREFIXD_CHECK(segment.sums->rows == 1 && segment.sums->dtype == DType::kF32);
    PREFIXD_CHECK(segment.sums->cols >= visible);
    PREFIXD_CHECK(segment.first_summed_row >= 0);
  }
}

// Rows [begin, begin + count) of a matrix.
DeviceMatrix RowsOf(DeviceMatrix matrix, int64_t begin, int64_t count) {
  matrix.data =
      static_cast<std::byte*>(matrix.data) + begin * matrix.stride * ElementSize(matrix.type);
  matrix.rows = count;
  return matrix;
}

// Whether rows start at multiples of 16 bytes, as the kernels for tensor cores want them.
bool IsAligned(const DeviceMatrix& matrix) {
  return reinterpret_cast<uintptr_t>(matrix.data) % 16 == 0 &&
         matrix.stride * ElementSize(matrix.type) % 16 == 0;
}

}  // namespace

struct CudaBackend::AttentionCall {
  DeviceMatrix q;
  KvPages pages;
  int num_heads = 0;
  float scale = 0;
  const float* slopes = nullptr;
  const DeviceSegments* segments = nullptr;
  DeviceMatrix y;
  float* lse = nullptr;
  cudaStream_t stream = nullptr;
};

AttentionPlanOptions CudaBackend::PlanOptions(const KvPool& pool) const {
  const Element activation = ElementOf(info_.activation_dtype);
  if (options_.deterministic) return {.shared_unit = kSplitSlots};
  return {.tiles = TileKernelTakes(activation, static_cast<const CudaKvPool&>(pool).pages())};
}

absl::StatusOr<const DeviceSegments*> CudaBackend::FindOrSend(absl::Span<const KvSegment> segments,
                                                              int64_t num_rows,
                                                              const AttentionPlanOptions& options) {
  const DeviceSegments* const known = step_->FindSegments(segments);
  if (known != nullptr && (options.tiles || known->plan->tiles.empty())) {
    PREFIXD_CHECK(known->rows.num_rows == num_rows);
    return known;
  }
  if (memory_->recording()) {
    return absl::FailedPreconditionError("a recorded pass takes segments that were not announced");
  }
  may_record_ = false;
  return step_->SendSegments(segments, num_rows, options);
}

absl::Status CudaBackend::WriteKv(const Tensor& qkv, const Tensor* angles, int num_heads,
                                  absl::Span<const KvSegment> segments, KvPool* pool) {
  const KvPages pages = static_cast<CudaKvPool*>(pool)->pages();
  PREFIXD_CHECK(num_heads >= 1);
  PREFIXD_CHECK(qkv.cols == (int64_t{num_heads} + 2 * pages.num_kv_heads) * pages.head_dim);
  if (angles != nullptr) {
    PREFIXD_CHECK(angles->rows == qkv.rows && angles->dtype == DType::kF32);
    PREFIXD_CHECK(angles->cols <= pages.head_dim && angles->cols % 2 == 0);
  }
  CheckSegments(segments, qkv.rows, pool->shape());
  PREFIXD_RETURN_IF_ERROR(Enter());
  if (qkv.rows == 0 || segments.empty()) return absl::OkStatus();
  PREFIXD_ASSIGN_OR_RETURN(const DeviceSegments* const sent,
                           FindOrSend(segments, qkv.rows, PlanOptions(*pool)));
  DeviceMatrix device_angles;
  const bool rotates = angles != nullptr && angles->cols > 0;
  if (rotates) device_angles = ViewOf(*angles);
  PREFIXD_ASSIGN_OR_RETURN(const cudaStream_t stream,
                           memory_->Use({qkv.data, device_angles.data, sent->slots,
                                         sent->rows.tables, pages.data, pages.positions}));
  return Check(LaunchWriteKv(ViewOf(qkv), rotates ? &device_angles : nullptr, num_heads,
                             sent->slots, sent->rows.position, pages, stream),
               "WriteKv");
}

absl::Status CudaBackend::PagedAttention(const Tensor& q, const KvPool& pool, int num_heads,
                                         const AttentionOptions& options,
                                         absl::Span<const KvSegment> segments, const Tensor& y) {
  AttentionCall call = {.q = ViewOf(q),
                        .pages = static_cast<const CudaKvPool&>(pool).pages(),
                        .num_heads = num_heads,
                        .scale = options.scale,
                        .y = ViewOf(y)};
  if (const Tensor* const slopes = options.alibi_slopes; slopes != nullptr) {
    PREFIXD_CHECK(pool.shape().keeps_positions && slopes->dtype == DType::kF32);
    PREFIXD_CHECK(slopes->rows == 1 && slopes->cols == num_heads);
    call.slopes = reinterpret_cast<const float*>(slopes->data);
  }
  const int64_t width = int64_t{num_heads} * call.pages.head_dim;
  PREFIXD_CHECK(num_heads >= 1 && num_heads % call.pages.num_kv_heads == 0);
  PREFIXD_CHECK(q.rows == y.rows && q.cols >= width && y.cols == width);
  CheckSegments(segments, q.rows, pool.shape());
  PREFIXD_RETURN_IF_ERROR(Enter());
  if (q.rows == 0 || segments.empty()) return absl::OkStatus();
  AttentionPlanOptions plan_options = PlanOptions(pool);
  plan_options.tiles &= IsAligned(call.q) && IsAligned(call.y);
  PREFIXD_ASSIGN_OR_RETURN(call.segments, FindOrSend(segments, q.rows, plan_options));
  const AttentionPlan& plan = *call.segments->plan;
  if (!plan.sums.empty()) {
    const size_t size =
        static_cast<size_t>(q.rows) * static_cast<size_t>(num_heads) * sizeof(float);
    PREFIXD_ASSIGN_OR_RETURN(std::byte* const lse, scratch().lse.Ensure(size, memory_.get()));
    call.lse = reinterpret_cast<float*>(lse);
  }
  PREFIXD_ASSIGN_OR_RETURN(
      call.stream,
      memory_->Use({q.data, call.pages.data, call.pages.positions, call.slopes,
                    call.segments->rows.sequence, call.segments->rows.tables, call.lse, y.data}));
  for (const AttentionPlan::Run& run : plan.runs) PREFIXD_RETURN_IF_ERROR(RunSplits(call, run));
  PREFIXD_RETURN_IF_ERROR(RunTiles(call));
  return RunSums(call);
}

// A run whose states need too much memory goes in pieces, and without groups.
absl::Status CudaBackend::RunSplits(const AttentionCall& call, const AttentionPlan::Run& run) {
  const Element activation = call.q.type;
  const int head_dim = call.pages.head_dim;
  const auto bytes = [&](int64_t rows) {
    return SplitScratchBytes(rows, call.num_heads, head_dim, run.max_visible);
  };
  int32_t piece = run.num_rows;
  while (piece > 1 && bytes(piece) > options_.split_bytes) piece = (piece + 1) / 2;
  PREFIXD_ASSIGN_OR_RETURN(std::byte* const states,
                           scratch().states.Ensure(bytes(piece), memory_.get()));
  PREFIXD_RETURN_IF_ERROR(memory_->Use({states}).status());
  const DeviceSegments& segments = *call.segments;
  SplitAttention split = {.pages = call.pages,
                          .num_heads = call.num_heads,
                          .scale = call.scale,
                          .slopes = call.slopes,
                          .rows = segments.rows,
                          .scratch = states};
  if (options_.deterministic) {
    const bool matrix =
        SplitKernelTakes(SplitKernel::kMatrix, activation, call.pages) && IsAligned(call.q);
    split.kernel = matrix ? SplitKernel::kMatrix : SplitKernel::kPlain;
  }
  split.rows.max_visible = run.max_visible;
  if (!run.tree) split.rows.context = nullptr;
  for (int32_t begin = 0; begin < run.num_rows; begin += piece) {
    const int32_t row = run.row_begin + begin;
    const int32_t count = std::min(piece, run.num_rows - begin);
    const DeviceMatrix q = RowsOf(call.q, row, count);
    split.q = &q;
    split.y = RowsOf(call.y, row, count);
    split.rows.num_rows = count;
    split.rows.sequence = segments.rows.sequence + row;
    split.rows.visible = segments.rows.visible + row;
    split.rows.position = segments.rows.position + row;
    if (run.tree) {
      split.rows.context = segments.rows.context + row;
      split.rows.path_begin = segments.rows.path_begin + row;
    }
    split.lse = call.lse == nullptr ? nullptr : call.lse + int64_t{row} * call.num_heads;
    if (piece == run.num_rows && (run.grouped || segments.always_grouped)) {
      split.groups = {.shared = segments.groups.shared + row,
                      .leader = segments.groups.leader + row,
                      .member_begin = segments.groups.member_begin + row,
                      .member_count = segments.groups.member_count + row,
                      .members = segments.groups.members + row};
    }
    PREFIXD_RETURN_IF_ERROR(Check(LaunchSplitAttention(split, call.stream), "PagedAttention"));
  }
  return absl::OkStatus();
}

absl::Status CudaBackend::RunTiles(const AttentionCall& call) {
  const AttentionPlan& plan = *call.segments->plan;
  if (plan.tiles.empty()) return absl::OkStatus();
  return Check(LaunchTileAttention({.q = &call.q,
                                    .pages = call.pages,
                                    .num_heads = call.num_heads,
                                    .scale = call.scale,
                                    .slopes = call.slopes,
                                    .rows = call.segments->rows,
                                    .tiles = call.segments->tiles,
                                    .num_tiles = static_cast<int32_t>(plan.tiles.size()),
                                    .y = call.y,
                                    .lse = call.lse},
                                   call.stream),
               "PagedAttention");
}

absl::Status CudaBackend::RunSums(const AttentionCall& call) {
  const AttentionPlan& plan = *call.segments->plan;
  int64_t most = 0;
  for (const auto& batch : plan.sum_batches) most = std::max(most, batch.num_floats);
  if (most == 0) return absl::OkStatus();
  PREFIXD_ASSIGN_OR_RETURN(
      std::byte* const probabilities,
      scratch().probabilities.Ensure(static_cast<size_t>(most) * sizeof(float), memory_.get()));
  for (const SummedRows& rows : plan.sums) {
    PREFIXD_RETURN_IF_ERROR(memory_->Use({rows.sums}).status());
  }
  for (const AttentionPlan::SumBatch& batch : plan.sum_batches) {
    PREFIXD_RETURN_IF_ERROR(
        Check(LaunchColumnSums({.q = &call.q,
                                .pages = call.pages,
                                .num_heads = call.num_heads,
                                .scale = call.scale,
                                .slopes = call.slopes,
                                .rows = call.segments->rows,
                                .lse = call.lse,
                                .segments = call.segments->sums + batch.begin,
                                .host_segments = plan.sums.data() + batch.begin,
                                .num_segments = batch.end - batch.begin,
                                .scratch = reinterpret_cast<float*>(probabilities)},
                               call.stream),
              "sums of attention"));
  }
  return absl::OkStatus();
}

}  // namespace prefixd::cuda
