// Split attention on tensor cores, and cascade attention (FlashInfer, arXiv:2501.01005; Hydragen,
// arXiv:2402.05099): the rows of a matrix are (row of the call, head of the group) pairs, 16 a
// warp. Where a group of rows shares its first slots, one block computes those slots' states for 64
// pairs, so their pages are read once for all of them; each row's own slots have a block of their
// own. Tiles of slots come by cp.async, double buffered, XOR swizzled.
// A byte of K and V serves as many FLOP as there are pairs: memory bound up to about 100 of them.
#ifndef PREFIXD_ENGINE_BACKEND_CUDA_KERNELS_SPLIT_ATTENTION_MATRIX_CUH_
#define PREFIXD_ENGINE_BACKEND_CUDA_KERNELS_SPLIT_ATTENTION_MATRIX_CUH_

#include "engine/backend/cuda/kernels/split_matrix_tile.cuh"

namespace prefixd::cuda {

// Starts copying tile `tile` of the job into buffer `buffer`; slots from `count` on become zeros.
template <typename T, int kHeadDim, bool kTree>
__device__ __forceinline__ void CopyTile(
    const SplitCall& call, int tile, int count, int buffer,
    typename MatrixShape<kHeadDim>::template Shared<kTree>& shared) {
  using Shape = MatrixShape<kHeadDim>;
  const T* pages = static_cast<const T*>(call.pages.data);
  const int64_t value_offset = call.pages.value_offset();
  constexpr int kStep = kSplitThreads / Shape::kChunks;  // Slots that the block copies at once.
  const int chunk = static_cast<int>(threadIdx.x) % Shape::kChunks;
  const int first = static_cast<int>(threadIdx.x) / Shape::kChunks;
  const int first_at = Shape::At(first, chunk);
  PREFIXD_UNROLL for (int i = 0; i < Shape::kTileSlots / kStep; ++i) {
    const int slot = tile * Shape::kTileSlots + first + i * kStep;
    const T* key = pages + chunk * 8;
    if constexpr (kTree) {
      key += shared.offsets[slot];
    } else {
      key += shared.offsets[slot / kSlots] + slot % kSlots * kHeadDim;
    }
    // At(first + i * kStep, chunk).
    const int at = (first_at ^ (i * kStep % 8 * 8)) + i * kStep * kHeadDim;
    dev::CpAsync16(&shared.keys[buffer][at], key, slot < count);
    dev::CpAsync16(&shared.values[buffer][at], key + value_offset, slot < count);
  }
}

struct RowAndHead {
  int row, head;
};

__device__ __forceinline__ RowAndHead PairOf(const SplitCall& call, const MatrixJob& job,
                                             int kv_head, int row) {
  // Pairs beyond the last repeat it; nobody reads them.
  const int pair = min(job.first + row, job.num_pairs - 1);
  return {job.Row(pair, call.group_heads), kv_head * call.group_heads + pair % call.group_heads};
}

template <typename T, int kHeadDim>
__device__ __forceinline__ const T* QueryOfPair(const SplitCall& call, const MatrixJob& job,
                                                int kv_head, int row) {
  const RowAndHead pair = PairOf(call, job, kv_head, row);
  return static_cast<const T*>(call.q) + pair.row * call.q_stride +
         static_cast<int64_t>(pair.head) * kHeadDim;
}

__device__ __forceinline__ MatrixDistances DistancesOf(const SplitCall& call, const MatrixJob& job,
                                                       int kv_head) {
  MatrixDistances distances;
  PREFIXD_UNROLL for (int r = 0; r < 2; ++r) {
    const int row =
        static_cast<int>(threadIdx.x) / 32 * 16 + static_cast<int>(threadIdx.x) % 32 / 4 + r * 8;
    const RowAndHead pair = PairOf(call, job, kv_head, row);
    distances.slope[r] = SlopeLog2(call.slopes, pair.head);
    distances.position[r] = call.rows.position[pair.row];
  }
  return distances;
}

template <typename T, int kHeadDim>
__device__ __forceinline__ void LoadQueries(const SplitCall& call, const MatrixJob& job,
                                            int kv_head, uint16_t* queries,
                                            MatrixState<kHeadDim>& state) {
  using Shape = MatrixShape<kHeadDim>;
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int first = static_cast<int>(threadIdx.x) / 32 * 16;
  if constexpr (Shape::kSharedQueries) {
    for (int i = lane; i < 16 * Shape::kChunks; i += 32) {
      const int row = first + i / Shape::kChunks, chunk = i % Shape::kChunks;
      dev::Store16(queries + Shape::At(row, chunk),
                   dev::Load16(QueryOfPair<T, kHeadDim>(call, job, kv_head, row) + chunk * 8));
    }
  } else {
    PREFIXD_UNROLL for (int r = 0; r < 2; ++r) {
      const T* q =
          QueryOfPair<T, kHeadDim>(call, job, kv_head, first + lane / 4 + r * 8) + lane % 4 * 2;
      PREFIXD_UNROLL for (int k = 0; k < kHeadDim / 16; ++k) {
        state.q[k][r] = *reinterpret_cast<const uint32_t*>(q + k * 16);
        state.q[k][r + 2] = *reinterpret_cast<const uint32_t*>(q + k * 16 + 8);
      }
    }
  }
  PREFIXD_UNROLL for (int r = 0; r < 2; ++r) {
    state.largest[r] = -INFINITY;
    state.sum[r] = 0;
  }
  PREFIXD_UNROLL for (int i = 0; i < kHeadDim / 8; ++i) {
    PREFIXD_UNROLL for (int j = 0; j < 4; ++j) state.values[i][j] = 0;
  }
}

template <int kHeadDim>
__device__ __forceinline__ void StoreStates(const SplitCall& call, const MatrixJob& job,
                                            int kv_head, const MatrixState<kHeadDim>& state) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  PREFIXD_UNROLL for (int r = 0; r < 2; ++r) {
    float sum = state.sum[r];
    sum += __shfl_xor_sync(0xFFFFFFFFu, sum, 1);
    sum += __shfl_xor_sync(0xFFFFFFFFu, sum, 2);
    const int pair = job.first + static_cast<int>(threadIdx.x) / 32 * 16 + lane / 4 + r * 8;
    if (pair >= job.num_pairs) continue;
    const int64_t index =
        call.StateIndex(job.Row(pair, call.group_heads),
                        kv_head * call.group_heads + pair % call.group_heads, job.state);
    float* values = call.states.values + index * kHeadDim + lane % 4 * 2;
    PREFIXD_UNROLL for (int i = 0; i < kHeadDim / 8; ++i) {
      *reinterpret_cast<float2*>(values + i * 8) =
          make_float2(state.values[i][r * 2], state.values[i][r * 2 + 1]);
    }
    if (lane % 4 == 0) call.states.bounds[index] = make_float2(state.largest[r], sum);
  }
}

