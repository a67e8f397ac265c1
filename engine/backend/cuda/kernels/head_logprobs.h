// Log-probabilities of some tokens of a vocabulary whose logits come in tiles of columns, one call
// a tile, in ascending order: no row of logits is ever there as a whole.
#ifndef PREFIXD_ENGINE_BACKEND_CUDA_KERNELS_HEAD_LOGPROBS_H_
#define PREFIXD_ENGINE_BACKEND_CUDA_KERNELS_HEAD_LOGPROBS_H_

#include "engine/backend/cuda/kernels/types.h"

namespace prefixd::cuda {

struct HeadTile {
  DeviceMatrix logits;       // [rows, columns of the tile].
  int32_t first_column = 0;  // Of the vocabulary. 0: the first tile.
  bool is_last = false;
  // Row r's pairs are [begins[r], begins[r + 1]); pair i wants column columns[i] of the vocabulary,
  // which is in one of the tiles.
  const int32_t* begins = nullptr;
  const int32_t* columns = nullptr;
  double* log_sums = nullptr;  // [rows], kept from tile to tile.
  float* y = nullptr;          // [pairs], the same; after the last tile the result.
};

// y[i] = min(0, log(softmax(the row's logits)[columns[i]])). Sums in double, folded over the tiles;
// what a row gets depends on that row alone. Not finite where a logit of the row is NaN or
// infinity, or the wanted one -infinity.
cudaError_t LaunchHeadTile(const HeadTile& tile, cudaStream_t stream);

}  // namespace prefixd::cuda

#endif  // PREFIXD_ENGINE_BACKEND_CUDA_KERNELS_HEAD_LOGPROBS_H_
