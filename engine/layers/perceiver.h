// The perceiver resampler of Flamingo (arXiv:2204.14198), layer by layer, over backend ops: a fixed
// number of latents gathers what it needs from the rows of an image. Nothing is allocated and
// nothing waits; the caller owns weights, scratch and the latents.
//
//   L += W_o Attention(queries LN(L), keys and values [LN(X) ; LN(L)])
//   L += W_2 gelu(W_1 LN(L))
//
// X, the image's rows, is the same in every layer. No map has a bias.
#ifndef PREFIXD_ENGINE_LAYERS_PERCEIVER_H_
#define PREFIXD_ENGINE_LAYERS_PERCEIVER_H_

#include <cstdint>
#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/backend/backend.h"
#include "engine/layers/layer_weights.h"
#include "engine/tensor/tensor.h"

namespace prefixd {

struct PerceiverShape {
  int64_t dim = 0;          // D, of image rows and latents.
  int64_t num_rows = 0;     // Rows of an image.
  int64_t num_latents = 0;  // N.
  int num_heads = 0;        // H.
  int head_dim = 0;         // hd.
  int64_t ff_size = 0;      // Of the feed-forward's middle.
  float norm_eps = 0;

  int64_t inner() const { return int64_t{num_heads} * head_dim; }
};

struct PerceiverLayer {
  LayerNormWeights media_norm, latents_norm, ff_norm;
  std::unique_ptr<Matrix> q;       // [inner, D].
  std::unique_ptr<Matrix> kv;      // [2 inner, D]: k, v.
  std::unique_ptr<Matrix> output;  // [D, inner].
  std::unique_ptr<Matrix> up;      // [ff_size, D].
  std::unique_ptr<Matrix> down;    // [D, ff_size].
};

// Intermediate results of one layer; nothing in it outlives a layer.
struct PerceiverScratch {
  OwnedTensor inputs;     // [num_rows + N, D]: normalised image rows, then latents.
  OwnedTensor q;          // [N, inner].
  OwnedTensor kv;         // [num_rows + N, 2 inner].
  OwnedTensor attention;  // [N, inner].
  OwnedTensor normed;     // [N, D].
  OwnedTensor ff;         // [N, ff_size].

  static absl::StatusOr<PerceiverScratch> Allocate(const PerceiverShape& shape, Backend* backend);
};

// media: [num_rows, D]. latents: [N, D], updated in place.
absl::Status PerceiverLayerForward(const PerceiverShape& shape, const PerceiverLayer& layer,
                                   const Tensor& media, const PerceiverScratch& scratch,
                                   Backend* backend, const Tensor& latents);

}  // namespace prefixd

#endif  // PREFIXD_ENGINE_LAYERS_PERCEIVER_H_
