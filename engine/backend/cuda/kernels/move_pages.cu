// CopyPages, StagePages and UnstagePages: whole pages, bit by bit, in units of 16 bytes or of an
// element. A page's bytes are a multiple of 64.
#include "engine/backend/cuda/kernels/kv_ops.h"
#include "engine/backend/cuda/kernels/launch.h"

namespace prefixd::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kUnitsPerThread = 4;

// Page i of the call: ids[i * stride] of the pool, or i of a dense run where ids is null.
struct PageList {
  const int32_t* ids;
  int stride;

  __device__ int64_t page(unsigned i) const {
    return ids == nullptr ? int64_t{i} : int64_t{ids[static_cast<int64_t>(i) * stride]};
  }
};

// Grid: (page, part of it).
template <typename Unit>
__global__ void __launch_bounds__(kThreads)
    MovePagesKernel(const Unit* x, PageList x_pages, Unit* y, PageList y_pages, int page_units) {
  x += x_pages.page(blockIdx.x) * page_units;
  y += y_pages.page(blockIdx.x) * page_units;
  const int first =
      static_cast<int>(blockIdx.y) * kThreads * kUnitsPerThread + static_cast<int>(threadIdx.x);
  Unit units[kUnitsPerThread];  // All loads are under way before the first store.
  PREFIXD_UNROLL for (int k = 0; k < kUnitsPerThread; ++k) {
    if (first + k * kThreads < page_units) units[k] = x[first + k * kThreads];
  }
  PREFIXD_UNROLL for (int k = 0; k < kUnitsPerThread; ++k) {
    if (first + k * kThreads < page_units) y[first + k * kThreads] = units[k];
  }
}

// Pages of page_elements elements of `size` bytes.
cudaError_t MovePages(int64_t page_elements, int64_t size, const void* x, PageList x_pages, void* y,
                      PageList y_pages, int64_t count, cudaStream_t stream) {
  if (count < 0 || count > kMaxRows) return cudaErrorInvalidValue;
  if (count == 0) return cudaSuccess;
  if (x == nullptr || y == nullptr || !IsMultiple(x, size) || !IsMultiple(y, size) ||
      (x_pages.ids == nullptr && y_pages.ids == nullptr)) {
    return cudaErrorInvalidValue;
  }
  const auto launch = [&](auto tag) {
    using Unit = typename decltype(tag)::type;
    const int64_t units = page_elements * size / static_cast<int64_t>(sizeof(Unit));
    const dim3 grid(static_cast<unsigned>(count),
                    static_cast<unsigned>(CeilDiv(units, kThreads * kUnitsPerThread)));
    PREFIXD_LAUNCH((MovePagesKernel<Unit>), grid, dim3(kThreads), 0, stream,
                   static_cast<const Unit*>(x), x_pages, static_cast<Unit*>(y), y_pages,
                   static_cast<int>(units));
    return cudaGetLastError();
  };
  if (IsMultiple(x, 16) && IsMultiple(y, 16)) return launch(TypeTag<uint4>{});
  return size == 4 ? launch(TypeTag<uint32_t>{}) : launch(TypeTag<uint16_t>{});
}

cudaError_t MovePages(const KvPages& pages, const void* x, PageList x_pages, void* y,
                      PageList y_pages, int64_t count, cudaStream_t stream) {
  if (!IsValid(pages)) return cudaErrorInvalidValue;
  return MovePages(pages.page_elements(), ElementSize(pages.type), x, x_pages, y, y_pages, count,
                   stream);
}

}  // namespace

cudaError_t LaunchCopyPages(const int32_t* pairs, int64_t count, const KvPages& pages,
                            cudaStream_t stream) {
  if (pairs == nullptr && count != 0) return cudaErrorInvalidValue;
  const PageList from = {pairs, 2}, to = {pairs + 1, 2};
  const cudaError_t error = MovePages(pages, pages.data, from, pages.data, to, count, stream);
  if (error != cudaSuccess || pages.positions == nullptr) return error;
  return MovePages(kSlots, sizeof(int32_t), pages.positions, from, pages.positions, to, count,
                   stream);
}

cudaError_t LaunchStagePages(const KvPages& pages, const int32_t* ids, int64_t count, void* out,
                             cudaStream_t stream) {
  if (ids == nullptr && count != 0) return cudaErrorInvalidValue;
  return MovePages(pages, pages.data, {ids, 1}, out, {nullptr, 0}, count, stream);
}

cudaError_t LaunchUnstagePages(const void* in, const int32_t* ids, int64_t count,
                               const KvPages& pages, cudaStream_t stream) {
  if (ids == nullptr && count != 0) return cudaErrorInvalidValue;
  return MovePages(pages, in, {nullptr, 0}, pages.data, {ids, 1}, count, stream);
}

}  // namespace prefixd::cuda
