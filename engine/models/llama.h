// The Llama text decoder (arXiv:2302.13971 and its descendants: Llama 2 and 3, Vicuna, SmolLM2):
// configuration, tensors, forward pass. Also the language model inside LLaVA and, with three values
// of its own, that inside PaliGemma (Gemma, arXiv:2403.08295).
#ifndef PREFIXD_ENGINE_MODELS_LLAMA_H_
#define PREFIXD_ENGINE_MODELS_LLAMA_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "engine/layers/decoder.h"
#include "engine/models/config_reader.h"
#include "engine/models/model.h"
#include "engine/models/model_loader.h"
#include "engine/models/rope.h"
#include "engine/models/text_decoder.h"
#include "engine/models/weight_names.h"
#include "engine/models/weight_reader.h"
#include "engine/weights/checkpoint.h"

namespace prefixd {

// Defaults are those of the reference's configuration class, not of any released model.
struct LlamaConfig {
  int vocab_size = 32000;         // V.
  int hidden_size = 4096;         // D.
  int intermediate_size = 11008;  // I.
  int num_layers = 32;
  int num_heads = 32;    // H.
  int num_kv_heads = 0;  // KV; read as num_heads where absent.
  int head_dim = 0;      // hd; read as hidden_size / num_heads where absent.
  int max_positions = 2048;
  float norm_eps = 1e-6f;
  bool attention_bias = false;  // On q, k, v and o.
  bool mlp_bias = false;        // On gate, up and down.
  bool tie_word_embeddings = false;
  RopeConfig rope;

  // Not keys of the file: what makes a Gemma of it.
  Activation activation = Activation::kSilu;
  float norm_weight_offset = 0;    // 1: norms multiply by 1 + weight.
  bool scales_embeddings = false;  // By EmbeddingScale; not features.
};

// sqrt(D) as the reference has it: in float32, rounded to the activation type.
float EmbeddingScale(int hidden_size, DType activations);

// Errors go to `config`; the result is only valid if there are none.
LlamaConfig ReadLlamaConfig(const ConfigReader& config);

// The part of it that Gemma spells the same way: reads all keys but the activation's over the
// defaults in `llama`. Errors go to `config`.
void ReadDecoderKeys(const ConfigReader& config, LlamaConfig* llama);

// Where the weights lie in the checkpoint. Biases are null where the configuration has none.
struct LlamaTensors {
  struct Layer {
    const TensorInfo *attention_norm, *mlp_norm;
    TensorPair q, k, v, o, gate, up, down;
  };
  const TensorInfo* embedding = nullptr;
  std::vector<Layer> layers;
  const TensorInfo* norm = nullptr;
  const TensorInfo* head = nullptr;  // The embedding where they are tied.
};

// Finds and checks `prefix`embed_tokens.weight, `prefix`layers.N.*, `prefix`norm.weight and
// lm_head.weight.
absl::StatusOr<LlamaTensors> FindLlamaTensors(const LlamaConfig& config, absl::string_view prefix,
                                              WeightNames* names);

// Fills the parts of a spec that follow from the decoder and its tensors.
void FillTextSpec(const LlamaConfig& config, const LlamaTensors& tensors, ModelSpec* spec);

// A loaded decoder with its scratch. Engine thread only.
class LlamaDecoder final : public TextDecoder {
 public:
  static absl::StatusOr<std::unique_ptr<LlamaDecoder>> Load(const LlamaConfig& config,
                                                            const LlamaTensors& tensors,
                                                            const ModelLimits& limits,
                                                            WeightReader* reader);

  int num_layers() const override { return static_cast<int>(layers_.size()); }
  absl::StatusOr<Tensor> Begin(const Batch& batch) override;
  absl::Status RunLayer(int layer, const KvView& kv, const Tensor& x) override;
  absl::Status Finish(const Batch& batch, const Tensor& x, const Tensor& logits) override;
  absl::Status TokenLogprobs(const Tensor& states, absl::Span<const int32_t> rows,
                             absl::Span<const int32_t> ids, absl::Span<float> y) override;

 private:
  LlamaDecoder(const LlamaConfig& config, const ModelLimits& limits, Backend* backend);

  absl::Status LoadWeights(const LlamaTensors& tensors, WeightReader* reader);
  absl::Status AllocateScratch();
  // Rows of x after the final norm.
  absl::Status TakeStates(const Tensor& x, absl::Span<const int32_t> rows, const Tensor& states);
  const Matrix& head() const { return head_ == nullptr ? *embedding_ : *head_; }
  absl::Status EmbedRows(const Batch& batch, const Tensor& x);

  // Constant after Load.
  const LlamaConfig config_;
  const ModelLimits limits_;
  const DecoderShape shape_;
  const std::vector<float> inverse_frequencies_;
  Backend* const backend_;
  const float embedding_scale_;
  std::unique_ptr<Matrix> embedding_;  // [V, D].
  std::vector<DecoderLayer> layers_;
  OwnedTensor norm_;              // [1, D].
  std::unique_ptr<Matrix> head_;  // [V, D]; null where it is the embedding.
  std::vector<int32_t> row_ids_;  // 0, 1, 2, ...

  // Scratch of one Forward.
  DecoderScratch scratch_;
  OwnedTensor hidden_;  // [max_batch_rows, D].
  OwnedTensor angles_;  // [max_batch_rows, hd].
  OwnedTensor last_;    // [max_logit_rows, D].
  std::vector<int32_t> token_ids_;
};

// A text model of `config` whose tensors lie in `checkpoint` under names that `canonical` turns
// into those of FindLlamaTensors, prefix "model.". Checks names and shapes; reads no weight.
absl::StatusOr<std::unique_ptr<ModelFiles>> MakeLlamaFiles(const LlamaConfig& config,
                                                           Checkpoint checkpoint,
                                                           WeightNames::Canonical canonical,
                                                           GenerationDefaults generation);

}  // namespace prefixd

#endif  // PREFIXD_ENGINE_MODELS_LLAMA_H_
