// The door of split attention: checks, the choice of a kernel, the layout of the states.
#include "engine/backend/cuda/kernels/split_attention.h"

#include <cstdint>

#include "engine/backend/cuda/kernels/split_states.h"

namespace prefixd::cuda {
namespace {

constexpr float kLog2E = 1.4426950408889634f;
constexpr int kMaxHeadDim = 1024;

// States of one (row, head); one more than splits, for a split in two parts.
int64_t StatesPerHead(int32_t max_visible) {
  return (int64_t{max_visible} + kSplitSlots - 1) / kSplitSlots + 1;
}

size_t BoundsBytes(int64_t states) {
  return (static_cast<size_t>(states) * sizeof(float2) + 15) / 16 * 16;
}

bool Aligned(const void* data, int64_t stride) {
  return reinterpret_cast<uintptr_t>(data) % 16 == 0 && stride % 8 == 0;
}

bool Valid(const SplitAttention& call) {
  if (call.q == nullptr) return false;
  const DeviceMatrix& q = *call.q;
  const KvPages& pages = call.pages;
  const int64_t cols = static_cast<int64_t>(call.num_heads) * pages.head_dim;
  if (pages.head_dim < 1 || pages.head_dim > kMaxHeadDim || pages.num_kv_heads < 1 ||
      call.num_heads < pages.num_kv_heads || call.num_heads % pages.num_kv_heads != 0 ||
      call.num_heads > kMaxGridY || pages.num_pages < 0) {
    return false;
  }
  const AttentionRows& rows = call.rows;
  if (rows.num_rows < 0 || rows.max_visible < 0 || rows.table_stride < 0 ||
      StatesPerHead(rows.max_visible) > kMaxGridY) {
    return false;
  }
  if (rows.num_rows == 0) return true;
  if (q.rows < rows.num_rows || q.cols < cols || q.stride < q.cols || q.type != call.y.type ||
      call.y.rows < rows.num_rows || call.y.cols != cols || call.y.stride < cols) {
    return false;
  }
  const RowGroups& groups = call.groups;
  if (groups.shared != nullptr && (groups.leader == nullptr || groups.member_begin == nullptr ||
                                   groups.member_count == nullptr || groups.members == nullptr)) {
    return false;
  }
  if (rows.context != nullptr && (rows.path_begin == nullptr || rows.paths == nullptr ||
                                  call.kernel == SplitKernel::kVector)) {
    return false;
  }
  if (call.slopes != nullptr && (pages.positions == nullptr || rows.position == nullptr)) {
    return false;
  }
  return q.data != nullptr && call.y.data != nullptr && pages.data != nullptr &&
         rows.sequence != nullptr && rows.visible != nullptr && rows.tables != nullptr &&
         call.scratch != nullptr && Aligned(call.scratch, 0);
}

// kVector reads 4 * head_dim bytes of a slot for G heads, G FLOP a byte, with about 35 instructions
// of each of head_dim / 8 lanes a head. At head_dim 128 a multiprocessor of an H100 takes in 13
// bytes a clock, a slot of one kv head in 39, in which it issues 5000 lane instructions; G = 4
// needs half of them and G = 8 all. kMatrix spends the same on up to 16 heads, and a group's shared
// slots are read once rather than once a row.
SplitKernel Choose(const SplitAttention& call, bool fits) {
  if (call.kernel != SplitKernel::kAuto) return call.kernel;
  if (!fits) return SplitKernel::kPlain;
  const bool matrix = call.groups.shared != nullptr || call.rows.context != nullptr ||
                      call.num_heads / call.pages.num_kv_heads >= 4;
  return matrix ? SplitKernel::kMatrix : SplitKernel::kVector;
}

SplitCall DeviceCall(const SplitAttention& call, SplitKernel kernel) {
  SplitCall device;
  device.q = call.q->data;
  device.q_stride = call.q->stride;
  device.pages = call.pages;
  device.num_heads = call.num_heads;
  device.group_heads = call.num_heads / call.pages.num_kv_heads;
  device.scale_log2 = call.scale * kLog2E;
  device.slopes = call.slopes;
  device.rows = call.rows;
  if (kernel == SplitKernel::kMatrix) device.groups = call.groups;
  device.y = call.y;
  device.lse = call.lse;
  const int64_t per_head = StatesPerHead(call.rows.max_visible);
  device.states.per_head = static_cast<int32_t>(per_head);
  device.states.bounds = static_cast<float2*>(call.scratch);
  device.states.values = reinterpret_cast<float*>(
      static_cast<char*>(call.scratch) +
      BoundsBytes(int64_t{call.rows.num_rows} * call.num_heads * per_head));
  return device;
}

cudaError_t LaunchStates(const SplitCall& call, SplitKernel kernel, Element activation,
                         cudaStream_t stream) {
  const bool f16 = activation == Element::kF16;
  switch (kernel) {
    case SplitKernel::kMatrix:
      if (call.rows.context != nullptr) {
        return f16 ? LaunchSplitMatrixTreeF16(call, stream)
                   : LaunchSplitMatrixTreeBF16(call, stream);
      }
      if (call.slopes != nullptr) {
        return f16 ? LaunchSplitMatrixAlibiF16(call, stream)
                   : LaunchSplitMatrixAlibiBF16(call, stream);
      }
      return f16 ? LaunchSplitMatrixF16(call, stream) : LaunchSplitMatrixBF16(call, stream);
    case SplitKernel::kVector:
      return f16 ? LaunchSplitVectorF16(call, stream) : LaunchSplitVectorBF16(call, stream);
    case SplitKernel::kPlain:
      return LaunchSplitPlain(call, activation, stream);
    case SplitKernel::kAuto:
      break;
  }
  return cudaErrorInvalidValue;
}

}  // namespace

bool SplitKernelTakes(SplitKernel kernel, Element activation, const KvPages& pages) {
  if (kernel == SplitKernel::kAuto || kernel == SplitKernel::kPlain) return true;
  return activation != Element::kF32 && pages.type == activation &&
         (pages.head_dim == 64 || pages.head_dim == 128 || pages.head_dim == 256);
}

size_t SplitScratchBytes(int64_t num_rows, int num_heads, int head_dim, int32_t max_visible) {
  const int64_t states = num_rows * num_heads * StatesPerHead(max_visible);
  return BoundsBytes(states) + static_cast<size_t>(states) * head_dim * sizeof(float);
}

cudaError_t LaunchSplitAttention(const SplitAttention& call, cudaStream_t stream) {
  if (!Valid(call)) return cudaErrorInvalidValue;
  if (call.rows.num_rows == 0) return cudaSuccess;
  const bool fits = SplitKernelTakes(SplitKernel::kMatrix, call.q->type, call.pages) &&
                    Aligned(call.q->data, call.q->stride) && Aligned(call.pages.data, 0);
  const SplitKernel kernel = Choose(call, fits);
  if (kernel != SplitKernel::kPlain && !fits) return cudaErrorInvalidValue;
  const SplitCall device = DeviceCall(call, kernel);
  if (call.rows.max_visible > 0) {
    const cudaError_t error = LaunchStates(device, kernel, call.q->type, stream);
    if (error != cudaSuccess) return error;
  }
  return LaunchSplitMerge(device, stream);
}

}  // namespace prefixd::cuda
