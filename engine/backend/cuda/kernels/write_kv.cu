// WriteKv: a head is two parts, the elements that rotate and those behind them; one thread takes a
// packet of the first half of a part and the packet of its second half that rotates with it.
#include "engine/backend/cuda/kernels/kv_ops.h"
#include "engine/backend/cuda/kernels/launch.h"
#include "engine/backend/cuda/kernels/packet.h"

namespace prefixd::cuda {
namespace {

// Rotate-half: (lo, hi) = (lo cos - hi sin, hi cos + lo sin).
__device__ __forceinline__ void RotatePackets(const float (&cosine)[kPacket],
                                              const float (&sine)[kPacket], float (&lo)[kPacket],
                                              float (&hi)[kPacket]) {
  if (PREFIXD_KERNEL_BUG(kRotatesNeighbours)) {
    for (int i = 0; i < kPacket; i += 2) {
      const float a = lo[i], b = lo[i + 1];
      lo[i] = a * cosine[i] - b * sine[i];
      lo[i + 1] = b * cosine[i] + a * sine[i];
    }
    return;
  }
  PREFIXD_UNROLL for (int i = 0; i < kPacket; ++i) {
    const float a = lo[i], b = hi[i];
    lo[i] = a * cosine[i] - b * sine[i];
    hi[i] = b * cosine[i] + a * sine[i];
  }
}

// Packets of the first half of `length` elements.
__host__ __device__ __forceinline__ int HalfPackets(int length) {
  return ((length + 1) / 2 + kPacket - 1) / kPacket;
}

// The first of the head_dim elements of a slot: of K, or with `value` of V.
__device__ __forceinline__ int64_t SlotOffset(const KvPages& pages, int64_t slot, bool value,
                                              int head) {
  const int64_t offset = slot / kSlots * pages.page_elements() +
                         (value ? pages.value_offset() : 0) +
                         (int64_t{head} * kSlots + slot % kSlots) * pages.head_dim;
  if (PREFIXD_KERNEL_BUG(kSlotOffset32)) return static_cast<int32_t>(offset);
  return offset;
}

// Grid: (row, packets of all heads: of the first part, then of the second). `half` is the length of
// a part's first half, of which an odd part has one element more. Without rotation all elements are
// the first part.
template <bool kAligned, typename T, typename K>
__global__ void __launch_bounds__(RowGrid::kMaxThreads)
    WriteKvKernel(T* qkv, int64_t qkv_stride, const float* angles, int64_t angle_stride,
                  int rotated, int num_heads, const int64_t* slots, const int32_t* positions,
                  KvPages pages) {
  const int dim = pages.head_dim;
  const int packets = HalfPackets(rotated), head_packets = packets + HalfPackets(dim - rotated);
  const int item = static_cast<int>(blockIdx.y * blockDim.x + threadIdx.x);
  const int head = item / head_packets, packet = item % head_packets;
  const bool behind = packet >= packets;
  const int begin = behind ? rotated : 0, length = behind ? dim - rotated : rotated;
  const int half = (length + 1) / 2, c = (behind ? packet - packets : packet) * kPacket;
  const int first_k = num_heads, first_v = num_heads + pages.num_kv_heads;
  if (head >= first_v + pages.num_kv_heads) return;
  const bool is_q = head < first_k, is_v = head >= first_v;
  int64_t slot = slots[blockIdx.x];
  if (PREFIXD_KERNEL_BUG(kWritesPadding) && slot < 0) slot = 0;
  if (item == 0 && slot >= 0 && pages.positions != nullptr) {
    pages.positions[slot] = positions[blockIdx.x];
  }
  if (is_q ? angles == nullptr || behind : slot < 0) return;

  T* const x = qkv + blockIdx.x * qkv_stride + int64_t{head} * dim + begin + c;
  const int lo_count = PacketColumns(half, c), hi_count = PacketColumns(length - half, c);
  float lo[kPacket], hi[kPacket];
  LoadPacket<kAligned>(x, lo_count, lo);
  LoadPacket<kAligned>(x + half, hi_count, hi);
  if (angles != nullptr && !is_v && !behind) {
    const float* const a = angles + blockIdx.x * angle_stride + c;
    float cosine[kPacket], sine[kPacket];
    LoadPacket<kAligned>(a, lo_count, cosine);
    LoadPacket<kAligned>(a + half, lo_count, sine);
    RotatePackets(cosine, sine, lo, hi);
  }
  if (is_q) {
    StorePacket<kAligned>(x, lo_count, lo);
    StorePacket<kAligned>(x + half, hi_count, hi);
    return;
  }
  K* const y = static_cast<K*>(pages.data) +
               SlotOffset(pages, slot, is_v, head - (is_v ? first_v : first_k)) + begin + c;
  StorePacket<kAligned>(y, lo_count, lo);
  StorePacket<kAligned>(y + half, hi_count, hi);
}

struct WriteKvCall {
  const DeviceMatrix& qkv;
  const DeviceMatrix* angles;
  int num_heads;
  const int64_t* slots;
  const int32_t* positions;
  const KvPages& pages;
  cudaStream_t stream;
};

template <typename T, typename K>
cudaError_t LaunchAs(const WriteKvCall& call) {
  const int dim = call.pages.head_dim;
  const int rotated = call.angles == nullptr ? dim : static_cast<int>(call.angles->cols);
  // Both halves of every part start at multiples of 16 bytes in qkv, angles and pages.
  constexpr int64_t kSmallest = sizeof(T) < sizeof(K) ? sizeof(T) : sizeof(K);
  const bool all_aligned = IsAligned(call.qkv) && IsMultiple(call.pages.data, 16) &&
                           rotated % 2 == 0 && rotated / 2 * kSmallest % 16 == 0 && dim % 2 == 0 &&
                           (dim - rotated) / 2 * kSmallest % 16 == 0 &&
                           (call.angles == nullptr || IsAligned(*call.angles));
  const int64_t heads = call.num_heads + 2 * int64_t{call.pages.num_kv_heads};
  const RowGrid shape(call.qkv.rows, heads * (HalfPackets(rotated) + HalfPackets(dim - rotated)));
  return ForBool(all_aligned, [&](auto aligned) {
    PREFIXD_LAUNCH((WriteKvKernel<decltype(aligned)::value, T, K>), shape.grid, shape.block, 0,
                   call.stream, static_cast<T*>(call.qkv.data), call.qkv.stride,
                   static_cast<const float*>(call.angles == nullptr ? nullptr : call.angles->data),
                   call.angles == nullptr ? 0 : call.angles->stride, rotated, call.num_heads,
                   call.slots, call.positions, call.pages);
    return cudaGetLastError();
  });
}

}  // namespace

cudaError_t LaunchWriteKv(const DeviceMatrix& qkv, const DeviceMatrix* angles, int num_heads,
                          const int64_t* slots, const int32_t* positions, const KvPages& pages,
                          cudaStream_t stream) {
  if (!IsValid(qkv) || !IsValid(pages) || num_heads <= 0 || num_heads > kMaxColumns ||
      qkv.cols != (num_heads + 2 * int64_t{pages.num_kv_heads}) * pages.head_dim) {
    return cudaErrorInvalidValue;
  }
  if (angles != nullptr &&
      (!IsValid(*angles) || angles->type != Element::kF32 || angles->rows != qkv.rows ||
       angles->cols < 2 || angles->cols > pages.head_dim || angles->cols % 2 != 0)) {
    return cudaErrorInvalidValue;
  }
  if (qkv.rows == 0) return cudaSuccess;
  if (slots == nullptr || (pages.positions != nullptr && positions == nullptr)) {
    return cudaErrorInvalidValue;
  }
  const WriteKvCall call{qkv, angles, num_heads, slots, positions, pages, stream};
  return ForElement(qkv.type, [&](auto tag) {
    using T = typename decltype(tag)::type;
    if (pages.type == qkv.type) return LaunchAs<T, T>(call);
    if constexpr (std::is_same_v<T, float>) {
      if (pages.type == Element::kBF16) return LaunchAs<float, dev::bf16>(call);
      return LaunchAs<float, dev::f16>(call);
    }
    if constexpr (std::is_same_v<T, dev::bf16>) {
      if (pages.type == Element::kF32) return LaunchAs<dev::bf16, float>(call);
    }
    return cudaErrorInvalidValue;
  });
}

}  // namespace prefixd::cuda
