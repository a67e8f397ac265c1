#include "engine/models/llama.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <string>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/status_macros.h"
#include "engine/models/families.h"
#include "engine/models/generation_config.h"
#include "engine/tensor/half.h"

namespace prefixd {

// --- Configuration

void ReadDecoderKeys(const ConfigReader& config, LlamaConfig* llama) {
  config.Int("vocab_size", 1, 1 << 22, &llama->vocab_size);
  config.Int("hidden_size", 1, 65536, &llama->hidden_size);
  config.Int("intermediate_size", 1, 1 << 20, &llama->intermediate_size);
  config.Int("num_hidden_layers", 1, 1024, &llama->num_layers);
  config.Int("num_attention_heads", 1, 1024, &llama->num_heads);
  if (llama->num_kv_heads == 0) llama->num_kv_heads = llama->num_heads;
  config.Int("num_key_value_heads", 1, llama->num_heads, &llama->num_kv_heads);
  if (llama->num_heads % llama->num_kv_heads != 0) {
    config.Invalid("num_key_value_heads",
                   absl::StrCat(llama->num_kv_heads, " does not divide num_attention_heads ",
                                llama->num_heads));
  }
  if (llama->head_dim == 0) {
    if (!config.Has("head_dim") && llama->hidden_size % llama->num_heads != 0) {
      config.Invalid(
          "num_attention_heads",
          absl::StrCat(llama->num_heads, " does not divide hidden_size ", llama->hidden_size));
    }
    llama->head_dim = llama->hidden_size / llama->num_heads;
  }
  config.Int("head_dim", 1, 1024, &llama->head_dim);
  if (llama->head_dim < 2 || llama->head_dim % 2 != 0) {
    config.Invalid("head_dim", absl::StrCat(llama->head_dim, " is not even"));
  }
  config.Int("max_position_embeddings", 1, 1 << 24, &llama->max_positions);
  config.Float("rms_norm_eps", 0, 1, &llama->norm_eps);
  config.Bool("attention_bias", &llama->attention_bias);
  config.Bool("mlp_bias", &llama->mlp_bias);
  config.Bool("tie_word_embeddings", &llama->tie_word_embeddings);
  llama->rope = ReadRopeConfig(config);
  RefuseUnsupported(config);
}

LlamaConfig ReadLlamaConfig(const ConfigReader& config) {
  LlamaConfig llama;
  ReadDecoderKeys(config, &llama);
  ReadActivation(config, "hidden_act", &llama.activation);
  if (llama.activation != Activation::kSilu) config.Unsupported("hidden_act", "expected silu");
  return llama;
}

// --- Tensors

namespace {

absl::StatusOr<LlamaTensors::Layer> FindLayer(const LlamaConfig& config, const std::string& prefix,
                                              WeightNames* names) {
  const int64_t D = config.hidden_size, I = config.intermediate_size;
  const int64_t Q = int64_t{config.num_heads} * config.head_dim;
  const int64_t KV = int64_t{config.num_kv_heads} * config.head_dim;
  const bool attention_bias = config.attention_bias, mlp_bias = config.mlp_bias;
  const std::string attention = prefix + "self_attn.", mlp = prefix + "mlp.";
  LlamaTensors::Layer layer;
  PREFIXD_ASSIGN_OR_RETURN(layer.attention_norm,
                           names->Find(prefix + "input_layernorm.weight", {D}));
  PREFIXD_ASSIGN_OR_RETURN(layer.q, FindLinear(attention + "q_proj", Q, D, attention_bias, names));
  PREFIXD_ASSIGN_OR_RETURN(layer.k, FindLinear(attention + "k_proj", KV, D, attention_bias, names));
  PREFIXD_ASSIGN_OR_RETURN(layer.v, FindLinear(attention + "v_proj", KV, D, attention_bias, names));
  PREFIXD_ASSIGN_OR_RETURN(layer.o, FindLinear(attention + "o_proj", D, Q, attention_bias, names));
  PREFIXD_ASSIGN_OR_RETURN(layer.mlp_norm,
                           names->Find(prefix + "post_attention_layernorm.weight", {D}));
  PREFIXD_ASSIGN_OR_RETURN(layer.gate, FindLinear(mlp + "gate_proj", I, D, mlp_bias, names));
  PREFIXD_ASSIGN_OR_RETURN(layer.up, FindLinear(mlp + "up_proj", I, D, mlp_bias, names));
  PREFIXD_ASSIGN_OR_RETURN(layer.down, FindLinear(mlp + "down_proj", D, I, mlp_bias, names));
  return layer;
}

absl::StatusOr<std::optional<OwnedTensor>> ReadBias(absl::Span<const TensorInfo* const> parts,
                                                    WeightReader* reader) {
  if (parts[0] == nullptr) return std::optional<OwnedTensor>();
  int64_t size = 0;
  for (const TensorInfo* part : parts) size += part->shape[0];
  PREFIXD_ASSIGN_OR_RETURN(OwnedTensor bias, reader->ReadTensor(1, size, parts));
  return std::optional<OwnedTensor>(std::move(bias));
}

absl::StatusOr<DecoderLayer> ReadLayer(const LlamaTensors::Layer& in, WeightReader* reader) {
  const int64_t D = in.attention_norm->shape[0];
  DecoderLayer layer;
  PREFIXD_ASSIGN_OR_RETURN(layer.attention_norm, reader->ReadTensor(1, D, {in.attention_norm}));
  PREFIXD_ASSIGN_OR_RETURN(layer.mlp_norm, reader->ReadTensor(1, D, {in.mlp_norm}));
  PREFIXD_ASSIGN_OR_RETURN(layer.qkv, reader->ReadStacked({in.q.weight, in.k.weight, in.v.weight}));
  PREFIXD_ASSIGN_OR_RETURN(layer.output, reader->ReadMatrix({in.o.weight}));
  PREFIXD_ASSIGN_OR_RETURN(layer.gate_up, reader->ReadStacked({in.gate.weight, in.up.weight}));
  PREFIXD_ASSIGN_OR_RETURN(layer.down, reader->ReadMatrix({in.down.weight}));
  PREFIXD_ASSIGN_OR_RETURN(layer.qkv_bias, ReadBias({in.q.bias, in.k.bias, in.v.bias}, reader));
  PREFIXD_ASSIGN_OR_RETURN(layer.output_bias, ReadBias({in.o.bias}, reader));
  PREFIXD_ASSIGN_OR_RETURN(layer.gate_up_bias, ReadBias({in.gate.bias, in.up.bias}, reader));
  PREFIXD_ASSIGN_OR_RETURN(layer.down_bias, ReadBias({in.down.bias}, reader));
  return layer;
}

DecoderShape ShapeOf(const LlamaConfig& config) {
  return {.hidden_size = config.hidden_size,
          .intermediate_size = config.intermediate_size,
          .num_heads = config.num_heads,
          .num_kv_heads = config.num_kv_heads,
          .head_dim = config.head_dim,
          .norm_eps = config.norm_eps,
          .norm_weight_offset = config.norm_weight_offset,
          .activation = config.activation};
}

}  // namespace

absl::StatusOr<LlamaTensors> FindLlamaTensors(const LlamaConfig& config, absl::string_view prefix,
                                              WeightNames* names) {
  const int64_t V = config.vocab_size, D = config.hidden_size;
  LlamaTensors tensors;
  PREFIXD_ASSIGN_OR_RETURN(tensors.embedding,
                           names->Find(absl::StrCat(prefix, "embed_tokens.weight"), {V, D}));
  for (int i = 0; i < config.num_layers; ++i) {
    PREFIXD_ASSIGN_OR_RETURN(LlamaTensors::Layer layer,
                             FindLayer(config, absl::StrCat(prefix, "layers.", i, "."), names));
    tensors.layers.push_back(layer);
  }
  PREFIXD_ASSIGN_OR_RETURN(tensors.norm, names->Find(absl::StrCat(prefix, "norm.weight"), {D}));
  tensors.head = tensors.embedding;
  if (!config.tie_word_embeddings) {
    PREFIXD_ASSIGN_OR_RETURN(tensors.head, names->Find("lm_head.weight", {V, D}));
  }
  return tensors;
}

void FillTextSpec(const LlamaConfig& config, const LlamaTensors& tensors, ModelSpec* spec) {
  spec->num_layers = config.num_layers;
  spec->num_heads = config.num_heads;
  spec->num_kv_heads = config.num_kv_heads;
  spec->head_dim = config.head_dim;
  spec->hidden_size = config.hidden_size;
  spec->vocab_size = config.vocab_size;
  spec->context_length = config.max_positions;
  spec->weights_dtype = absl::AsciiStrToLower(tensors.layers[0].q.weight->dtype);
  spec->sharing = Sharing::kCausal;
}

// --- Forward pass

float EmbeddingScale(int hidden_size, DType activations) {
  const float scale = std::sqrt(static_cast<float>(hidden_size));
  if (activations == DType::kF16) return F16ToFloat(FloatToF16(scale));
  if (activations == DType::kBF16) return BF16ToFloat(FloatToBF16(scale));
  return scale;
}

LlamaDecoder::LlamaDecoder(const LlamaConfig& config, const ModelLimits& limits, Backend* backend)
    : config_(config),
      limits_(limits),
      shape_(ShapeOf(config)),
      inverse_frequencies_(InverseFrequencies(config.rope, config.head_dim)),
      backend_(backend),
      embedding_scale_(EmbeddingScale(config.hidden_size, backend->info().activation_dtype)),
      row_ids_(std::max(limits.max_batch_rows, limits.max_logit_rows)),
      token_ids_(limits.max_batch_rows) {
  std::iota(row_ids_.begin(), row_ids_.end(), 0);
}

absl::StatusOr<std::unique_ptr<LlamaDecoder>> LlamaDecoder::Load(const LlamaConfig& config,
                                                                 const LlamaTensors& tensors,
                                                                 const ModelLimits& limits,
                                                                 WeightReader* reader) {
  std::unique_ptr<LlamaDecoder> decoder(new LlamaDecoder(config, limits, reader->backend()));
  PREFIXD_RETURN_IF_ERROR(decoder->LoadWeights(tensors, reader));
  PREFIXD_RETURN_IF_ERROR(decoder->AllocateScratch());
  return decoder;
}

absl::Status LlamaDecoder::LoadWeights(const LlamaTensors& tensors, WeightReader* reader) {
  PREFIXD_ASSIGN_OR_RETURN(embedding_, reader->ReadMatrix({tensors.embedding}));
  for (const LlamaTensors::Layer& layer : tensors.layers) {
    PREFIXD_ASSIGN_OR_RETURN(DecoderLayer loaded, ReadLayer(layer, reader));
    layers_.push_back(std::move(loaded));
  }
  PREFIXD_ASSIGN_OR_RETURN(norm_, reader->ReadTensor(1, config_.hidden_size, {tensors.norm}));
  if (tensors.head != tensors.embedding) {
    PREFIXD_ASSIGN_OR_RETURN(head_, reader->ReadMatrix({tensors.head}));
  }
  return absl::OkStatus();
}

absl::Status LlamaDecoder::AllocateScratch() {
  const int64_t rows = limits_.max_batch_rows;
  PREFIXD_ASSIGN_OR_RETURN(scratch_, DecoderScratch::Allocate(shape_, rows, backend_));
  PREFIXD_ASSIGN_OR_RETURN(hidden_, backend_->NewTensor(rows, config_.hidden_size));
  PREFIXD_ASSIGN_OR_RETURN(angles_, backend_->NewAngles(rows, config_.head_dim));
  PREFIXD_ASSIGN_OR_RETURN(last_, backend_->NewTensor(limits_.max_logit_rows, config_.hidden_size));
  return absl::OkStatus();
}

absl::StatusOr<Tensor> LlamaDecoder::Begin(const Batch& batch) {
  const int64_t num_rows = static_cast<int64_t>(batch.token_ids.size());
  PREFIXD_CHECK(num_rows > 0 && num_rows <= limits_.max_batch_rows);
  PREFIXD_CHECK(batch.positions.size() == batch.token_ids.size());
  const Tensor x = hidden_.view.Rows(0, num_rows);
  PREFIXD_RETURN_IF_ERROR(EmbedRows(batch, x));
  PREFIXD_RETURN_IF_ERROR(backend_->RotaryAngles(batch.positions, inverse_frequencies_,
                                                 angles_.view.Rows(0, num_rows)));
  return x;
}

absl::Status LlamaDecoder::RunLayer(int layer, const KvView& kv, const Tensor& x) {
  return DecoderLayerForward(shape_, layers_[layer], angles_.view.Rows(0, x.rows), kv.layers[layer],
                             scratch_, backend_, kv.pool, x);
}

absl::Status LlamaDecoder::EmbedRows(const Batch& batch, const Tensor& x) {
  std::copy(batch.token_ids.begin(), batch.token_ids.end(), token_ids_.begin());
  for (const FeatureRows& rows : batch.features) {
    // A placeholder may lie beyond the vocabulary; its embedding is never used.
    std::fill_n(token_ids_.begin() + rows.row_begin, rows.count, 0);
  }
  const auto ids = absl::MakeConstSpan(token_ids_).subspan(0, batch.token_ids.size());
  PREFIXD_RETURN_IF_ERROR(backend_->Embed(*embedding_, ids, x));
  if (config_.scales_embeddings) {
    PREFIXD_RETURN_IF_ERROR(backend_->Scale(embedding_scale_, x));
  }
  for (const FeatureRows& rows : batch.features) {
    const auto all = absl::MakeConstSpan(row_ids_).subspan(0, rows.count);
    PREFIXD_RETURN_IF_ERROR(backend_->CopyRows(rows.features.Rows(rows.feature_begin, rows.count),
                                               all, all, x.Rows(rows.row_begin, rows.count)));
  }
  return absl::OkStatus();
}

absl::Status LlamaDecoder::TakeStates(const Tensor& x, absl::Span<const int32_t> rows,
                                      const Tensor& states) {
  PREFIXD_CHECK(states.rows == static_cast<int64_t>(rows.size()));
  PREFIXD_RETURN_IF_ERROR(
      backend_->CopyRows(x, rows, absl::MakeConstSpan(row_ids_).subspan(0, rows.size()), states));
  return backend_->RmsNorm(states, norm_.view, shape_.norm(), states);
}

absl::Status LlamaDecoder::Finish(const Batch& batch, const Tensor& x, const Tensor& logits) {
  if (!batch.state_rows.empty()) {
    PREFIXD_RETURN_IF_ERROR(TakeStates(x, batch.state_rows, batch.states));
  }
  const absl::Span<const int32_t> rows = batch.logit_rows;
  if (rows.empty()) return absl::OkStatus();
  PREFIXD_CHECK(rows.size() <= static_cast<size_t>(limits_.max_logit_rows));
  PREFIXD_CHECK(logits.rows == static_cast<int64_t>(rows.size()));
  PREFIXD_CHECK(logits.cols == config_.vocab_size);
  const Tensor last = last_.view.Rows(0, logits.rows);
  PREFIXD_RETURN_IF_ERROR(TakeStates(x, rows, last));
  return backend_->Linear(last, head(), {}, logits);
}

absl::Status LlamaDecoder::TokenLogprobs(const Tensor& states, absl::Span<const int32_t> rows,
                                         absl::Span<const int32_t> ids, absl::Span<float> y) {
  return backend_->HeadLogprobs(states, head(), rows, ids, y);
}

// --- The family

namespace {

std::string LlamaTensorName(absl::string_view name) { return std::string(name); }

bool IsUnusedLlamaTensor(absl::string_view name) {
  // Tied checkpoints may still carry the head; old ones carry the rotary frequencies.
  return name == "lm_head.weight" || name == "rope_freqs.weight" ||
         absl::EndsWith(name, "rotary_emb.inv_freq");
}

class LlamaModel final : public Model {
 public:
  LlamaModel(ModelSpec spec, std::unique_ptr<LlamaDecoder> decoder)
      : spec_(std::move(spec)), decoder_(std::move(decoder)) {}

