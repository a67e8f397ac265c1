// Split attention of any element types and head_dim <= 1024. A thread owns whole slots for the
// scores and whole dimensions for the values, so nothing needs alignment and there are two barriers
// a head. Neighbouring threads read neighbouring rows of K: each 32-byte sector is used up out of
// L1; half the bandwidth of SplitVector is what to expect.
#include "engine/backend/cuda/kernels/split_states.h"

namespace prefixd::cuda {
namespace {

struct PlainShared {
  int64_t offsets[kSplitSlots];
  int32_t positions[kSplitSlots];
  float scores[kSplitSlots];
  float weights[kSplitSlots];
};

template <typename T, typename KV>
__global__ void __launch_bounds__(kSplitThreads) SplitPlain(const SplitCall call) {
  const int row = static_cast<int>(blockIdx.x);
  const int split = static_cast<int>(blockIdx.y);
  const int kv_head = static_cast<int>(blockIdx.z);
  const int begin = split * kSplitSlots;
  const int visible = call.Visible(row);
  if (begin >= visible) return;
  const int end = min(begin + kSplitSlots, visible);
  const int count = MaskedEnd(end) - begin;
  const int head_dim = call.pages.head_dim;

  PREFIXD_DYN_SMEM(smem);
  PlainShared& shared = *reinterpret_cast<PlainShared*>(smem);
  LoadSlotOffsets(call, row, kv_head, begin, MaskedEnd(end), shared.offsets);
  if (call.slopes != nullptr) LoadPositions(call, row, begin, end, shared.positions);
  __syncthreads();
  const KV* keys = static_cast<const KV*>(call.pages.data);
  const KV* values = keys + call.pages.value_offset();
  for (int g = 0; g < call.group_heads; ++g) {
    const int head = kv_head * call.group_heads + g;
    const T* q =
        static_cast<const T*>(call.q) + row * call.q_stride + static_cast<int64_t>(head) * head_dim;
    for (int slot = static_cast<int>(threadIdx.x); slot < count; slot += kSplitThreads) {
      const KV* key = keys + shared.offsets[slot];
      float score = 0;
      // As column sums compute it: a score that is huge must be the same there.
      for (int d = 0; d < head_dim; ++d) {
        score = fmaf(dev::ToFloat(q[d]), dev::ToFloat(key[d]), score);
      }
      score = ScaledScore(score, call.scale_log2);
      if (call.slopes != nullptr) {
        score = WithDistance(score, SlopeLog2(call.slopes, head),
                             shared.positions[slot] - call.rows.position[row]);
      }
      shared.scores[slot] = score;
    }
    __syncthreads();
    float largest = shared.scores[0];
    for (int slot = 1; slot < count; ++slot) largest = fmaxf(largest, shared.scores[slot]);
    for (int slot = static_cast<int>(threadIdx.x); slot < count; slot += kSplitThreads) {
      shared.weights[slot] = dev::Exp2(shared.scores[slot] - largest);
    }
    // Also keeps the next head's scores from being written before all have read these.
    if (!PREFIXD_KERNEL_BUG(kSplitReadsBeforeBarrier)) __syncthreads();
    const int64_t state = call.StateIndex(row, head, split);
    for (int d = static_cast<int>(threadIdx.x); d < head_dim; d += kSplitThreads) {
      float sum = 0, value = 0;
      for (int slot = 0; slot < count; ++slot) {
        const float weight = shared.weights[slot];
        sum += weight;
        value += weight * dev::ToFloat(values[shared.offsets[slot] + d]);
      }
      call.states.values[state * head_dim + d] = value;
      if (d == 0) call.states.bounds[state] = make_float2(largest, sum);
    }
  }
}

template <typename T, typename KV>
cudaError_t LaunchTyped(const SplitCall& call, cudaStream_t stream) {
  PREFIXD_LAUNCH((SplitPlain<T, KV>), SplitGrid(call), dim3(kSplitThreads),
                 SplitSharedBytes(sizeof(PlainShared)), stream, call);
  return cudaGetLastError();
}

template <typename T>
cudaError_t LaunchActivation(const SplitCall& call, cudaStream_t stream) {
  switch (call.pages.type) {
    case Element::kF32:
      return LaunchTyped<T, float>(call, stream);
    case Element::kF16:
      return LaunchTyped<T, dev::f16>(call, stream);
    case Element::kBF16:
      return LaunchTyped<T, dev::bf16>(call, stream);
  }
  return cudaErrorInvalidValue;
}

}  // namespace

cudaError_t LaunchSplitPlain(const SplitCall& call, Element activation, cudaStream_t stream) {
  switch (activation) {
    case Element::kF32:
      return LaunchActivation<float>(call, stream);
    case Element::kF16:
      return LaunchActivation<dev::f16>(call, stream);
    case Element::kBF16:
      return LaunchActivation<dev::bf16>(call, stream);
  }
  return cudaErrorInvalidValue;
}

}  // namespace prefixd::cuda
