// GatherSlots: slots move as they are, in units of 16 bytes or of an element, or as means of
// several.
#include "engine/backend/cuda/kernels/kv_ops.h"
#include "engine/backend/cuda/kernels/launch.h"
#include "engine/backend/cuda/kernels/packet.h"

namespace prefixd::cuda {
namespace {

// Where vector `v` (heads of K, then heads of V) of a slot starts. `width`: units in a vector.
__device__ __forceinline__ int64_t VectorOffset(int64_t slot, int vectors, int v, int width) {
  return ((slot / kSlots * vectors + v) * kSlots + slot % kSlots) * width;
}

__device__ __forceinline__ int64_t SourceSlot(int64_t slot) {
  return PREFIXD_KERNEL_BUG(kGatherNextPage) ? slot + kSlots : slot;
}

// Grid: (destination, units of its vectors).
template <typename Unit>
__global__ void __launch_bounds__(RowGrid::kMaxThreads)
    GatherCopyKernel(const int64_t* sources, const int64_t* destinations, Unit* pages, int vectors,
                     int width) {
  const int item = static_cast<int>(blockIdx.y * blockDim.x + threadIdx.x);
  const int v = item / width, u = item % width;
  if (v >= vectors) return;
  const int64_t source = SourceSlot(sources[blockIdx.x]), destination = destinations[blockIdx.x];
  pages[VectorOffset(destination, vectors, v, width) + u] =
      pages[VectorOffset(source, vectors, v, width) + u];
}

// Grid: (destination, packets of its vectors).
template <bool kAligned, typename T>
__global__ void __launch_bounds__(RowGrid::kMaxThreads)
    GatherMeanKernel(const int64_t* sources, const int32_t* first_source,
                     const int64_t* destinations, T* pages, int vectors, int width) {
  const int packets = (width + kPacket - 1) / kPacket;
  const int item = static_cast<int>(blockIdx.y * blockDim.x + threadIdx.x);
  const int v = item / packets, c = item % packets * kPacket;
  if (v >= vectors) return;
  const int count = PacketColumns(width, c);
  const int32_t begin = first_source[blockIdx.x], end = first_source[blockIdx.x + 1];
  float sum[kPacket] = {};
  for (int32_t i = begin; i < end; ++i) {
    float x[kPacket];
    LoadPacket<kAligned>(pages + VectorOffset(SourceSlot(sources[i]), vectors, v, width) + c, count,
                         x);
    PREFIXD_UNROLL for (int k = 0; k < kPacket; ++k) sum[k] += x[k];
  }
  const int32_t number = end - begin + (PREFIXD_KERNEL_BUG(kMeanOfOneMore) ? 1 : 0);
  const float factor = 1.0f / static_cast<float>(number);
  PREFIXD_UNROLL for (int k = 0; k < kPacket; ++k) sum[k] *= factor;
  StorePacket<kAligned>(pages + VectorOffset(destinations[blockIdx.x], vectors, v, width) + c,
                        count, sum);
}

// The position of a destination: that of its first source.
__global__ void __launch_bounds__(RowGrid::kMaxThreads)
    GatherPositionsKernel(const int64_t* sources, const int32_t* first_source,
                          const int64_t* destinations, int count, int32_t* positions) {
  const int d = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  if (d >= count) return;
  positions[destinations[d]] = positions[sources[first_source == nullptr ? d : first_source[d]]];
}

cudaError_t LaunchMeans(const int64_t* sources, const int32_t* first_source,
                        const int64_t* destinations, int64_t count, const KvPages& pages,
                        bool all_aligned, cudaStream_t stream) {
  const int vectors = 2 * pages.num_kv_heads;
  const RowGrid shape(count, vectors * CeilDiv(pages.head_dim, kPacket));
  return ForElement(pages.type, [&](auto tag) {
    using T = typename decltype(tag)::type;
    return ForBool(all_aligned, [&](auto aligned) {
      PREFIXD_LAUNCH((GatherMeanKernel<decltype(aligned)::value, T>), shape.grid, shape.block, 0,
                     stream, sources, first_source, destinations, static_cast<T*>(pages.data),
                     vectors, pages.head_dim);
      return cudaGetLastError();
    });
  });
}

}  // namespace

cudaError_t LaunchGatherSlots(const int64_t* sources, const int32_t* first_source,
                              const int64_t* destinations, int64_t count, const KvPages& pages,
                              cudaStream_t stream) {
  if (!IsValid(pages) || count < 0 || count > kMaxRows) return cudaErrorInvalidValue;
  if (count == 0) return cudaSuccess;
  if (sources == nullptr || destinations == nullptr) return cudaErrorInvalidValue;
  if (pages.positions != nullptr) {
    const unsigned blocks = static_cast<unsigned>(CeilDiv(count, RowGrid::kMaxThreads));
    PREFIXD_LAUNCH(GatherPositionsKernel, dim3(blocks), dim3(RowGrid::kMaxThreads), 0, stream,
                   sources, first_source, destinations, static_cast<int>(count), pages.positions);
    const cudaError_t error = cudaGetLastError();
    if (error != cudaSuccess) return error;
  }
  const int64_t vector_bytes = pages.head_dim * ElementSize(pages.type);
  const bool all_aligned = IsMultiple(pages.data, 16) && vector_bytes % 16 == 0;
  if (first_source != nullptr) {
    return LaunchMeans(sources, first_source, destinations, count, pages, all_aligned, stream);
  }
  const auto launch = [&](auto tag) {
    using Unit = typename decltype(tag)::type;
    const int vectors = 2 * pages.num_kv_heads;
    const int64_t width = vector_bytes / static_cast<int64_t>(sizeof(Unit));
    const RowGrid shape(count, vectors * width);
    PREFIXD_LAUNCH((GatherCopyKernel<Unit>), shape.grid, shape.block, 0, stream, sources,
                   destinations, static_cast<Unit*>(pages.data), vectors, static_cast<int>(width));
    return cudaGetLastError();
  };
  if (all_aligned) return launch(TypeTag<uint4>{});
  return pages.type == Element::kF32 ? launch(TypeTag<uint32_t>{}) : launch(TypeTag<uint16_t>{});
}

}  // namespace prefixd::cuda