  const ModelSpec& spec() const override { return spec_; }

  absl::Status Forward(const Batch& batch, const KvView& kv, const Tensor& logits) override {
    return decoder_->Forward(batch, kv, logits);
  }

  absl::Status TokenLogprobs(const Tensor& states, absl::Span<const int32_t> rows,
                             absl::Span<const int32_t> ids, absl::Span<float> y) override {
    return decoder_->TokenLogprobs(states, rows, ids, y);
  }

  absl::StatusOr<std::unique_ptr<ImageEncoding>> StartImage(absl::Span<const float>) override {
    return absl::UnimplementedError("a llama model takes no images");
  }

 private:
  const ModelSpec spec_;
  const std::unique_ptr<LlamaDecoder> decoder_;
};

class LlamaFiles final : public ModelFiles {
 public:
  LlamaFiles(const LlamaConfig& config, Checkpoint checkpoint)
      : config_(config), checkpoint_(std::move(checkpoint)) {}

  absl::Status Check(WeightNames::Canonical canonical, GenerationDefaults generation) {
    spec_.generation = std::move(generation);
    PREFIXD_ASSIGN_OR_RETURN(WeightNames names, WeightNames::Create(checkpoint_, canonical));
    PREFIXD_ASSIGN_OR_RETURN(tensors_, FindLlamaTensors(config_, "model.", &names));
    names.WarnOfUnused(IsUnusedLlamaTensor);
    spec_.family = "llama";
    spec_.num_parameters = names.used_elements();
    spec_.weight_bytes = names.used_bytes();
    FillTextSpec(config_, tensors_, &spec_);
    return absl::OkStatus();
  }

