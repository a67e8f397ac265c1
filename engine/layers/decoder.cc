#include "engine/layers/decoder.h"

#include <cmath>

#include "base/status_macros.h"

namespace prefixd {
namespace {

const Tensor* BiasOf(const std::optional<OwnedTensor>& bias) {
  return bias.has_value() ? &bias->view : nullptr;
}

absl::Status Attention(const DecoderShape& shape, const DecoderLayer& layer, const Tensor& angles,
                       absl::Span<const KvSegment> segments, const DecoderScratch& scratch,
                       Backend* backend, KvPool* pool, const Tensor& x) {
  const Tensor normed = scratch.normed.view.Rows(0, x.rows);
  const Tensor qkv = scratch.qkv.view.Rows(0, x.rows);
  const Tensor attention = scratch.attention.view.Rows(0, x.rows);
  const float scale = 1.0f / std::sqrt(static_cast<float>(shape.head_dim));
  PREFIXD_RETURN_IF_ERROR(backend->RmsNorm(x, layer.attention_norm.view, shape.norm(), normed));
  PREFIXD_RETURN_IF_ERROR(
      Linear(normed, layer.qkv, {.bias = BiasOf(layer.qkv_bias)}, backend, qkv));
  PREFIXD_RETURN_IF_ERROR(backend->WriteKv(qkv, &angles, shape.num_heads, segments, pool));
  PREFIXD_RETURN_IF_ERROR(
      backend->PagedAttention(qkv, *pool, shape.num_heads, {.scale = scale}, segments, attention));
  return backend->Linear(attention, *layer.output,
                         {.bias = BiasOf(layer.output_bias), .accumulate = true}, x);
}

absl::Status GatedMlp(const DecoderShape& shape, const DecoderLayer& layer,
                      const DecoderScratch& scratch, Backend* backend, const Tensor& x) {
  const Tensor normed = scratch.normed.view.Rows(0, x.rows);
  const Tensor gate_up = scratch.gate_up.view.Rows(0, x.rows);
  const Tensor gated = scratch.gated.view.Rows(0, x.rows);
  PREFIXD_RETURN_IF_ERROR(backend->RmsNorm(x, layer.mlp_norm.view, shape.norm(), normed));
  PREFIXD_RETURN_IF_ERROR(
      Linear(normed, layer.gate_up, {.bias = BiasOf(layer.gate_up_bias)}, backend, gate_up));
  PREFIXD_RETURN_IF_ERROR(backend->GatedActivation(gate_up, shape.activation, gated));
  return backend->Linear(gated, *layer.down, {.bias = BiasOf(layer.down_bias), .accumulate = true},
                         x);
}

}  // namespace

absl::StatusOr<DecoderScratch> DecoderScratch::Allocate(const DecoderShape& shape, int64_t max_rows,
                                                        Backend* backend) {
  DecoderScratch scratch;
  PREFIXD_ASSIGN_OR_RETURN(scratch.normed, backend->NewTensor(max_rows, shape.hidden_size));
  PREFIXD_ASSIGN_OR_RETURN(scratch.qkv, backend->NewTensor(max_rows, shape.qkv_size()));
  PREFIXD_ASSIGN_OR_RETURN(scratch.attention, backend->NewTensor(max_rows, shape.q_size()));
  PREFIXD_ASSIGN_OR_RETURN(scratch.gate_up,
                           backend->NewTensor(max_rows, 2 * shape.intermediate_size));
  PREFIXD_ASSIGN_OR_RETURN(scratch.gated, backend->NewTensor(max_rows, shape.intermediate_size));
  return scratch;
}

absl::Status DecoderLayerForward(const DecoderShape& shape, const DecoderLayer& layer,
                                 const Tensor& angles, absl::Span<const KvSegment> segments,
                                 const DecoderScratch& scratch, Backend* backend, KvPool* pool,
                                 const Tensor& x) {
  PREFIXD_RETURN_IF_ERROR(Attention(shape, layer, angles, segments, scratch, backend, pool, x));
  return GatedMlp(shape, layer, scratch, backend, x);
}

}  // namespace prefixd
