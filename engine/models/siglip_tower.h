// The SigLIP vision tower of a checkpoint (arXiv:2303.15343): tensor names and shapes, and the
// loaded weights with their scratch. The forward pass is engine/layers/siglip.h.
#ifndef PREFIXD_ENGINE_MODELS_SIGLIP_TOWER_H_
#define PREFIXD_ENGINE_MODELS_SIGLIP_TOWER_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/layers/siglip.h"
#include "engine/models/clip_tower.h"
#include "engine/models/weight_names.h"
#include "engine/models/weight_reader.h"

namespace prefixd {

struct SiglipTensors {
  const TensorInfo* positions = nullptr;
  TensorPair patch_embedding;
  TensorPair norm;  // Behind the layers.
  std::vector<ClipTensors::Layer> layers;
};

// Finds and checks all tensors of the tower under `prefix` but those of a pooling head.
absl::StatusOr<SiglipTensors> FindSiglipTensors(const ClipShape& shape, int num_layers,
                                                const std::string& prefix, WeightNames* names);

// Scratch lives within one call only, so that images may be interleaved or dropped at any point.
struct SiglipTower {
  SiglipEmbeddings embeddings;
  std::vector<ClipLayer> layers;
  LayerNormWeights norm;
  ClipScratch scratch;
};

absl::StatusOr<SiglipTower> LoadSiglipTower(const ClipShape& shape, const SiglipTensors& tensors,
                                            WeightReader* reader);

}  // namespace prefixd

#endif  // PREFIXD_ENGINE_MODELS_SIGLIP_TOWER_H_
