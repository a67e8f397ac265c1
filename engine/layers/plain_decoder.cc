#include "engine/layers/plain_decoder.h"

#include "base/status_macros.h"

namespace prefixd {
namespace {

absl::Status NormaliseRows(const LayerNormWeights& norm, float eps, const Tensor& x,
                           Backend* backend, const Tensor& y) {
  return backend->LayerNorm(x, norm.weight.view, norm.bias.view, eps, y);
}

// The fused q, k and v of normalised rows, ready for the cache.
absl::Status Project(const PlainDecoderShape& shape, const PlainDecoderLayer& layer,
                     const Tensor& normed, Backend* backend, const Tensor& qkv) {
  PREFIXD_RETURN_IF_ERROR(
      backend->Linear(normed, *layer.qkv.weight, {.bias = BiasOf(layer.qkv)}, qkv));
  if (shape.clip_qkv > 0) PREFIXD_RETURN_IF_ERROR(backend->Clamp(shape.clip_qkv, qkv));
  if (layer.q_norm.has_value()) {
    const Tensor q = qkv.Cols(0, shape.hidden_size);
    PREFIXD_RETURN_IF_ERROR(NormaliseRows(*layer.q_norm, shape.norm_eps, q, backend, q));
  }
  if (layer.k_norm.has_value()) {
    const Tensor k = qkv.Cols(shape.hidden_size, shape.hidden_size);
    PREFIXD_RETURN_IF_ERROR(NormaliseRows(*layer.k_norm, shape.norm_eps, k, backend, k));
  }
  return absl::OkStatus();
}

absl::Status AddMlp(const PlainDecoderShape& shape, const PlainDecoderLayer& layer,
                    const Tensor& normed, const Tensor& mlp, Backend* backend, const Tensor& x) {
  PREFIXD_RETURN_IF_ERROR(backend->Linear(
      normed, *layer.up.weight, {.bias = BiasOf(layer.up), .activation = shape.activation}, mlp));
  return backend->Linear(mlp, *layer.down.weight, {.bias = BiasOf(layer.down), .accumulate = true},
                         x);
}

}  // namespace

absl::StatusOr<PlainDecoderScratch> PlainDecoderScratch::Allocate(const PlainDecoderShape& shape,
                                                                  int64_t max_rows,
                                                                  Backend* backend) {
  const int64_t D = shape.hidden_size;
  PlainDecoderScratch scratch;
  PREFIXD_ASSIGN_OR_RETURN(scratch.normed, backend->NewTensor(max_rows, D));
  PREFIXD_ASSIGN_OR_RETURN(scratch.mlp_normed, backend->NewTensor(max_rows, D));
  PREFIXD_ASSIGN_OR_RETURN(scratch.qkv, backend->NewTensor(max_rows, 3 * D));
  PREFIXD_ASSIGN_OR_RETURN(scratch.attention, backend->NewTensor(max_rows, D));
  PREFIXD_ASSIGN_OR_RETURN(scratch.mlp, backend->NewTensor(max_rows, shape.intermediate_size));
  return scratch;
}

absl::Status PlainDecoderLayerForward(const PlainDecoderShape& shape,
                                      const PlainDecoderLayer& layer,
                                      const PlainDecoderPositions& positions,
                                      absl::Span<const KvSegment> segments,
                                      const PlainDecoderScratch& scratch, Backend* backend,
                                      KvPool* pool, const Tensor& x) {
  const Tensor normed = scratch.normed.view.Rows(0, x.rows);
  const Tensor mlp_normed = scratch.mlp_normed.view.Rows(0, x.rows);
  const Tensor qkv = scratch.qkv.view.Rows(0, x.rows);
  const Tensor attention = scratch.attention.view.Rows(0, x.rows);
  const Tensor mlp = scratch.mlp.view.Rows(0, x.rows);

  PREFIXD_RETURN_IF_ERROR(NormaliseRows(layer.attention_norm, shape.norm_eps, x, backend, normed));
  if (shape.parallel_residual) {
    PREFIXD_RETURN_IF_ERROR(NormaliseRows(layer.mlp_norm, shape.norm_eps, x, backend, mlp_normed));
  }
  PREFIXD_RETURN_IF_ERROR(Project(shape, layer, normed, backend, qkv));
  PREFIXD_RETURN_IF_ERROR(backend->WriteKv(qkv, positions.angles, shape.num_heads, segments, pool));
  PREFIXD_RETURN_IF_ERROR(backend->PagedAttention(
      qkv, *pool, shape.num_heads,
      {.scale = layer.attention_scale, .alibi_slopes = positions.alibi_slopes}, segments,
      attention));
  PREFIXD_RETURN_IF_ERROR(backend->Linear(attention, *layer.output.weight,
                                          {.bias = BiasOf(layer.output), .accumulate = true}, x));
  if (!shape.parallel_residual) {
    PREFIXD_RETURN_IF_ERROR(NormaliseRows(layer.mlp_norm, shape.norm_eps, x, backend, mlp_normed));
  }
  return AddMlp(shape, layer, mlp_normed, mlp, backend, x);
}

}  // namespace prefixd
