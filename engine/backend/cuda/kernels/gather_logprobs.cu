// Log-softmax of (row, column) pairs without writing a row back. The first pair of each run of one
// row has a block, which sums the row up and serves the run; the other blocks leave at once.
#include "engine/backend/cuda/kernels/draw_ranked.h"
#include "engine/backend/cuda/kernels/draw_tokens.h"

namespace prefixd::cuda {
namespace {

__global__ void __launch_bounds__(dev::kMaxDrawThreads, 1)
    GatherLogprobsKernel(const DeviceMatrix logits, const int32_t* rows, const int32_t* columns,
                         int64_t count, float* y) {
  PREFIXD_DYN_SMEM(bytes);
  dev::DrawMemory* memory = reinterpret_cast<dev::DrawMemory*>(bytes);
  const int64_t first = blockIdx.x;
  const int32_t row = rows[first];
  if (first > 0 && rows[first - 1] == row) return;  // The whole block.
  const double log_sum = dev::LogSumExp(
      static_cast<int32_t>(logits.cols),
      [&](int32_t id) { return dev::LoadScore(logits, row, id); }, memory);
  bool run_ends = false;
  for (int64_t begin = first; begin < count && !run_ends; begin += blockDim.x) {
    const int64_t i = begin + threadIdx.x;
    // How many places before the end of this stretch the run ends.
    const bool other = i < count && rows[i] != row;
    const uint64_t cut = dev::BlockMax(uint64_t{other ? blockDim.x - threadIdx.x : 0u}, memory);
    run_ends = cut > 0;
    if (i < count && threadIdx.x < blockDim.x - cut) {
      y[i] = static_cast<float>(static_cast<double>(dev::LoadScore(logits, row, columns[i])) -
                                log_sum);
    }
  }
}

}  // namespace

cudaError_t LaunchGatherLogprobs(const DeviceMatrix& logits, const int32_t* rows,
                                 const int32_t* columns, int64_t count, float* y,
                                 cudaStream_t stream) {
  if (count < 0 || count > INT32_MAX || logits.cols < 1 || logits.cols > kMaxVocabulary ||
      logits.stride < logits.cols) {
    return cudaErrorInvalidValue;
  }
  if (count == 0) return cudaSuccess;
  PREFIXD_LAUNCH(GatherLogprobsKernel, dim3(static_cast<unsigned>(count)),
                 dim3(dev::DrawThreads(logits.cols)), sizeof(dev::DrawMemory), stream, logits, rows,
                 columns, count, y);
  return cudaGetLastError();
}

}  // namespace prefixd::cuda
