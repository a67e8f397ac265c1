// One layer of a pre-norm decoder with rotary attention and a gated MLP (Llama, Gemma), over
// backend ops. Nothing is allocated and nothing waits; the caller owns weights and scratch.
//
//   x += W_o Attention(RmsNorm(x)),   x += W_down (act(W_gate n) * W_up n)  with n = RmsNorm(x)
#ifndef PREFIXD_ENGINE_LAYERS_DECODER_H_
#define PREFIXD_ENGINE_LAYERS_DECODER_H_

#include <cstdint>
#include <memory>
#include <optional>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "engine/backend/backend.h"
#include "engine/layers/stacked_matrix.h"
#include "engine/tensor/tensor.h"

namespace prefixd {

struct DecoderShape {
  int64_t hidden_size = 0;        // D.
  int64_t intermediate_size = 0;  // I.
  int num_heads = 0;              // H.
  int num_kv_heads = 0;           // KV.
  int head_dim = 0;               // hd; H * hd need not be D.
  float norm_eps = 0;
  float norm_weight_offset = 0;  // Of RmsNormOptions.
  Activation activation = Activation::kSilu;

  int64_t q_size() const { return int64_t{num_heads} * head_dim; }
  int64_t kv_size() const { return int64_t{num_kv_heads} * head_dim; }
  int64_t qkv_size() const { return q_size() + 2 * kv_size(); }
  Backend::RmsNormOptions norm() const {
    return {.eps = norm_eps, .weight_offset = norm_weight_offset};
  }
};

struct DecoderLayer {
  OwnedTensor attention_norm;      // [1, D].
  OwnedTensor mlp_norm;            // [1, D].
  StackedMatrix qkv;               // [(H + 2 KV) * hd, D]: q, k, v.
  std::unique_ptr<Matrix> output;  // [D, H * hd].
  StackedMatrix gate_up;           // [2 I, D]: gate, up.
  std::unique_ptr<Matrix> down;    // [D, I].
  std::optional<OwnedTensor> qkv_bias, output_bias, gate_up_bias, down_bias;
};

// Intermediate results of one layer for up to `max_rows` rows; nothing in it outlives a layer.
struct DecoderScratch {
  OwnedTensor normed;     // [max_rows, D].
  OwnedTensor qkv;        // [max_rows, (H + 2 KV) * hd].
  OwnedTensor attention;  // [max_rows, H * hd].
  OwnedTensor gate_up;    // [max_rows, 2 I].
  OwnedTensor gated;      // [max_rows, I].

  static absl::StatusOr<DecoderScratch> Allocate(const DecoderShape& shape, int64_t max_rows,
                                                 Backend* backend);
};

// x: [T, D], updated in place. angles: [T, hd] of Backend::RotaryAngles.
// Requires: T <= the scratch's rows; `segments` cover all T rows.
absl::Status DecoderLayerForward(const DecoderShape& shape, const DecoderLayer& layer,
                                 const Tensor& angles, absl::Span<const KvSegment> segments,
                                 const DecoderScratch& scratch, Backend* backend, KvPool* pool,
                                 const Tensor& x);

}  // namespace prefixd

#endif  // PREFIXD_ENGINE_LAYERS_DECODER_H_