  const ModelSpec& spec() const override { return spec_; }

  absl::StatusOr<std::unique_ptr<Model>> Load(Backend* backend, const ModelLimits& limits,
                                              const LoadProgress& progress) override {
    WeightReader reader(checkpoint_, backend, progress, spec_.weight_bytes);
    PREFIXD_ASSIGN_OR_RETURN(auto decoder, LlamaDecoder::Load(config_, tensors_, limits, &reader));
    PREFIXD_RETURN_IF_ERROR(checkpoint_.CheckUnchanged());
    return std::make_unique<LlamaModel>(spec_, std::move(decoder));
  }

 private:
  const LlamaConfig config_;
  const Checkpoint checkpoint_;
  LlamaTensors tensors_;
  ModelSpec spec_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<ModelFiles>> OpenLlama(const std::string& directory,
                                                      const ConfigReader& config) {
  const LlamaConfig llama = ReadLlamaConfig(config);
  PREFIXD_RETURN_IF_ERROR(config.status());
  PREFIXD_ASSIGN_OR_RETURN(Checkpoint checkpoint, Checkpoint::Open(directory));
  PREFIXD_ASSIGN_OR_RETURN(GenerationDefaults generation,
                           ReadGenerationDefaults(directory, {config}, llama.vocab_size));
  return MakeLlamaFiles(llama, std::move(checkpoint), LlamaTensorName, std::move(generation));
}

absl::StatusOr<std::unique_ptr<ModelFiles>> MakeLlamaFiles(const LlamaConfig& config,
                                                           Checkpoint checkpoint,
                                                           WeightNames::Canonical canonical,
                                                           GenerationDefaults generation) {
  auto files = std::make_unique<LlamaFiles>(config, std::move(checkpoint));
  PREFIXD_RETURN_IF_ERROR(files->Check(canonical, std::move(generation)));
  return files;
}

}  // namespace prefixd
