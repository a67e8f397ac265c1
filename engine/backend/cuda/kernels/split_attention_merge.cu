// Merges the softmax states of split attention: y = sum of values_k 2^(m_k - m) over sum of
// sums_k 2^(m_k - m), m the largest m_k, states in ascending order. One block a (row, head); reads
// every state once.
#include "engine/backend/cuda/kernels/split_states.h"

namespace prefixd::cuda {
namespace {

// States that the row has, in places [0, count).
__device__ int StateCount(const SplitCall& call, int row) {
  const int visible = call.Visible(row);
  const int shared = call.Shared(row);
  if (visible <= shared) return CeilDiv(shared, kSplitSlots);
  return CeilDiv(visible, kSplitSlots) + (shared % kSplitSlots != 0);
}

template <typename T>
__global__ void __launch_bounds__(kSplitThreads) SplitMerge(const SplitCall call) {
  const int row = static_cast<int>(blockIdx.x);
  const int head = static_cast<int>(blockIdx.y);
  const int head_dim = call.pages.head_dim;
  const int count = StateCount(call, row);
  const int64_t first = call.StateIndex(row, head, 0);
  float largest = -INFINITY;
  for (int k = 0; k < count; ++k) largest = fmaxf(largest, call.states.bounds[first + k].x);

  T* y = static_cast<T*>(call.y.data) + row * call.y.stride + static_cast<int64_t>(head) * head_dim;
  for (int d = static_cast<int>(threadIdx.x); d < head_dim; d += static_cast<int>(blockDim.x)) {
    float sum = 0, value = 0;
    for (int k = 0; k < count; ++k) {
      const float2 bounds = call.states.bounds[first + k];
      const float weight = dev::Exp2(bounds.x - largest);
      sum += weight * bounds.y;
      value += weight * call.states.values[(first + k) * head_dim + d];
    }
    y[d] = dev::FromFloat<T>(count > 0 ? value / sum : 0.0f);
    if (d == 0 && call.lse != nullptr) {
      call.lse[static_cast<int64_t>(row) * call.num_heads + head] =
          count > 0 ? largest + log2f(sum) : -INFINITY;
    }
  }
}

}  // namespace

cudaError_t LaunchSplitMerge(const SplitCall& call, cudaStream_t stream) {
  const dim3 grid(static_cast<unsigned>(call.rows.num_rows), static_cast<unsigned>(call.num_heads));
  const int warps = CeilDiv(call.pages.head_dim, 32);
  const dim3 block(static_cast<unsigned>(warps * 32 < kSplitThreads ? warps * 32 : kSplitThreads));
  switch (call.y.type) {
    case Element::kF32:
      PREFIXD_LAUNCH((SplitMerge<float>), grid, block, 0, stream, call);
      break;
    case Element::kF16:
      PREFIXD_LAUNCH((SplitMerge<dev::f16>), grid, block, 0, stream, call);
      break;
    case Element::kBF16:
      PREFIXD_LAUNCH((SplitMerge<dev::bf16>), grid, block, 0, stream, call);
      break;
  }
  return cudaGetLastError();
}

}  // namespace prefixd::cuda
