// The language model of a family, layer by layer, so that a family may put something of its own
// between the layers (the gated cross-attention of OpenFlamingo). Engine thread only.
#ifndef PREFIXD_ENGINE_MODELS_TEXT_DECODER_H_
#define PREFIXD_ENGINE_MODELS_TEXT_DECODER_H_

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/models/model.h"
#include "engine/tensor/tensor.h"

namespace prefixd {

class TextDecoder {
 public:
  virtual ~TextDecoder() = default;

  virtual int num_layers() const = 0;

  // Begins a pass: embeds the rows, features in the place of their placeholders' embeddings, and
  // computes what all layers share. Returns the hidden state [T, D], which the calls that follow
  // update in place and which is valid until the next pass.
  virtual absl::StatusOr<Tensor> Begin(const Batch& batch) = 0;

  // x += layer(x). Layers run in order.
  virtual absl::Status RunLayer(int layer, const KvView& kv, const Tensor& x) = 0;

  // Final norm of batch.state_rows and batch.logit_rows, and the output head of the latter.
  virtual absl::Status Finish(const Batch& batch, const Tensor& x, const Tensor& logits) = 0;

  // See Model::TokenLogprobs.
  virtual absl::Status TokenLogprobs(const Tensor& states, absl::Span<const int32_t> rows,
                                     absl::Span<const int32_t> ids, absl::Span<float> y) = 0;

  // A whole pass. See Model::Forward.
  absl::Status Forward(const Batch& batch, const KvView& kv, const Tensor& logits);
};

}  // namespace prefixd

#endif  // PREFIXD_ENGINE_MODELS_TEXT_DECODER_H_
