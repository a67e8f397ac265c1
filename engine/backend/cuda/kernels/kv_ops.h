// Kernels that write, copy and move slots of K and V, and the one that brings the inputs of a step
// to their places.
#ifndef PREFIXD_ENGINE_BACKEND_CUDA_KERNELS_KV_OPS_H_
#define PREFIXD_ENGINE_BACKEND_CUDA_KERNELS_KV_OPS_H_

#include "engine/backend/cuda/kernels/types.h"

namespace prefixd::cuda {

// Rotates the first R elements of q and k of every row (rotate-half; `angles`: kF32 [T, R] of
// LaunchRotaryAngles, R <= head_dim even; or null) and writes k and v to slot slots[t] = page *
// kSlots + slot of `pages`; below 0: nowhere (padding). qkv: [T, (num_heads + 2 kv heads) *
// head_dim]; the q columns are rotated in place. Pages with positions get positions[t], too.
cudaError_t LaunchWriteKv(const DeviceMatrix& qkv, const DeviceMatrix* angles, int num_heads,
                          const int64_t* slots, const int32_t* positions, const KvPages& pages,
                          cudaStream_t stream);

// pairs: [count][2], source and destination page. Positions go with their pages.
cudaError_t LaunchCopyPages(const int32_t* pairs, int64_t count, const KvPages& pages,
                            cudaStream_t stream);

// Pages ids[0..count) to or from one dense run of memory, in the order given.
cudaError_t LaunchStagePages(const KvPages& pages, const int32_t* ids, int64_t count, void* out,
                             cudaStream_t stream);
cudaError_t LaunchUnstagePages(const void* in, const int32_t* ids, int64_t count,
                               const KvPages& pages, cudaStream_t stream);

// Slot destinations[d] becomes slot sources[d] (both page * kSlots + slot); with `first_source`
// ([count + 1]), the mean of slots sources[first_source[d]] .. sources[first_source[d + 1] - 1]:
// summed in that order in float32, times 1 / their number, rounded once. Positions go with their
// slots, the first source's with a mean. No page is both a source and a destination.
cudaError_t LaunchGatherSlots(const int64_t* sources, const int32_t* first_source,
                              const int64_t* destinations, int64_t count, const KvPages& pages,
                              cudaStream_t stream);

// target[indices[i]] = values[i], i < count; indices distinct, or below 0: nowhere (so that a
// recorded call of a fixed count serves fewer). Words of 32 bits.
cudaError_t LaunchApplyDeltas(const int32_t* indices, const int32_t* values, int64_t count,
                              int32_t* target, cudaStream_t stream);

}  // namespace prefixd::cuda

#endif  // PREFIXD_ENGINE_BACKEND_CUDA_KERNELS_KV_OPS_H_
