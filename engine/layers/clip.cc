#include "engine/layers/clip.h"

#include <cmath>

#include "base/status_macros.h"

namespace prefixd {

absl::StatusOr<ClipScratch> ClipScratch::Allocate(const ClipShape& shape, Backend* backend) {
  const int64_t rows = shape.num_rows();
  ClipScratch scratch;
  PREFIXD_ASSIGN_OR_RETURN(scratch.patches,
                           backend->NewTensor(shape.num_patches(), shape.patch_values()));
  PREFIXD_ASSIGN_OR_RETURN(scratch.normed, backend->NewTensor(rows, shape.hidden_size));
  PREFIXD_ASSIGN_OR_RETURN(scratch.qkv, backend->NewTensor(rows, 3 * shape.hidden_size));
  PREFIXD_ASSIGN_OR_RETURN(scratch.attention, backend->NewTensor(rows, shape.hidden_size));
  PREFIXD_ASSIGN_OR_RETURN(scratch.mlp, backend->NewTensor(rows, shape.intermediate_size));
  return scratch;
}

absl::Status ClipEmbed(const ClipShape& shape, const ClipEmbeddings& embeddings,
                       const Tensor& pixels, const ClipScratch& scratch, Backend* backend,
                       const Tensor& x) {
  constexpr int32_t kClassRow[] = {0};
  const Tensor& patches = scratch.patches.view;
  PREFIXD_RETURN_IF_ERROR(backend->Patchify(pixels, shape.patch_size, patches));
  PREFIXD_RETURN_IF_ERROR(
      backend->Linear(patches, *embeddings.patch_embedding, {}, x.Rows(1, shape.num_patches())));
  PREFIXD_RETURN_IF_ERROR(backend->CopyRows(embeddings.class_row.view, kClassRow, kClassRow, x));
  PREFIXD_RETURN_IF_ERROR(backend->Add(embeddings.positions.view, x));
  return backend->LayerNorm(x, embeddings.norm.weight.view, embeddings.norm.bias.view,
                            shape.norm_eps, x);
}

absl::Status ClipLayerForward(const ClipShape& shape, const ClipLayer& layer,
                              const ClipScratch& scratch, Backend* backend, const Tensor& x) {
  const Tensor& normed = scratch.normed.view;
  const Tensor& qkv = scratch.qkv.view;
  const Tensor& attention = scratch.attention.view;
  const Tensor& mlp = scratch.mlp.view;
  const int64_t head_dim = shape.hidden_size / shape.num_heads;
  const float scale = 1.0f / std::sqrt(static_cast<float>(head_dim));

  PREFIXD_RETURN_IF_ERROR(backend->LayerNorm(x, layer.norm1.weight.view, layer.norm1.bias.view,
                                             shape.norm_eps, normed));
  PREFIXD_RETURN_IF_ERROR(
      backend->Linear(normed, *layer.qkv.weight, {.bias = &layer.qkv.bias.view}, qkv));
  PREFIXD_RETURN_IF_ERROR(backend->VisionAttention(qkv, shape.num_heads, scale, attention));
  PREFIXD_RETURN_IF_ERROR(backend->Linear(
      attention, *layer.output.weight, {.bias = &layer.output.bias.view, .accumulate = true}, x));

  PREFIXD_RETURN_IF_ERROR(backend->LayerNorm(x, layer.norm2.weight.view, layer.norm2.bias.view,
                                             shape.norm_eps, normed));
  PREFIXD_RETURN_IF_ERROR(
      backend->Linear(normed, *layer.fc1.weight,
                      {.bias = &layer.fc1.bias.view, .activation = shape.activation}, mlp));
  return backend->Linear(mlp, *layer.fc2.weight, {.bias = &layer.fc2.bias.view, .accumulate = true},
                         x);
}

}  // namespace prefixd
