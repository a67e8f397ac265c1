// The weights of a gated cross-attention block of OpenFlamingo: tensor names and shapes, and how
// they are read. The forward pass is engine/layers/gated_cross_attention.h.
#ifndef PREFIXD_ENGINE_MODELS_OPENFLAMINGO_GATED_H_
#define PREFIXD_ENGINE_MODELS_OPENFLAMINGO_GATED_H_

#include <string>

#include "absl/status/statusor.h"
#include "engine/layers/gated_cross_attention.h"
#include "engine/models/weight_names.h"
#include "engine/models/weight_reader.h"

namespace prefixd {

// Where the weights of a gated block lie, but for its keys and values (those are the vision's).
struct GatedTensors {
  TensorPair attention_norm, ff_norm;
  const TensorInfo *q, *output, *up, *down, *attention_gate, *ff_gate;
};

// Finds and checks the tensors under `prefix`.
absl::StatusOr<GatedTensors> FindGatedTensors(const GatedCrossAttentionShape& shape,
                                              const std::string& prefix, WeightNames* names);

absl::StatusOr<GatedCrossAttentionBlock> ReadGatedBlock(const GatedTensors& in,
                                                        WeightReader* reader);

}  // namespace prefixd

#endif  // PREFIXD_ENGINE_MODELS_OPENFLAMINGO_GATED_H_
