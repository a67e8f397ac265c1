#include "engine/layers/gated_cross_attention.h"

#include <cmath>

#include "base/status_macros.h"

namespace prefixd {
namespace {

// x += gate * branch. `branch` is overwritten.
absl::Status AddGated(float gate, const Tensor& branch, Backend* backend, const Tensor& x) {
  PREFIXD_RETURN_IF_ERROR(backend->Scale(gate, branch));
  return backend->Add(branch, x);
}

}  // namespace

absl::StatusOr<GatedCrossAttentionScratch> GatedCrossAttentionScratch::Allocate(
    const GatedCrossAttentionShape& shape, int64_t max_rows, Backend* backend) {
  GatedCrossAttentionScratch scratch;
  PREFIXD_ASSIGN_OR_RETURN(scratch.normed, backend->NewTensor(max_rows, shape.hidden_size));
  PREFIXD_ASSIGN_OR_RETURN(scratch.q, backend->NewTensor(max_rows, shape.inner()));
  PREFIXD_ASSIGN_OR_RETURN(scratch.attention, backend->NewTensor(max_rows, shape.inner()));
  PREFIXD_ASSIGN_OR_RETURN(scratch.branch, backend->NewTensor(max_rows, shape.hidden_size));
  PREFIXD_ASSIGN_OR_RETURN(scratch.ff, backend->NewTensor(max_rows, shape.ff_size));
  return scratch;
}

absl::Status GatedCrossAttentionForward(const GatedCrossAttentionShape& shape,
                                        const GatedCrossAttentionBlock& block,
                                        absl::Span<const CrossSegment> media,
                                        const GatedCrossAttentionScratch& scratch, Backend* backend,
                                        const Tensor& x) {
  const Tensor normed = scratch.normed.view.Rows(0, x.rows);
  const Tensor q = scratch.q.view.Rows(0, x.rows);
  const Tensor attention = scratch.attention.view.Rows(0, x.rows);
  const Tensor branch = scratch.branch.view.Rows(0, x.rows);
  const Tensor ff = scratch.ff.view.Rows(0, x.rows);
  const float scale = 1.0f / std::sqrt(static_cast<float>(shape.head_dim));

  if (!media.empty()) {
    PREFIXD_RETURN_IF_ERROR(backend->LayerNorm(x, block.attention_norm.weight.view,
                                               block.attention_norm.bias.view, shape.norm_eps,
                                               normed));
    PREFIXD_RETURN_IF_ERROR(backend->Linear(normed, *block.q, {}, q));
    PREFIXD_RETURN_IF_ERROR(backend->CrossAttention(q, shape.num_heads, scale, media, attention));
    PREFIXD_RETURN_IF_ERROR(backend->Linear(attention, *block.output, {}, branch));
    PREFIXD_RETURN_IF_ERROR(AddGated(block.attention_gate, branch, backend, x));
  }

  PREFIXD_RETURN_IF_ERROR(backend->LayerNorm(x, block.ff_norm.weight.view, block.ff_norm.bias.view,
                                             shape.norm_eps, normed));
  PREFIXD_RETURN_IF_ERROR(
      backend->Linear(normed, *block.up, {.activation = Activation::kGelu}, ff));
  PREFIXD_RETURN_IF_ERROR(backend->Linear(ff, *block.down, {}, branch));
  return AddGated(block.ff_gate, branch, backend, x);
}

}  // namespace prefixd
