// Weights whose layout in the file is not the one that ops take: read once, rearranged on the way.
#ifndef PREFIXD_ENGINE_MODELS_WEIGHT_LAYOUT_H_
#define PREFIXD_ENGINE_MODELS_WEIGHT_LAYOUT_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "engine/layers/layer_weights.h"
#include "engine/models/weight_names.h"
#include "engine/models/weight_reader.h"

namespace prefixd {

// Rows [begin, begin + count) of a tensor of a file.
struct RowRange {
  int64_t begin = 0;
  int64_t count = 0;
};

// The order in which rows that a file keeps head by head, [head][q | k | v] (GPT-NeoX), are those
// of all q, then all k, then all v.
std::vector<RowRange> RowsOfPerHeadQkv(int num_heads, int64_t head_dim);

// The rows of `part` in the order of `ranges`. Requires: ranges within it.
absl::StatusOr<std::unique_ptr<Matrix>> ReadMatrixRanges(const TensorInfo& part,
                                                         absl::Span<const RowRange> ranges,
                                                         WeightReader* reader);
// The same of a vector: [1, elements].
absl::StatusOr<OwnedTensor> ReadVectorRanges(const TensorInfo& part,
                                             absl::Span<const RowRange> ranges,
                                             WeightReader* reader);

// The transpose [out, in] of a tensor [in, out] ("Conv1D" of GPT-2). Holds the tensor in host
// memory meanwhile.
absl::StatusOr<std::unique_ptr<Matrix>> ReadTransposedMatrix(const TensorInfo& part,
                                                             WeightReader* reader);

// A norm without a bias gets one of zeros.
absl::StatusOr<LayerNormWeights> ReadLayerNorm(const TensorPair& pair, WeightReader* reader);
absl::StatusOr<LinearWeights> ReadLinear(const TensorPair& pair, WeightReader* reader);

}  // namespace prefixd

#endif  // PREFIXD_ENGINE_MODELS_WEIGHT_LAYOUT_H_
