// One block a row: the tile's log-sum-exp is folded into the row's, and the wanted logits of the
// tile are kept. Reads the tile three times, out of L2 but for the first.
#include "engine/backend/cuda/kernels/head_logprobs.h"

#include "engine/backend/cuda/kernels/draw_ranked.h"
#include "engine/backend/cuda/kernels/launch.h"

namespace prefixd::cuda {
namespace {

// log(exp(a) + exp(b)).
__device__ double LogAdd(double a, double b) {
  if (a == -INFINITY) return b;
  if (b == -INFINITY) return a;
  const double larger = a < b ? b : a;
  return larger + log(exp(a - larger) + exp(b - larger));
}

__global__ void __launch_bounds__(dev::kMaxDrawThreads, 1) HeadTileKernel(const HeadTile tile) {
  PREFIXD_DYN_SMEM(bytes);
  dev::DrawMemory* memory = reinterpret_cast<dev::DrawMemory*>(bytes);
  const int64_t row = blockIdx.x;
  const int32_t num_columns = static_cast<int32_t>(tile.logits.cols);
  const bool is_first = tile.first_column == 0;
  double log_sum = dev::LogSumExp(
      num_columns, [&](int32_t id) { return dev::LoadScore(tile.logits, row, id); }, memory);
  // Until the last tile one thread alone reads and writes what is kept of the row.
  if (!is_first && !PREFIXD_KERNEL_BUG(kHeadForgetsTiles) && (tile.is_last || threadIdx.x == 0)) {
    log_sum = LogAdd(tile.log_sums[row], log_sum);
  }
  if (!tile.is_last && threadIdx.x == 0) tile.log_sums[row] = log_sum;
  const int32_t end = tile.begins[row + 1];
  for (int32_t i = tile.begins[row] + static_cast<int32_t>(threadIdx.x); i < end;
       i += static_cast<int32_t>(blockDim.x)) {
    const int32_t column = tile.columns[i] - tile.first_column;
    const bool here = column >= 0 && column < num_columns;
    if (!here && !tile.is_last) continue;
    const float logit = here ? dev::LoadScore(tile.logits, row, column) : tile.y[i];
    const double logprob = static_cast<double>(logit) - log_sum;
    tile.y[i] = !tile.is_last ? logit : logprob > 0 ? 0.0f : static_cast<float>(logprob);
  }
}

}  // namespace

cudaError_t LaunchHeadTile(const HeadTile& tile, cudaStream_t stream) {
  if (!IsValid(tile.logits) || tile.logits.cols < 1 || tile.first_column < 0 ||
      tile.first_column > INT32_MAX - tile.logits.cols) {
    return cudaErrorInvalidValue;
  }
  if (tile.logits.rows == 0) return cudaSuccess;
  if (tile.begins == nullptr || tile.columns == nullptr || tile.log_sums == nullptr ||
      tile.y == nullptr) {
    return cudaErrorInvalidValue;
  }
  PREFIXD_LAUNCH(HeadTileKernel, dim3(static_cast<unsigned>(tile.logits.rows)),
                 dim3(dev::DrawThreads(tile.logits.cols)), sizeof(dev::DrawMemory), stream, tile);
  return cudaGetLastError();
}

}  // namespace prefixd::cuda
