// The CLIP vision tower of a checkpoint (arXiv:2103.00020): tensor names and shapes, and the loaded
// weights with their scratch. The forward pass is engine/layers/clip.h.
#ifndef PREFIXD_ENGINE_MODELS_CLIP_TOWER_H_
#define PREFIXD_ENGINE_MODELS_CLIP_TOWER_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/layers/clip.h"
#include "engine/models/weight_layout.h"
#include "engine/models/weight_names.h"
#include "engine/models/weight_reader.h"

namespace prefixd {

struct ClipTensors {
  struct Layer {
    TensorPair norm1, norm2, q, k, v, output, fc1, fc2;
  };
  const TensorInfo* class_row = nullptr;
  const TensorInfo* positions = nullptr;
  const TensorInfo* patch_embedding = nullptr;
  TensorPair norm;
  std::vector<Layer> layers;
};

// Finds and checks the embeddings and the first `num_layers` layers under `prefix`.
absl::StatusOr<ClipTensors> FindClipTensors(const ClipShape& shape, int num_layers,
                                            const std::string& prefix, WeightNames* names);

// The layers of these towers are the same everywhere: `prefix`layer_norm1.*, `prefix`self_attn.*,
// `prefix`layer_norm2.*, `prefix`mlp.*.
absl::StatusOr<ClipTensors::Layer> FindClipLayer(const ClipShape& shape, const std::string& prefix,
                                                 WeightNames* names);
absl::StatusOr<ClipLayer> ReadClipLayer(const ClipTensors::Layer& in, WeightReader* reader);

// Scratch lives within one call only, so that images may be interleaved or dropped at any point.
struct ClipTower {
  ClipEmbeddings embeddings;
  std::vector<ClipLayer> layers;
  ClipScratch scratch;
};

absl::StatusOr<ClipTower> LoadClipTower(const ClipShape& shape, const ClipTensors& tensors,
                                        WeightReader* reader);

}  // namespace prefixd

#endif  // PREFIXD_ENGINE_MODELS_CLIP_TOWER_H_
