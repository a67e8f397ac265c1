#include "engine/models/plain_text.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/status_macros.h"
#include "engine/models/weight_layout.h"

namespace prefixd {

// --- Configuration and tensors

void CheckPlainSizes(const ConfigReader& config, const char* heads_key, const char* hidden_key,
                     const PlainTextConfig& text) {
  if (text.hidden_size % text.num_heads != 0) {
    config.Invalid(heads_key, absl::StrCat(text.num_heads, " does not divide ", hidden_key, " ",
                                           text.hidden_size));
  } else if (text.head_dim() > 1024) {
    config.Invalid(heads_key, absl::StrCat(text.num_heads, " makes heads of ", text.head_dim(),
                                           " values, the limit is 1024"));
  }
}

void FillTextSpec(const PlainTextConfig& config, const PlainTextTensors& tensors, ModelSpec* spec) {
  spec->num_layers = config.num_layers;
  spec->num_heads = config.num_heads;
  spec->num_kv_heads = config.num_heads;
  spec->head_dim = config.head_dim();
  spec->hidden_size = config.hidden_size;
  spec->vocab_size = config.vocab_size;
  spec->context_length = config.max_positions;
  spec->weights_dtype = absl::AsciiStrToLower(tensors.layers[0].qkv.weight->dtype);
  spec->sharing = Sharing::kCausal;
  spec->keeps_positions = config.alibi_bias_max > 0;
}

std::vector<float> AlibiSlopes(int num_heads, double bias_max) {
  int base = 1;
  while (base < num_heads) base *= 2;
  const auto slope = [&](int i) { return static_cast<float>(std::exp2(-i * bias_max / base)); };
  std::vector<float> slopes;
  if (base != num_heads) {
    for (int i = 2; i <= base; i += 2) slopes.push_back(slope(i));
    for (int i = 1; i <= base; i += 2) slopes.push_back(slope(i));
    slopes.resize(num_heads);
    return slopes;
  }
  for (int i = 1; i <= base; ++i) slopes.push_back(slope(i));
  return slopes;
}

// --- Weights

namespace {

PlainDecoderShape ShapeOf(const PlainTextConfig& config) {
  return {.hidden_size = config.hidden_size,
          .intermediate_size = config.intermediate_size,
          .num_heads = config.num_heads,
          .norm_eps = config.norm_eps,
          .activation = config.activation,
          .parallel_residual = config.parallel_residual,
          .clip_qkv = config.clip_qkv};
}

absl::StatusOr<LinearWeights> ReadTransposed(const TensorPair& pair, WeightReader* reader) {
  LinearWeights linear;
  PREFIXD_ASSIGN_OR_RETURN(linear.weight, ReadTransposedMatrix(*pair.weight, reader));
  if (pair.bias != nullptr) {
    PREFIXD_ASSIGN_OR_RETURN(linear.bias,
                             reader->ReadTensor(1, pair.weight->shape[1], {pair.bias}));
  }
  return linear;
}

absl::StatusOr<LinearWeights> ReadMap(const PlainTextConfig& config, const TensorPair& pair,
                                      WeightReader* reader) {
  if (config.layout == PlainWeightLayout::kTransposed) return ReadTransposed(pair, reader);
  return ReadLinear(pair, reader);
}

absl::StatusOr<LinearWeights> ReadQkv(const PlainTextConfig& config, const TensorPair& pair,
                                      WeightReader* reader) {
  if (config.layout != PlainWeightLayout::kPerHead) return ReadMap(config, pair, reader);
  const std::vector<RowRange> rows = RowsOfPerHeadQkv(config.num_heads, config.head_dim());
  LinearWeights linear;
  PREFIXD_ASSIGN_OR_RETURN(linear.weight, ReadMatrixRanges(*pair.weight, rows, reader));
  if (pair.bias != nullptr) {
    PREFIXD_ASSIGN_OR_RETURN(linear.bias, ReadVectorRanges(*pair.bias, rows, reader));
  }
  return linear;
}

absl::StatusOr<PlainDecoderLayer> ReadLayer(const PlainTextConfig& config, int index,
                                            const PlainTextTensors::Layer& in,
                                            WeightReader* reader) {
  PlainDecoderLayer layer;
  PREFIXD_ASSIGN_OR_RETURN(layer.attention_norm, ReadLayerNorm(in.attention_norm, reader));
  PREFIXD_ASSIGN_OR_RETURN(layer.mlp_norm, ReadLayerNorm(in.mlp_norm, reader));
  PREFIXD_ASSIGN_OR_RETURN(layer.qkv, ReadQkv(config, in.qkv, reader));
  PREFIXD_ASSIGN_OR_RETURN(layer.output, ReadMap(config, in.output, reader));
  PREFIXD_ASSIGN_OR_RETURN(layer.up, ReadMap(config, in.up, reader));
  PREFIXD_ASSIGN_OR_RETURN(layer.down, ReadMap(config, in.down, reader));
  if (in.q_norm.weight != nullptr) {
    PREFIXD_ASSIGN_OR_RETURN(layer.q_norm, ReadLayerNorm(in.q_norm, reader));
    PREFIXD_ASSIGN_OR_RETURN(layer.k_norm, ReadLayerNorm(in.k_norm, reader));
  }
  layer.attention_scale = config.attention_scale;
  if (config.inverse_layer) layer.attention_scale /= static_cast<float>(index + 1);
  return layer;
}

}  // namespace

// --- Forward pass

PlainTextDecoder::PlainTextDecoder(const PlainTextConfig& config, const ModelLimits& limits,
                                   Backend* backend)
    : config_(config),
      limits_(limits),
      shape_(ShapeOf(config)),
      inverse_frequencies_(InverseFrequencies(config.rope, config.rotary_size)),
      backend_(backend),
      row_ids_(std::max(limits.max_batch_rows, limits.max_logit_rows)) {
  std::iota(row_ids_.begin(), row_ids_.end(), 0);
}

absl::StatusOr<std::unique_ptr<PlainTextDecoder>> PlainTextDecoder::Load(
    const PlainTextConfig& config, const PlainTextTensors& tensors, const ModelLimits& limits,
    WeightReader* reader) {
  std::unique_ptr<PlainTextDecoder> decoder(
      new PlainTextDecoder(config, limits, reader->backend()));
  PREFIXD_RETURN_IF_ERROR(decoder->LoadWeights(tensors, reader));
  PREFIXD_RETURN_IF_ERROR(decoder->AllocateScratch());
  return decoder;
}

absl::Status PlainTextDecoder::LoadWeights(const PlainTextTensors& tensors, WeightReader* reader) {
  PREFIXD_ASSIGN_OR_RETURN(embedding_, reader->ReadMatrix({tensors.embedding}));
  if (tensors.positions != nullptr) {
    PREFIXD_ASSIGN_OR_RETURN(positions_, reader->ReadMatrix({tensors.positions}));
  }
  for (size_t i = 0; i < tensors.layers.size(); ++i) {
    PREFIXD_ASSIGN_OR_RETURN(PlainDecoderLayer layer,
                             ReadLayer(config_, static_cast<int>(i), tensors.layers[i], reader));
    layers_.push_back(std::move(layer));
  }
  PREFIXD_ASSIGN_OR_RETURN(norm_, ReadLayerNorm(tensors.norm, reader));
  if (tensors.head != tensors.embedding) {
    PREFIXD_ASSIGN_OR_RETURN(head_, reader->ReadMatrix({tensors.head}));
  }
  if (config_.alibi_bias_max > 0) {
    const std::vector<float> slopes = AlibiSlopes(config_.num_heads, config_.alibi_bias_max);
    PREFIXD_ASSIGN_OR_RETURN(alibi_slopes_, backend_->NewAngles(1, config_.num_heads));
    PREFIXD_RETURN_IF_ERROR(backend_->Upload(slopes, alibi_slopes_.view));
  }
  return absl::OkStatus();
}

absl::Status PlainTextDecoder::AllocateScratch() {
  const int64_t rows = limits_.max_batch_rows, D = config_.hidden_size;
  PREFIXD_ASSIGN_OR_RETURN(scratch_, PlainDecoderScratch::Allocate(shape_, rows, backend_));
  PREFIXD_ASSIGN_OR_RETURN(hidden_, backend_->NewTensor(rows, D));
  PREFIXD_ASSIGN_OR_RETURN(last_, backend_->NewTensor(limits_.max_logit_rows, D));
  if (positions_ != nullptr) {
    PREFIXD_ASSIGN_OR_RETURN(position_rows_, backend_->NewTensor(rows, D));
  }
  if (config_.rotary_size > 0) {
    PREFIXD_ASSIGN_OR_RETURN(angles_, backend_->NewAngles(rows, config_.rotary_size));
  }
  return absl::OkStatus();
}

absl::StatusOr<Tensor> PlainTextDecoder::Begin(const Batch& batch) {
  const int64_t num_rows = static_cast<int64_t>(batch.token_ids.size());
  PREFIXD_CHECK(num_rows > 0 && num_rows <= limits_.max_batch_rows);
  PREFIXD_CHECK(batch.positions.size() == batch.token_ids.size());
  PREFIXD_CHECK(batch.features.empty());
  const Tensor x = hidden_.view.Rows(0, num_rows);
  PREFIXD_RETURN_IF_ERROR(backend_->Embed(*embedding_, batch.token_ids, x));
  if (positions_ != nullptr) {
    const Tensor rows = position_rows_.view.Rows(0, num_rows);
    PREFIXD_RETURN_IF_ERROR(backend_->Embed(*positions_, batch.positions, rows));
    PREFIXD_RETURN_IF_ERROR(backend_->Add(rows, x));
  }
  if (config_.rotary_size > 0) {
    PREFIXD_RETURN_IF_ERROR(backend_->RotaryAngles(batch.positions, inverse_frequencies_,
                                                   angles_.view.Rows(0, num_rows)));
  }
  return x;
}

absl::Status PlainTextDecoder::RunLayer(int layer, const KvView& kv, const Tensor& x) {
  const Tensor angles = config_.rotary_size > 0 ? angles_.view.Rows(0, x.rows) : Tensor();
  return PlainDecoderLayerForward(
      shape_, layers_[layer],
      {.angles = config_.rotary_size > 0 ? &angles : nullptr,
       .alibi_slopes = config_.alibi_bias_max > 0 ? &alibi_slopes_.view : nullptr},
      kv.layers[layer], scratch_, backend_, kv.pool, x);
}

absl::Status PlainTextDecoder::TakeStates(const Tensor& x, absl::Span<const int32_t> rows,
                                          const Tensor& states) {
  PREFIXD_CHECK(states.rows == static_cast<int64_t>(rows.size()));
  PREFIXD_RETURN_IF_ERROR(
      backend_->CopyRows(x, rows, absl::MakeConstSpan(row_ids_).subspan(0, rows.size()), states));
  return backend_->LayerNorm(states, norm_.weight.view, norm_.bias.view, config_.norm_eps, states);
}

absl::Status PlainTextDecoder::Finish(const Batch& batch, const Tensor& x, const Tensor& logits) {
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

absl::Status PlainTextDecoder::TokenLogprobs(const Tensor& states, absl::Span<const int32_t> rows,
                                             absl::Span<const int32_t> ids, absl::Span<float> y) {
  return backend_->HeadLogprobs(states, head(), rows, ids, y);
}

}  // namespace prefixd
