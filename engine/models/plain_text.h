// What GPT-2, MPT and GPT-NeoX have in common: a decoder of LayerNorm layers with a two-matrix MLP
// (engine/layers/plain_decoder.h), between an embedding and a head. The families map their
// configurations and tensors onto these.
#ifndef PREFIXD_ENGINE_MODELS_PLAIN_TEXT_H_
#define PREFIXD_ENGINE_MODELS_PLAIN_TEXT_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/layers/plain_decoder.h"
#include "engine/models/config_reader.h"
#include "engine/models/model.h"
#include "engine/models/rope.h"
#include "engine/models/text_decoder.h"
#include "engine/models/weight_names.h"
#include "engine/models/weight_reader.h"

namespace prefixd {

// How q, k and v lie in the fused matrix, and the MLP's and output's matrices beside it.
enum class PlainWeightLayout {
  kBlocks,      // [3 D, D]: all q, all k, all v (MPT).
  kPerHead,     // [3 D, D]: q, k, v of one head after the other (GPT-NeoX).
  kTransposed,  // [D, 3 D], as kBlocks; the other matrices are [in, out] too (GPT-2).
};

struct PlainTextConfig {
  int vocab_size = 0;         // V.
  int hidden_size = 0;        // D.
  int intermediate_size = 0;  // I.
  int num_layers = 0;
  int num_heads = 0;      // H.
  int max_positions = 0;  // Positions.
  float norm_eps = 1e-5f;
  Activation activation = Activation::kGelu;
  bool parallel_residual = false;
  bool tie_word_embeddings = true;
  float clip_qkv = 0;          // 0: none.
  float attention_scale = 1;   // Of the scores.
  bool inverse_layer = false;  // Scores of layer i are divided by i + 1 as well.
  PlainWeightLayout layout = PlainWeightLayout::kBlocks;
  // Positions: one of learned rows, ALiBi (bias_max > 0) and rotation (rotary_size > 0).
  double alibi_bias_max = 0;
  int rotary_size = 0;  // Values of a head that are rotated.
  RopeConfig rope;
  // End of a generation where no file names one and the vocabulary has it; -1: none.
  int32_t default_eos = -1;

  int head_dim() const { return hidden_size / num_heads; }
};

// Checks what all families ask of their sizes. `heads_key`, `hidden_key` are the file's own keys.
void CheckPlainSizes(const ConfigReader& config, const char* heads_key, const char* hidden_key,
                     const PlainTextConfig& text);

// Where the weights lie in the checkpoint. Biases are null where the model has none.
struct PlainTextTensors {
  struct Layer {
    TensorPair attention_norm, mlp_norm, qkv, output, up, down;
    TensorPair q_norm, k_norm;  // Null weights: none.
  };
  const TensorInfo* embedding = nullptr;
  const TensorInfo* positions = nullptr;  // [max_positions, D]; null: not learned.
  std::vector<Layer> layers;
  TensorPair norm;
  const TensorInfo* head = nullptr;  // The embedding where they are tied.
};

// The parts of a spec that follow from the decoder and its tensors.
void FillTextSpec(const PlainTextConfig& config, const PlainTextTensors& tensors, ModelSpec* spec);

// ALiBi's slopes in the order of MPT (arXiv:2108.12409): with n = 2^ceil(log2 H), 2^(-i bias_max /
// n) for i = 1..n; where n is not H the even i first, then the odd ones, the first H of them.
std::vector<float> AlibiSlopes(int num_heads, double bias_max);

// A loaded decoder with its scratch. Engine thread only.
class PlainTextDecoder final : public TextDecoder {
 public:
  static absl::StatusOr<std::unique_ptr<PlainTextDecoder>> Load(const PlainTextConfig& config,
                                                                const PlainTextTensors& tensors,
                                                                const ModelLimits& limits,
                                                                WeightReader* reader);

  int num_layers() const override { return static_cast<int>(layers_.size()); }
  absl::StatusOr<Tensor> Begin(const Batch& batch) override;
  absl::Status RunLayer(int layer, const KvView& kv, const Tensor& x) override;
  absl::Status Finish(const Batch& batch, const Tensor& x, const Tensor& logits) override;
  absl::Status TokenLogprobs(const Tensor& states, absl::Span<const int32_t> rows,
                             absl::Span<const int32_t> ids, absl::Span<float> y) override;

 private:
  PlainTextDecoder(const PlainTextConfig& config, const ModelLimits& limits, Backend* backend);

  absl::Status LoadWeights(const PlainTextTensors& tensors, WeightReader* reader);
  absl::Status AllocateScratch();
  // Rows of x after the final norm.
  absl::Status TakeStates(const Tensor& x, absl::Span<const int32_t> rows, const Tensor& states);
  const Matrix& head() const { return head_ == nullptr ? *embedding_ : *head_; }

  // Constant after Load.
  const PlainTextConfig config_;
  const ModelLimits limits_;
  const PlainDecoderShape shape_;
  const std::vector<float> inverse_frequencies_;
  Backend* const backend_;
  std::unique_ptr<Matrix> embedding_;  // [V, D].
  std::unique_ptr<Matrix> positions_;  // [max_positions, D]; null: not learned.
  std::vector<PlainDecoderLayer> layers_;
  LayerNormWeights norm_;
  std::unique_ptr<Matrix> head_;  // [V, D]; null where it is the embedding.
  OwnedTensor alibi_slopes_;      // [1, H]; empty: none.
  std::vector<int32_t> row_ids_;  // 0, 1, 2, ...

  // Scratch of one Forward.
  PlainDecoderScratch scratch_;
  OwnedTensor hidden_;         // [max_batch_rows, D].
  OwnedTensor position_rows_;  // [max_batch_rows, D]; empty: not learned.
  OwnedTensor angles_;         // [max_batch_rows, rotary_size]; empty: no rotation.
  OwnedTensor last_;           // [max_logit_rows, D].
};

}  // namespace prefixd

#endif  // PREFIXD_ENGINE_MODELS_PLAIN_TEXT_H_
