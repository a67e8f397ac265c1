// The gated cross-attention block of Flamingo (arXiv:2204.14198), over backend ops: what lets the
// rows of a language model see an image, put before one of its layers. Nothing is allocated and
// nothing waits; the caller owns weights and scratch.
//
//   x += tanh(g_a) W_o CrossAttention(W_q LN(x), media)
//   x += tanh(g_f) W_2 gelu(W_1 LN(x))
//
// Rows that see no image have attention 0; the second branch runs for every row. No map has a bias.
#ifndef PREFIXD_ENGINE_LAYERS_GATED_CROSS_ATTENTION_H_
#define PREFIXD_ENGINE_LAYERS_GATED_CROSS_ATTENTION_H_

#include <cstdint>
#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "engine/backend/backend.h"
#include "engine/layers/layer_weights.h"
#include "engine/tensor/tensor.h"

namespace prefixd {

struct GatedCrossAttentionShape {
  int64_t hidden_size = 0;  // D, of the language model.
  int num_heads = 0;        // H.
  int head_dim = 0;         // hd.
  int64_t ff_size = 0;      // Of the feed-forward's middle.
  float norm_eps = 0;

  int64_t inner() const { return int64_t{num_heads} * head_dim; }
};

struct GatedCrossAttentionBlock {
  LayerNormWeights attention_norm, ff_norm;
  std::unique_ptr<Matrix> q;       // [inner, D].
  std::unique_ptr<Matrix> output;  // [D, inner].
  std::unique_ptr<Matrix> up;      // [ff_size, D].
  std::unique_ptr<Matrix> down;    // [D, ff_size].
  float attention_gate = 0;        // tanh(g_a).
  float ff_gate = 0;               // tanh(g_f).
};

// Intermediate results of one block for up to `max_rows` rows; nothing in it outlives a block.
struct GatedCrossAttentionScratch {
  OwnedTensor normed;     // [max_rows, D].
  OwnedTensor q;          // [max_rows, inner].
  OwnedTensor attention;  // [max_rows, inner].
  OwnedTensor branch;     // [max_rows, D].
  OwnedTensor ff;         // [max_rows, ff_size].

  static absl::StatusOr<GatedCrossAttentionScratch> Allocate(const GatedCrossAttentionShape& shape,
                                                             int64_t max_rows, Backend* backend);
};

// x: [T, D], updated in place. `media`: the keys and values of this block, [keys, 2 inner] each,
// for the rows that see an image.
absl::Status GatedCrossAttentionForward(const GatedCrossAttentionShape& shape,
                                        const GatedCrossAttentionBlock& block,
                                        absl::Span<const CrossSegment> media,
                                        const GatedCrossAttentionScratch& scratch, Backend* backend,
                                        const Tensor& x);

}  // namespace prefixd

#endif  // PREFIXD_ENGINE_LAYERS_GATED_CROSS_ATTENTION_H_
