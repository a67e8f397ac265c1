// The vision tower of CLIP (arXiv:2103.00020), layer by layer, over backend ops. Nothing is
// allocated and nothing waits; the caller owns weights, scratch and the hidden state.
//
//   x = LayerNorm([class ; patches] + positions)
//   per layer: x += Attention(LN1(x)),  x += fc2(act(fc1(LN2(x))))
#ifndef PREFIXD_ENGINE_LAYERS_CLIP_H_
#define PREFIXD_ENGINE_LAYERS_CLIP_H_

#include <cstdint>
#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/backend/backend.h"
#include "engine/layers/layer_weights.h"
#include "engine/tensor/tensor.h"

namespace prefixd {

struct ClipShape {
  int64_t hidden_size = 0;        // D.
  int64_t intermediate_size = 0;  // I.
  int num_heads = 0;              // H; D / H is the head's size.
  int image_size = 0;             // Side, pixels.
  int patch_size = 0;             // P.
  float norm_eps = 0;
  Activation activation = Activation::kQuickGelu;
  bool has_class_row = true;  // The first row; SigLIP's tower has patches only.

  int64_t grid() const { return image_size / patch_size; }
  int64_t num_patches() const { return grid() * grid(); }
  int64_t num_rows() const { return num_patches() + (has_class_row ? 1 : 0); }
  int64_t patch_values() const { return int64_t{3} * patch_size * patch_size; }
};

struct ClipEmbeddings {
  OwnedTensor class_row;                    // [1, D].
  OwnedTensor positions;                    // [num_rows, D].
  std::unique_ptr<Matrix> patch_embedding;  // [D, 3 P P].
  LayerNormWeights norm;
};

struct ClipLayer {
  LayerNormWeights norm1, norm2;
  LinearWeights qkv;     // [3 D, D]: q, k, v.
  LinearWeights output;  // [D, D].
  LinearWeights fc1;     // [I, D].
  LinearWeights fc2;     // [D, I].
};

// Intermediate results of one call; nothing in it outlives the call.
struct ClipScratch {
  OwnedTensor patches;    // [num_patches, 3 P P].
  OwnedTensor normed;     // [num_rows, D].
  OwnedTensor qkv;        // [num_rows, 3 D].
  OwnedTensor attention;  // [num_rows, D].
  OwnedTensor mlp;        // [num_rows, I].

  static absl::StatusOr<ClipScratch> Allocate(const ClipShape& shape, Backend* backend);
};

// pixels: [3, S * S]. Writes hidden_states[0] to x: [num_rows, D].
absl::Status ClipEmbed(const ClipShape& shape, const ClipEmbeddings& embeddings,
                       const Tensor& pixels, const ClipScratch& scratch, Backend* backend,
                       const Tensor& x);

// x: [num_rows, D], updated in place.
absl::Status ClipLayerForward(const ClipShape& shape, const ClipLayer& layer,
                              const ClipScratch& scratch, Backend* backend, const Tensor& x);

}  // namespace prefixd

#endif  // PREFIXD_ENGINE_LAYERS_CLIP_H_
