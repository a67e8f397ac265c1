// Split attention for decoding: head_dim / 8 lanes read one slot of K and V, 16 bytes a lane, for
// kHeads heads at once; further heads of the group take further turns over the split. Each such set
// of lanes keeps an online softmax of its slots; the sets' states merge through shared memory.
// Memory bound: 4 * head_dim bytes a slot and kv head, G FLOP a byte.
#ifndef PREFIXD_ENGINE_BACKEND_CUDA_KERNELS_SPLIT_ATTENTION_VECTOR_CUH_
#define PREFIXD_ENGINE_BACKEND_CUDA_KERNELS_SPLIT_ATTENTION_VECTOR_CUH_

#include "engine/backend/cuda/kernels/split_states.h"

namespace prefixd::cuda {

template <int kHeadDim, int kHeads>
struct VectorShape {
  static constexpr int kLanes = kHeadDim / 8;  // Of one slot.
  static constexpr int kSets = kSplitThreads / kLanes;
  static constexpr int kUnroll = kHeads < 8 ? 2 : 1;  // Slots that a set has in flight.
  // Registers of the four: up to 64, 96, 128, 255.
  static constexpr int kMinBlocks = kHeads == 1 ? 8 : kHeads == 2 ? 5 : kHeads == 4 ? 4 : 2;
  struct Shared {
    int64_t offsets[kSplitPages];
    int32_t positions[kSplitSlots];  // With kAlibi.
    float2 bounds[kHeads][kSets];
    alignas(16) float values[kHeads][kSets][kHeadDim];
  };
};

template <typename T>
__device__ __forceinline__ void Unpack8(const uint4& packed, float (&values)[8]) {
  const uint32_t words[4] = {packed.x, packed.y, packed.z, packed.w};
  PREFIXD_UNROLL for (int i = 0; i < 4; ++i) {
    const float2 pair = dev::Unpack2<T>(words[i]);
    values[2 * i] = pair.x;
    values[2 * i + 1] = pair.y;
  }
}

// What one set of lanes knows of the slots that it has seen; each lane holds 8 dimensions.
template <int kHeads>
struct VectorState {
  float largest[kHeads];
  float sum[kHeads];
  float values[kHeads][8];
};

// Adds kUnroll slots, those not `seen` without effect; add_distance(u, g, score) is the score of
// head g for slot u. Called by whole warps.
template <typename T, int kLanes, int kHeads, int kUnroll, typename AddDistance>
__device__ __forceinline__ void AddSlots(const float (&q)[kHeads][8], const uint4 (&keys)[kUnroll],
                                         const uint4 (&values)[kUnroll],
                                         const bool (&seen)[kUnroll],
                                         const AddDistance& add_distance,
                                         VectorState<kHeads>& state) {
  float score[kUnroll][kHeads];
  PREFIXD_UNROLL for (int u = 0; u < kUnroll; ++u) {
    float key[8];
    Unpack8<T>(keys[u], key);
    PREFIXD_UNROLL for (int g = 0; g < kHeads; ++g) {
      float dot = 0;
      PREFIXD_UNROLL for (int i = 0; i < 8; ++i) dot += q[g][i] * key[i];
      PREFIXD_UNROLL for (int step = kLanes / 2; step > 0; step /= 2) {
        dot += __shfl_xor_sync(0xFFFFFFFFu, dot, step);
      }
      score[u][g] = seen[u] ? add_distance(u, g, dot) : -INFINITY;
    }
  }
  PREFIXD_UNROLL for (int g = 0; g < kHeads; ++g) {
    float largest = state.largest[g];
    PREFIXD_UNROLL for (int u = 0; u < kUnroll; ++u) largest = fmaxf(largest, score[u][g]);
    const float base = largest == -INFINITY ? 0.0f : largest;  // No slot seen so far.
    const float rescale = dev::Exp2(state.largest[g] - base);
    state.largest[g] = largest;
    state.sum[g] *= rescale;
    PREFIXD_UNROLL for (int i = 0; i < 8; ++i) state.values[g][i] *= rescale;
    PREFIXD_UNROLL for (int u = 0; u < kUnroll; ++u) {
      score[u][g] = dev::Exp2(score[u][g] - base);
      state.sum[g] += score[u][g];
    }
  }
  PREFIXD_UNROLL for (int u = 0; u < kUnroll; ++u) {
    float value[8];
    Unpack8<T>(values[u], value);
    PREFIXD_UNROLL for (int g = 0; g < kHeads; ++g) {
      PREFIXD_UNROLL for (int i = 0; i < 8; ++i) state.values[g][i] += score[u][g] * value[i];
    }
  }
}

// Merges the sets' states of heads [first, first + kHeads) of the group, sets in ascending order.
template <int kHeadDim, int kHeads>
__device__ __forceinline__ void MergeSets(
    const SplitCall& call, const typename VectorShape<kHeadDim, kHeads>::Shared& shared, int row,
    int split, int kv_head, int first) {
  constexpr int kSets = VectorShape<kHeadDim, kHeads>::kSets;
  for (int i = static_cast<int>(threadIdx.x); i < kHeads * kHeadDim; i += kSplitThreads) {
    const int g = i / kHeadDim, d = i % kHeadDim;
    if (first + g >= call.group_heads) return;
    float largest = -INFINITY;
    for (int set = 0; set < kSets; ++set) largest = fmaxf(largest, shared.bounds[g][set].x);
    float sum = 0, value = 0;
    for (int set = 0; set < kSets; ++set) {
      const float2 bounds = shared.bounds[g][set];
      const float weight = dev::Exp2(bounds.x - largest);
      sum += weight * bounds.y;
      value += weight * shared.values[g][set][d];
    }
    const int64_t state = call.StateIndex(row, kv_head * call.group_heads + first + g, split);
    call.states.values[state * kHeadDim + d] = value;
    if (d == 0) call.states.bounds[state] = make_float2(largest, sum);
  }
}

template <typename T, int kHeadDim, int kHeads, bool kAlibi>
__global__ void __launch_bounds__(kSplitThreads, VectorShape<kHeadDim, kHeads>::kMinBlocks)
    SplitVector(const SplitCall call) {
  using Shape = VectorShape<kHeadDim, kHeads>;
  constexpr int kUnroll = Shape::kUnroll;
  const int row = static_cast<int>(blockIdx.x);
  const int split = static_cast<int>(blockIdx.y);
  const int kv_head = static_cast<int>(blockIdx.z);
  const int begin = split * kSplitSlots;
  const int visible = call.Visible(row);
  if (begin >= visible) return;
  const int end = min(begin + kSplitSlots, visible);
  const int count = MaskedEnd(end) - begin;
  const int set = static_cast<int>(threadIdx.x) / Shape::kLanes;
  const int column = static_cast<int>(threadIdx.x) % Shape::kLanes * 8;

  PREFIXD_DYN_SMEM(smem);
  auto& shared = *reinterpret_cast<typename Shape::Shared*>(smem);
  LoadPageOffsets(call, row, kv_head, begin, end, shared.offsets);
  if constexpr (kAlibi) LoadPositions(call, row, begin, end, shared.positions);
  __syncthreads();
  const T* pages = static_cast<const T*>(call.pages.data);
  const int64_t value_offset = call.pages.value_offset();
  for (int first = 0; first < call.group_heads; first += kHeads) {
    float q[kHeads][8], slopes[kHeads];
    VectorState<kHeads> state;
    PREFIXD_UNROLL for (int g = 0; g < kHeads; ++g) {
      // Heads beyond the group repeat its last one; nobody reads them.
      const int head = kv_head * call.group_heads + min(first + g, call.group_heads - 1);
      Unpack8<T>(dev::Load16(static_cast<const T*>(call.q) + row * call.q_stride +
                             static_cast<int64_t>(head) * kHeadDim + column),
                 q[g]);
      slopes[g] = kAlibi ? SlopeLog2(call.slopes, head) : 0.0f;
      PREFIXD_UNROLL for (int i = 0; i < 8; ++i) {
        q[g][i] *= call.scale_log2;
        state.values[g][i] = 0;
      }
      state.largest[g] = -INFINITY;
      state.sum[g] = 0;
    }
    // As many turns for every lane: the shuffles need whole warps.
    for (int slot = set; slot < count + set; slot += Shape::kSets * kUnroll) {
      uint4 keys[kUnroll], values[kUnroll];
      bool seen[kUnroll];
      PREFIXD_UNROLL for (int u = 0; u < kUnroll; ++u) {
        const int at = slot + u * Shape::kSets;
        seen[u] = at < count;
        keys[u] = values[u] = make_uint4(0, 0, 0, 0);
        if (seen[u]) {
          const T* key = pages + shared.offsets[at / kSlots] + at % kSlots * kHeadDim + column;
          keys[u] = dev::Load16(key);
          values[u] = dev::Load16(key + value_offset);
        }
      }
      AddSlots<T, Shape::kLanes, kHeads, kUnroll>(
          q, keys, values, seen,
          [&](int u, int g, float score) {
            if constexpr (!kAlibi) return score;
            return WithDistance(
                score, slopes[g],
                shared.positions[slot + u * Shape::kSets] - call.rows.position[row]);
          },
          state);
    }
    PREFIXD_UNROLL for (int g = 0; g < kHeads; ++g) {
      PREFIXD_UNROLL for (int i = 0; i < 8; ++i) {
        shared.values[g][set][column + i] = state.values[g][i];
      }
      if (column == 0) shared.bounds[g][set] = make_float2(state.largest[g], state.sum[g]);
    }
    if (!PREFIXD_KERNEL_BUG(kSplitReadsBeforeBarrier)) __syncthreads();
    MergeSets<kHeadDim, kHeads>(call, shared, row, split, kv_head, first);
    // The next turn writes what this one has just read.
    if (!PREFIXD_KERNEL_BUG(kSplitReusesBeforeBarrier)) __syncthreads();
  }
}

template <typename T, int kHeadDim, int kHeads, bool kAlibi>
cudaError_t LaunchVector(const SplitCall& call, cudaStream_t stream) {
  constexpr size_t kBytes = sizeof(typename VectorShape<kHeadDim, kHeads>::Shared);
  static_assert(kBytes <= 48 * 1024);
  PREFIXD_LAUNCH((SplitVector<T, kHeadDim, kHeads, kAlibi>), SplitGrid(call), dim3(kSplitThreads),
                 SplitSharedBytes(kBytes), stream, call);
  return cudaGetLastError();
}

template <typename T, int kHeadDim>
cudaError_t LaunchVectorHeads(const SplitCall& call, cudaStream_t stream) {
  // Models with ALiBi have a kv head for each head.
  if (call.slopes != nullptr) return LaunchVector<T, kHeadDim, 1, true>(call, stream);
  if (call.group_heads == 1) return LaunchVector<T, kHeadDim, 1, false>(call, stream);
  if (call.group_heads == 2) return LaunchVector<T, kHeadDim, 2, false>(call, stream);
  if (call.group_heads <= 4) return LaunchVector<T, kHeadDim, 4, false>(call, stream);
  return LaunchVector<T, kHeadDim, 8, false>(call, stream);
}

template <typename T>
cudaError_t LaunchVectorTyped(const SplitCall& call, cudaStream_t stream) {
  switch (call.pages.head_dim) {
    case 64:
      return LaunchVectorHeads<T, 64>(call, stream);
    case 128:
      return LaunchVectorHeads<T, 128>(call, stream);
    case 256:
      return LaunchVectorHeads<T, 256>(call, stream);
  }
  return cudaErrorInvalidValue;
}

}  // namespace prefixd::cuda

#endif  // PREFIXD_ENGINE_BACKEND_CUDA_KERNELS_SPLIT_ATTENTION_VECTOR_CUH_
