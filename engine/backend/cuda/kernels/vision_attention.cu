#include <cmath>
#include <cstdint>

#include "engine/backend/cuda/device.h"
#include "engine/backend/cuda/kernels/tile_attention.h"
#include "engine/backend/cuda/kernels/tile_memory.h"
#include "engine/backend/cuda/kernels/vision_tile.h"

namespace prefixd::cuda {
namespace {

constexpr int kMaxHeadDim = 1024;
constexpr int kPlainThreads = 128;
constexpr int kPlainWarps = kPlainThreads / 32;
constexpr int kPlainKeys =
    2 * kPlainThreads;  // Whose probabilities lie in shared memory at a time.
constexpr int kDimsPerThread = kMaxHeadDim / kPlainThreads;
constexpr int kPlainBytes = (kPlainKeys + kPlainWarps) * static_cast<int>(sizeof(float));

// What every thread of a block gets: `combine` over all threads' values. `shared`: [kPlainWarps].
template <typename Combine>
__device__ float AcrossBlock(float value, float* shared, const Combine& combine) {
  PREFIXD_UNROLL
  for (int step = 16; step > 0; step /= 2) {
    value = combine(value, __shfl_xor_sync(0xffffffffu, value, step));
  }
  __syncthreads();  // All have read the values of the call before.
  if (threadIdx.x % 32 == 0) shared[threadIdx.x / 32] = value;
  __syncthreads();
  float all = shared[0];
  for (int warp = 1; warp < kPlainWarps; ++warp) all = combine(all, shared[warp]);
  return all;
}

// Grid: row * num_heads + head. A thread has every kPlainThreads-th key of scores and every
// kPlainThreads-th column of y.
template <typename T>
__global__ void __launch_bounds__(kPlainThreads) PlainVisionKernel(VisionArguments args) {
  PREFIXD_DYN_SMEM(shared);
  float* const probabilities = reinterpret_cast<float*>(shared);  // [kPlainKeys]
  float* const partial = probabilities + kPlainKeys;              // [kPlainWarps]
  const int head = blockIdx.x % args.num_heads;
  const int64_t row = blockIdx.x / args.num_heads;
  const int64_t head_begin = static_cast<int64_t>(head) * args.head_dim;
  const T* const q = static_cast<const T*>(args.q) + row * args.q_stride + head_begin;
  const T* const keys = static_cast<const T*>(args.keys) + head_begin;

  float out[kDimsPerThread] = {};
  float max_score = -INFINITY, sum = 0;
  for (int first = 0; first < args.num_keys; first += kPlainKeys) {
    const int num_keys = min(kPlainKeys, args.num_keys - first);
    float scores[kPlainKeys / kPlainThreads];
    float top = max_score;
    PREFIXD_UNROLL
    for (int i = 0; i < kPlainKeys / kPlainThreads; ++i) {
      const int key = i * kPlainThreads + static_cast<int>(threadIdx.x);
      scores[i] = -INFINITY;
      if (key >= num_keys) continue;
      const T* const k = keys + (first + key) * args.key_stride;
      float dot = 0;
      for (int d = 0; d < args.head_dim; ++d) {
        dot = fmaf(dev::ToFloat(q[d]), dev::ToFloat(k[d]), dot);
      }
      scores[i] = dot * args.scale_log2;
      top = fmaxf(top, scores[i]);
    }
    top = AcrossBlock(top, partial, [](float a, float b) { return fmaxf(a, b); });
    const float base = top == -INFINITY ? 0.0f : top;
    const float rescale = dev::Exp2(max_score - base);
    max_score = top;
    float part = 0;
    PREFIXD_UNROLL
    for (int i = 0; i < kPlainKeys / kPlainThreads; ++i) {
      const int key = i * kPlainThreads + static_cast<int>(threadIdx.x);
      const float p = dev::Exp2(scores[i] - base);
      probabilities[key] = p;
      part += p;
    }
    part = AcrossBlock(part, partial, [](float a, float b) { return a + b; });
    sum = sum * rescale + part;
    PREFIXD_UNROLL
    for (int i = 0; i < kDimsPerThread; ++i) {
      const int d = i * kPlainThreads + static_cast<int>(threadIdx.x);
      if (d >= args.head_dim) break;
      const T* v = keys + first * args.key_stride + args.value_offset + d;
      float value = out[i] * rescale;
      for (int key = 0; key < num_keys; ++key, v += args.key_stride) {
        value = fmaf(probabilities[key], dev::ToFloat(*v), value);
      }
      out[i] = value;
    }
    // No barrier: the next pass writes probabilities behind those of AcrossBlock.
  }
  T* const y = static_cast<T*>(args.y) + row * args.y_stride + head_begin;
  PREFIXD_UNROLL
  for (int i = 0; i < kDimsPerThread; ++i) {
    const int d = i * kPlainThreads + static_cast<int>(threadIdx.x);
    if (d < args.head_dim) y[d] = dev::FromFloat<T>(out[i] / sum);
  }
}

template <typename T>
cudaError_t LaunchPlain(const VisionArguments& args, cudaStream_t stream) {
  const int64_t num_blocks = int64_t{args.num_rows} * args.num_heads;
  if (num_blocks > INT32_MAX) return cudaErrorInvalidValue;
  PREFIXD_LAUNCH((PlainVisionKernel<T>), dim3(static_cast<unsigned>(num_blocks)),
                 dim3(kPlainThreads), kPlainBytes, stream, args);
  return cudaGetLastError();
}

}  // namespace

cudaError_t LaunchPlainVision(const VisionArguments& args, Element type, cudaStream_t stream) {
  switch (type) {
    case Element::kF32:
      return LaunchPlain<float>(args, stream);
    case Element::kF16:
      return LaunchPlain<dev::f16>(args, stream);
    case Element::kBF16:
      return LaunchPlain<dev::bf16>(args, stream);
  }
  return cudaErrorInvalidValue;
}

namespace {

// By tensor cores where shapes and alignment allow. Requires valid matrices.
cudaError_t LaunchDense(const VisionArguments& args, Element type, cudaStream_t stream) {
  if (args.head_dim > kMaxHeadDim) return cudaErrorInvalidValue;
  const bool tiles = type != Element::kF32 && args.head_dim <= 128 && args.head_dim % 8 == 0 &&
                     Aligned16(args.q, args.q_stride, type) &&
                     Aligned16(args.keys, args.key_stride, type) &&
                     Aligned16(args.y, args.y_stride, type);
  if (!tiles) return LaunchPlainVision(args, type, stream);
  return type == Element::kF16 ? LaunchTileVisionF16(args, stream)
                               : LaunchTileVisionBf16(args, stream);
}

}  // namespace

cudaError_t LaunchVisionAttention(const DeviceMatrix& qkv, int num_heads, float scale,
                                  const DeviceMatrix& y, cudaStream_t stream) {
  if (qkv.rows == 0) return cudaSuccess;
  if (num_heads <= 0 || qkv.rows < 0 || qkv.rows > INT32_MAX || qkv.cols <= 0 ||
      qkv.cols % (3 * int64_t{num_heads}) != 0 || y.type != qkv.type || y.rows < qkv.rows ||
      y.cols != qkv.cols / 3 || qkv.stride < qkv.cols || y.stride < y.cols) {
    return cudaErrorInvalidValue;
  }
  VisionArguments args;
  args.q = qkv.data;
  args.q_stride = args.key_stride = qkv.stride;
  args.keys = static_cast<const char*>(qkv.data) + y.cols * ElementSize(qkv.type);
  args.value_offset = y.cols;
  args.y = y.data;
  args.y_stride = y.stride;
  args.num_rows = args.num_keys = static_cast<int>(qkv.rows);
  args.num_heads = num_heads;
  args.head_dim = static_cast<int>(y.cols / num_heads);
  args.scale_log2 = scale * kLog2E;
  return LaunchDense(args, qkv.type, stream);
}

cudaError_t LaunchCrossAttention(const DeviceMatrix& q, const DeviceMatrix& kv, int num_heads,
                                 float scale, const DeviceMatrix& y, cudaStream_t stream) {
  if (q.rows == 0) return cudaSuccess;
  if (num_heads <= 0 || q.rows < 0 || q.rows > INT32_MAX || q.cols <= 0 ||
      q.cols % num_heads != 0 || kv.rows < 1 || kv.rows > INT32_MAX || kv.cols != 2 * q.cols ||
      q.type != kv.type || q.type != y.type || y.rows < q.rows || y.cols != q.cols ||
      q.stride < q.cols || kv.stride < kv.cols || y.stride < y.cols) {
    return cudaErrorInvalidValue;
  }
  VisionArguments args;
  args.q = q.data;
  args.q_stride = q.stride;
  args.keys = kv.data;
  args.key_stride = kv.stride;
  args.value_offset = q.cols;
  args.y = y.data;
  args.y_stride = y.stride;
  args.num_rows = static_cast<int>(q.rows);
  args.num_keys = static_cast<int>(kv.rows);
  args.num_heads = num_heads;
  args.head_dim = static_cast<int>(q.cols / num_heads);
  args.scale_log2 = scale * kLog2E;
  return LaunchDense(args, q.type, stream);
}

}  // namespace prefixd::cuda