template <typename T, int kHeadDim, bool kAlibi, bool kTree>
__global__ void __launch_bounds__(kSplitThreads) SplitMatrix(const SplitCall call) {
  using Shape = MatrixShape<kHeadDim>;
  const MatrixJob job = JobOfBlock(call);
  if (job.begin == job.end) return;
  const int kv_head = static_cast<int>(blockIdx.z);
  PREFIXD_DYN_SMEM(smem);
  auto& shared = *reinterpret_cast<typename Shape::template Shared<kTree>*>(smem);
  const int own_row = static_cast<int>(blockIdx.x);
  if constexpr (kTree) {
    LoadSlotOffsets(call, own_row, kv_head, job.begin, MaskedEnd(job.end), shared.offsets);
  } else {
    LoadPageOffsets(call, own_row, kv_head, job.begin, job.end, shared.offsets);
  }
  MatrixDistances distances = {};
  if constexpr (kAlibi) {
    LoadPositions(call, own_row, job.begin, job.end, shared.positions);
    distances = DistancesOf(call, job, kv_head);
  }
  __syncthreads();
  const int count = MaskedEnd(job.end) - job.begin;
  const int tiles = CeilDiv(count, Shape::kTileSlots);
  const bool active =  // The warp has pairs. Others only copy.
      job.first + static_cast<int>(threadIdx.x) / 32 * 16 < job.num_pairs;
  MatrixState<kHeadDim> state;
  CopyTile<T, kHeadDim, kTree>(call, 0, count, 0, shared);
  dev::CpAsyncCommit();
  LoadQueries<T, kHeadDim>(call, job, kv_head, shared.queries, state);
  for (int tile = 0; tile < tiles; ++tile) {
    const int buffer = tile % 2;
    if (tile + 1 < tiles) CopyTile<T, kHeadDim, kTree>(call, tile + 1, count, 1 - buffer, shared);
    dev::CpAsyncCommit();  // Perhaps an empty group, so that one may always stay behind.
    if (!PREFIXD_KERNEL_BUG(kSplitMissingCopyWait)) dev::CpAsyncWait<1>();
    if (!PREFIXD_KERNEL_BUG(kSplitReadsBeforeBarrier)) __syncthreads();
    if (active) {
      AddTile<T, kHeadDim, kAlibi>(shared.queries, shared.keys[buffer], shared.values[buffer],
                                   count - tile * Shape::kTileSlots, call.scale_log2,
                                   shared.positions + tile * Shape::kTileSlots, distances, state);
    }
    // The next turn copies into this buffer.
    if (!PREFIXD_KERNEL_BUG(kSplitReusesBeforeBarrier)) __syncthreads();
  }
  if (active) StoreStates<kHeadDim>(call, job, kv_head, state);
}

template <typename T, int kHeadDim, bool kAlibi, bool kTree>
cudaError_t LaunchMatrix(const SplitCall& call, cudaStream_t stream) {
  using Shared = typename MatrixShape<kHeadDim>::template Shared<kTree>;
  static_assert(sizeof(Shared) <= 99 * 1024);  // The least that a card gives a block.
  const size_t bytes = SplitSharedBytes(sizeof(Shared));
  const cudaError_t allowed =
      dev::AllowSharedMemory(SplitMatrix<T, kHeadDim, kAlibi, kTree>, bytes);
  if (allowed != cudaSuccess) return allowed;
  dim3 grid = SplitGrid(call);
  grid.y *= static_cast<unsigned>(MatrixParts(call));
  if (grid.y > kMaxGridY) return cudaErrorInvalidValue;
  PREFIXD_LAUNCH((SplitMatrix<T, kHeadDim, kAlibi, kTree>), grid, dim3(kSplitThreads), bytes,
                 stream, call);
  return cudaGetLastError();
}

template <typename T, bool kAlibi, bool kTree>
cudaError_t LaunchMatrixTyped(const SplitCall& call, cudaStream_t stream) {
  switch (call.pages.head_dim) {
    case 64:
      return LaunchMatrix<T, 64, kAlibi, kTree>(call, stream);
    case 128:
      return LaunchMatrix<T, 128, kAlibi, kTree>(call, stream);
    case 256:
      return LaunchMatrix<T, 256, kAlibi, kTree>(call, stream);
  }
  return cudaErrorInvalidValue;
}

}  // namespace prefixd::cuda

#endif  // PREFIXD_ENGINE_BACKEND_CUDA_KERNELS_SPLIT_ATTENTION_MATRIX_CUH_
