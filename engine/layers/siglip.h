// The vision tower of SigLIP (arXiv:2303.15343) over backend ops. Its layers are those of CLIP
// (ClipLayerForward); what differs is before and behind them. Nothing is allocated and nothing
// waits.
//
//   x = patches + positions              no class row, no norm, the patch embedding has a bias
//   per layer: as CLIP's, with the tanh form of gelu
//   x = LayerNorm(x)                     of every row
#ifndef PREFIXD_ENGINE_LAYERS_SIGLIP_H_
#define PREFIXD_ENGINE_LAYERS_SIGLIP_H_

#include "absl/status/status.h"
#include "engine/layers/clip.h"

namespace prefixd {

struct SiglipEmbeddings {
  OwnedTensor positions;          // [num_patches, D].
  LinearWeights patch_embedding;  // [D, 3 P P].
};

// pixels: [3, S * S]. Writes the input of the first layer to x: [num_patches, D].
// Requires: a shape without a class row.
absl::Status SiglipEmbed(const ClipShape& shape, const SiglipEmbeddings& embeddings,
                         const Tensor& pixels, const ClipScratch& scratch, Backend* backend,
                         const Tensor& x);

}  // namespace prefixd

#endif  // PREFIXD_ENGINE_LAYERS_SIGLIP_H_
