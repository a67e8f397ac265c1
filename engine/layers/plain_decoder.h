// One layer of a pre-norm decoder with LayerNorm and a two-matrix MLP (GPT-2, MPT, GPT-NeoX), over
// backend ops. Nothing is allocated and nothing waits; the caller owns weights and scratch.
//
//   x += W_o Attention(W_qkv LN1(x)),  x += W_down act(W_up LN2(x))
//
// Parallel residual (GPT-NeoX): both branches read the same x.
#ifndef PREFIXD_ENGINE_LAYERS_PLAIN_DECODER_H_
#define PREFIXD_ENGINE_LAYERS_PLAIN_DECODER_H_

#include <cstdint>
#include <optional>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "engine/backend/backend.h"
#include "engine/layers/layer_weights.h"
#include "engine/tensor/tensor.h"

namespace prefixd {

struct PlainDecoderShape {
  int64_t hidden_size = 0;        // D.
  int64_t intermediate_size = 0;  // I.
  int num_heads = 0;              // H; D / H is the head's size. As many kv heads.
  float norm_eps = 0;
  Activation activation = Activation::kGelu;
  bool parallel_residual = false;
  float clip_qkv = 0;  // > 0: q, k and v are limited to [-clip_qkv, clip_qkv].
};

struct PlainDecoderLayer {
  LayerNormWeights attention_norm, mlp_norm;
  LinearWeights qkv;     // [3 D, D]: q, k, v.
  LinearWeights output;  // [D, D].
  LinearWeights up;      // [I, D].
  LinearWeights down;    // [D, I].
  // Over all heads together, before q and k are split into heads.
  std::optional<LayerNormWeights> q_norm, k_norm;
  float attention_scale = 1;
};

// How positions enter attention; at most one of them.
struct PlainDecoderPositions {
  const Tensor* angles = nullptr;        // [T, R] of Backend::RotaryAngles.
  const Tensor* alibi_slopes = nullptr;  // [1, H] of NewAngles.
};

// Intermediate results of one layer for up to `max_rows` rows; nothing in it outlives a layer.
struct PlainDecoderScratch {
  OwnedTensor normed;      // [max_rows, D].
  OwnedTensor mlp_normed;  // [max_rows, D].
  OwnedTensor qkv;         // [max_rows, 3 D].
  OwnedTensor attention;   // [max_rows, D].
  OwnedTensor mlp;         // [max_rows, I].

  static absl::StatusOr<PlainDecoderScratch> Allocate(const PlainDecoderShape& shape,
                                                      int64_t max_rows, Backend* backend);
};

// x: [T, D], updated in place. Requires: T <= the scratch's rows; `segments` cover all T rows.
absl::Status PlainDecoderLayerForward(const PlainDecoderShape& shape,
                                      const PlainDecoderLayer& layer,
                                      const PlainDecoderPositions& positions,
                                      absl::Span<const KvSegment> segments,
                                      const PlainDecoderScratch& scratch, Backend* backend,
                                      KvPool* pool, const Tensor& x);

}  // namespace prefixd

#endif  // PREFIXD_ENGINE_LAYERS_PLAIN_DECODER_H_
