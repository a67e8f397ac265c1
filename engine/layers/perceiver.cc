#include "engine/layers/perceiver.h"

#include <cmath>

#include "base/status_macros.h"

namespace prefixd {
namespace {

absl::Status Normalise(const LayerNormWeights& norm, float eps, const Tensor& x, Backend* backend,
                       const Tensor& y) {
  return backend->LayerNorm(x, norm.weight.view, norm.bias.view, eps, y);
}

}  // namespace

absl::StatusOr<PerceiverScratch> PerceiverScratch::Allocate(const PerceiverShape& shape,
                                                            Backend* backend) {
  const int64_t keys = shape.num_rows + shape.num_latents, N = shape.num_latents;
  PerceiverScratch scratch;
  PREFIXD_ASSIGN_OR_RETURN(scratch.inputs, backend->NewTensor(keys, shape.dim));
  PREFIXD_ASSIGN_OR_RETURN(scratch.q, backend->NewTensor(N, shape.inner()));
  PREFIXD_ASSIGN_OR_RETURN(scratch.kv, backend->NewTensor(keys, 2 * shape.inner()));
  PREFIXD_ASSIGN_OR_RETURN(scratch.attention, backend->NewTensor(N, shape.inner()));
  PREFIXD_ASSIGN_OR_RETURN(scratch.normed, backend->NewTensor(N, shape.dim));
  PREFIXD_ASSIGN_OR_RETURN(scratch.ff, backend->NewTensor(N, shape.ff_size));
  return scratch;
}

absl::Status PerceiverLayerForward(const PerceiverShape& shape, const PerceiverLayer& layer,
                                   const Tensor& media, const PerceiverScratch& scratch,
                                   Backend* backend, const Tensor& latents) {
  const Tensor& inputs = scratch.inputs.view;
  const Tensor normed_latents = inputs.Rows(shape.num_rows, shape.num_latents);
  const float scale = 1.0f / std::sqrt(static_cast<float>(shape.head_dim));
  PREFIXD_RETURN_IF_ERROR(
      Normalise(layer.media_norm, shape.norm_eps, media, backend, inputs.Rows(0, shape.num_rows)));
  PREFIXD_RETURN_IF_ERROR(
      Normalise(layer.latents_norm, shape.norm_eps, latents, backend, normed_latents));
  PREFIXD_RETURN_IF_ERROR(backend->Linear(normed_latents, *layer.q, {}, scratch.q.view));
  PREFIXD_RETURN_IF_ERROR(backend->Linear(inputs, *layer.kv, {}, scratch.kv.view));
  const CrossSegment all = {
      .row_begin = 0, .num_rows = static_cast<int32_t>(shape.num_latents), .kv = scratch.kv.view};
  PREFIXD_RETURN_IF_ERROR(backend->CrossAttention(scratch.q.view, shape.num_heads, scale, {&all, 1},
                                                  scratch.attention.view));
  PREFIXD_RETURN_IF_ERROR(
      backend->Linear(scratch.attention.view, *layer.output, {.accumulate = true}, latents));

  PREFIXD_RETURN_IF_ERROR(
      Normalise(layer.ff_norm, shape.norm_eps, latents, backend, scratch.normed.view));
  PREFIXD_RETURN_IF_ERROR(backend->Linear(scratch.normed.view, *layer.up,
                                          {.activation = Activation::kGelu}, scratch.ff.view));
  return backend->Linear(scratch.ff.view, *layer.down, {.accumulate = true}, latents);
}

}  // namespace prefixd
