// The vision side of OpenFlamingo: tower, perceiver, and the keys and values that the gated blocks
// read. An image's features are [num_latents, blocks * 2 * heads * head_dim]: for every block, in
// the order of the layers, K and then V. They are computed once, whatever rows see the image.
#ifndef PREFIXD_ENGINE_MODELS_OPENFLAMINGO_VISION_H_
#define PREFIXD_ENGINE_MODELS_OPENFLAMINGO_VISION_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "engine/models/clip_tower.h"
#include "engine/models/model.h"
#include "engine/models/openflamingo_config.h"
#include "engine/models/weight_names.h"
#include "engine/models/weight_reader.h"

namespace prefixd {

// Where the weights lie in the checkpoint.
struct FlamingoVisionTensors {
  struct Layer {
    TensorPair media_norm, latents_norm, ff_norm;
    const TensorInfo *q, *kv, *output, *up, *down;
  };
  ClipTensors tower;
  TensorPair post_norm;  // Null: rows leave the tower as they are.
  const TensorInfo* latents = nullptr;
  std::vector<Layer> layers;
  TensorPair norm;
  std::vector<const TensorInfo*> media_kv;  // Of every block.
};

// Finds and checks vision.*, perceiver.* and the blocks' to_kv (canonical names).
absl::StatusOr<FlamingoVisionTensors> FindFlamingoVisionTensors(const OpenFlamingoConfig& config,
                                                                WeightNames* names);

// Scratch is that of one step.
struct FlamingoVision {
  OpenFlamingoConfig config;
  Backend* backend = nullptr;
  ClipTower tower;
  std::optional<LayerNormWeights> post_norm;
  OwnedTensor latents;  // [num_latents, dim].
  std::vector<PerceiverLayer> layers;
  LayerNormWeights norm;
  std::unique_ptr<Matrix> media_kv;  // [blocks * media_width, dim].
  PerceiverScratch scratch;
  std::vector<int32_t> latent_rows;  // 0, 1, 2, ...
};

absl::StatusOr<FlamingoVision> LoadFlamingoVision(const OpenFlamingoConfig& config,
                                                  const FlamingoVisionTensors& tensors,
                                                  WeightReader* reader);

// One layer of the tower or the perceiver a step. `vision` must outlive the result.
absl::StatusOr<std::unique_ptr<ImageEncoding>> StartFlamingoImage(absl::Span<const float> pixels,
                                                                  const FlamingoVision* vision);

}  // namespace prefixd

#endif  // PREFIXD_ENGINE_MODELS_OPENFLAMINGO_VISION_H_
