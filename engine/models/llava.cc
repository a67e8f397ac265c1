// LLaVA-1.5 (arXiv:2310.03744) in the Hugging Face layout: a CLIP tower, a two-layer projector and
// a Llama decoder.
//
//   f = hidden_states[vision_feature_layer] of the tower, without the class row
//   y = W_2 gelu(W_1 f + b_1) + b_2 takes the place of the placeholders' embeddings
#include <algorithm>
#include <memory>
#include <numeric>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/check.h"
#include "base/status_macros.h"
#include "engine/layers/clip.h"
#include "engine/models/families.h"
#include "engine/models/generation_config.h"
#include "engine/models/llama.h"
#include "engine/models/llava_config.h"

namespace prefixd {
namespace {

// --- Tensors

// One spelling for all: text.*, vision.*, multi_modal_projector.*, lm_head.weight. Files put
// "model." in front of everything or of nothing, and the level "vision_model." may be absent.
std::string CanonicalName(absl::string_view name) {
  absl::ConsumePrefix(&name, "model.");
  if (absl::ConsumePrefix(&name, "language_model.")) {
    if (absl::StartsWith(name, "lm_head.")) return std::string(name);
    absl::ConsumePrefix(&name, "model.");
    return absl::StrCat("text.", name);
  }
  if (absl::ConsumePrefix(&name, "vision_tower.")) {
    absl::ConsumePrefix(&name, "vision_model.");
    return absl::StrCat("vision.", name);
  }
  return std::string(name);
}

// What a checkpoint may hold beyond the layers that run.
bool IsKnownUnused(absl::string_view name) {
  return name == "lm_head.weight" || name == "vision.embeddings.position_ids" ||
         absl::StartsWith(name, "vision.post_layernorm.") ||
         absl::StartsWith(name, "vision.encoder.layers.") ||
         absl::EndsWith(name, "rotary_emb.inv_freq");
}

struct PairTensors {
  const TensorInfo *weight = nullptr, *bias = nullptr;
};

struct VisionTensors {
  struct Layer {
    PairTensors norm1, norm2, q, k, v, output, fc1, fc2;
  };
  const TensorInfo *class_row = nullptr, *patch_embedding = nullptr, *positions = nullptr;
  PairTensors norm;
  std::vector<Layer> layers;  // Those that run.
};

struct LlavaTensors {
  VisionTensors vision;
  PairTensors projector1, projector2;  // Biases may be null.
  LlamaTensors text;
};

absl::StatusOr<PairTensors> FindNorm(const std::string& name, int64_t size, WeightNames* names) {
  PairTensors norm;
  PREFIXD_ASSIGN_OR_RETURN(norm.weight, names->Find(name + ".weight", {size}));
  PREFIXD_ASSIGN_OR_RETURN(norm.bias, names->Find(name + ".bias", {size}));
  return norm;
}

absl::StatusOr<PairTensors> FindLinear(const std::string& name, int64_t rows, int64_t cols,
                                       bool has_bias, WeightNames* names) {
  PairTensors linear;
  PREFIXD_ASSIGN_OR_RETURN(linear.weight, names->Find(name + ".weight", {rows, cols}));
  if (has_bias) {
    PREFIXD_ASSIGN_OR_RETURN(linear.bias, names->Find(name + ".bias", {rows}));
  }
  return linear;
}

absl::StatusOr<VisionTensors::Layer> FindVisionLayer(const ClipShape& shape,
                                                     const std::string& prefix,
                                                     WeightNames* names) {
  const int64_t D = shape.hidden_size, I = shape.intermediate_size;
  const std::string attention = prefix + "self_attn.";
  VisionTensors::Layer layer;
  PREFIXD_ASSIGN_OR_RETURN(layer.norm1, FindNorm(prefix + "layer_norm1", D, names));
  PREFIXD_ASSIGN_OR_RETURN(layer.q, FindLinear(attention + "q_proj", D, D, true, names));
  PREFIXD_ASSIGN_OR_RETURN(layer.k, FindLinear(attention + "k_proj", D, D, true, names));
  PREFIXD_ASSIGN_OR_RETURN(layer.v, FindLinear(attention + "v_proj", D, D, true, names));
  PREFIXD_ASSIGN_OR_RETURN(layer.output, FindLinear(attention + "out_proj", D, D, true, names));
  PREFIXD_ASSIGN_OR_RETURN(layer.norm2, FindNorm(prefix + "layer_norm2", D, names));
  PREFIXD_ASSIGN_OR_RETURN(layer.fc1, FindLinear(prefix + "mlp.fc1", I, D, true, names));
  PREFIXD_ASSIGN_OR_RETURN(layer.fc2, FindLinear(prefix + "mlp.fc2", D, I, true, names));
  return layer;
}

absl::StatusOr<VisionTensors> FindVisionTensors(const LlavaConfig& config, WeightNames* names) {
  const ClipShape& shape = config.vision;
  const int64_t D = shape.hidden_size, P = shape.patch_size;
  const std::string embeddings = "vision.embeddings.";
  VisionTensors vision;
  PREFIXD_ASSIGN_OR_RETURN(vision.class_row, names->Find(embeddings + "class_embedding", {D}));
  PREFIXD_ASSIGN_OR_RETURN(vision.patch_embedding,
                           names->Find(embeddings + "patch_embedding.weight", {D, 3, P, P}));
  PREFIXD_ASSIGN_OR_RETURN(vision.positions, names->Find(embeddings + "position_embedding.weight",
                                                         {shape.num_rows(), D}));
  PREFIXD_ASSIGN_OR_RETURN(vision.norm, FindNorm("vision.pre_layrnorm", D, names));
  for (int i = 0; i < config.num_layers_to_run(); ++i) {
    PREFIXD_ASSIGN_OR_RETURN(
        auto layer, FindVisionLayer(shape, absl::StrCat("vision.encoder.layers.", i, "."), names));
    vision.layers.push_back(layer);
  }
  return vision;
}

absl::StatusOr<LlavaTensors> FindLlavaTensors(const LlavaConfig& config, WeightNames* names) {
  const int64_t D = config.text.hidden_size;
  LlavaTensors tensors;
  PREFIXD_ASSIGN_OR_RETURN(tensors.vision, FindVisionTensors(config, names));
  PREFIXD_ASSIGN_OR_RETURN(tensors.projector1,
                           FindLinear("multi_modal_projector.linear_1", D, config.feature_size(),
                                      config.projector_bias, names));
  PREFIXD_ASSIGN_OR_RETURN(tensors.projector2, FindLinear("multi_modal_projector.linear_2", D, D,
                                                          config.projector_bias, names));
  PREFIXD_ASSIGN_OR_RETURN(tensors.text, FindLlamaTensors(config.text, "text.", names));
  return tensors;
}

// --- Weights

absl::StatusOr<LayerNormWeights> ReadNorm(const PairTensors& in, WeightReader* reader) {
  LayerNormWeights norm;
  const int64_t size = in.weight->shape[0];
  PREFIXD_ASSIGN_OR_RETURN(norm.weight, reader->ReadTensor(1, size, {in.weight}));
  PREFIXD_ASSIGN_OR_RETURN(norm.bias, reader->ReadTensor(1, size, {in.bias}));
  return norm;
}

absl::StatusOr<LinearWeights> ReadLinear(const PairTensors& in, WeightReader* reader) {
  LinearWeights linear;
  PREFIXD_ASSIGN_OR_RETURN(linear.weight, reader->ReadMatrix({in.weight}));
  PREFIXD_ASSIGN_OR_RETURN(linear.bias, reader->ReadTensor(1, in.weight->shape[0], {in.bias}));
  return linear;
}

absl::StatusOr<ClipLayer> ReadVisionLayer(const VisionTensors::Layer& in, WeightReader* reader) {
  ClipLayer layer;
  const int64_t D = in.norm1.weight->shape[0];
  PREFIXD_ASSIGN_OR_RETURN(layer.norm1, ReadNorm(in.norm1, reader));
  PREFIXD_ASSIGN_OR_RETURN(layer.qkv.weight,
                           reader->ReadMatrix({in.q.weight, in.k.weight, in.v.weight}));
  PREFIXD_ASSIGN_OR_RETURN(layer.qkv.bias,
                           reader->ReadTensor(1, 3 * D, {in.q.bias, in.k.bias, in.v.bias}));
  PREFIXD_ASSIGN_OR_RETURN(layer.output, ReadLinear(in.output, reader));
  PREFIXD_ASSIGN_OR_RETURN(layer.norm2, ReadNorm(in.norm2, reader));
  PREFIXD_ASSIGN_OR_RETURN(layer.fc1, ReadLinear(in.fc1, reader));
  PREFIXD_ASSIGN_OR_RETURN(layer.fc2, ReadLinear(in.fc2, reader));
  return layer;
}

// The tower and the projector with their shared scratch. Scratch lives within one step only, so
// that encodings may be interleaved or dropped at any point.
struct VisionModel {
  LlavaConfig config;
  Backend* backend = nullptr;
  ClipEmbeddings embeddings;
  std::vector<ClipLayer> layers;
  std::unique_ptr<Matrix> projector1, projector2;
  std::optional<OwnedTensor> projector_bias1, projector_bias2;
  ClipScratch scratch;
  OwnedTensor projected;               // [tokens_per_image, D].
  std::vector<int32_t> selected_rows;  // Rows of a hidden state that become features.
  std::vector<int32_t> feature_rows;   // 0, 1, 2, ...
};

absl::Status ReadEmbeddings(const ClipShape& shape, const VisionTensors& in, WeightReader* reader,
                            ClipEmbeddings* out) {
  const int64_t D = shape.hidden_size;
  PREFIXD_ASSIGN_OR_RETURN(out->class_row, reader->ReadTensor(1, D, {in.class_row}));
  PREFIXD_ASSIGN_OR_RETURN(out->positions, reader->ReadTensor(shape.num_rows(), D, {in.positions}));
  PREFIXD_ASSIGN_OR_RETURN(out->patch_embedding, reader->ReadMatrix({in.patch_embedding}));
  PREFIXD_ASSIGN_OR_RETURN(out->norm, ReadNorm(in.norm, reader));
  return absl::OkStatus();
}

absl::Status ReadProjector(const LlavaTensors& in, int64_t hidden_size, WeightReader* reader,
                           VisionModel* out) {
  PREFIXD_ASSIGN_OR_RETURN(out->projector1, reader->ReadMatrix({in.projector1.weight}));
  PREFIXD_ASSIGN_OR_RETURN(out->projector2, reader->ReadMatrix({in.projector2.weight}));
  if (in.projector1.bias == nullptr) return absl::OkStatus();
  PREFIXD_ASSIGN_OR_RETURN(out->projector_bias1,
                           reader->ReadTensor(1, hidden_size, {in.projector1.bias}));
  PREFIXD_ASSIGN_OR_RETURN(out->projector_bias2,
                           reader->ReadTensor(1, hidden_size, {in.projector2.bias}));
  return absl::OkStatus();
}

absl::StatusOr<VisionModel> LoadVision(const LlavaConfig& config, const LlavaTensors& tensors,
                                       WeightReader* reader) {
  VisionModel vision{.config = config, .backend = reader->backend()};
  PREFIXD_RETURN_IF_ERROR(
      ReadEmbeddings(config.vision, tensors.vision, reader, &vision.embeddings));
  for (const VisionTensors::Layer& layer : tensors.vision.layers) {
    PREFIXD_ASSIGN_OR_RETURN(ClipLayer loaded, ReadVisionLayer(layer, reader));
    vision.layers.push_back(std::move(loaded));
  }
  PREFIXD_RETURN_IF_ERROR(ReadProjector(tensors, config.text.hidden_size, reader, &vision));
  PREFIXD_ASSIGN_OR_RETURN(vision.scratch, ClipScratch::Allocate(config.vision, vision.backend));
  const int64_t num_tokens = config.tokens_per_image();
  PREFIXD_ASSIGN_OR_RETURN(vision.projected,
                           vision.backend->NewTensor(num_tokens, config.text.hidden_size));
  vision.selected_rows.resize(num_tokens);
  vision.feature_rows.resize(num_tokens);
  std::iota(vision.selected_rows.begin(), vision.selected_rows.end(),
            config.keep_class_row ? 0 : 1);
  std::iota(vision.feature_rows.begin(), vision.feature_rows.end(), 0);
  return vision;
}

// --- Encoding an image

// One tower layer a step; the embedding goes with the first step, the projector with the last.
class LlavaEncoding final : public ImageEncoding {
 public:
  static absl::StatusOr<std::unique_ptr<ImageEncoding>> Start(absl::Span<const float> pixels,
                                                              const VisionModel* vision) {
    const LlavaConfig& config = vision->config;
    const int64_t area = int64_t{config.vision.image_size} * config.vision.image_size;
    PREFIXD_CHECK(static_cast<int64_t>(pixels.size()) == 3 * area);
    Backend* const backend = vision->backend;
    std::unique_ptr<LlavaEncoding> encoding(new LlavaEncoding(vision));
    PREFIXD_ASSIGN_OR_RETURN(encoding->pixels_, backend->NewTensor(3, area));
    PREFIXD_ASSIGN_OR_RETURN(
        encoding->hidden_, backend->NewTensor(config.vision.num_rows(), config.vision.hidden_size));
    PREFIXD_ASSIGN_OR_RETURN(encoding->selected_,
                             backend->NewTensor(config.tokens_per_image(), config.feature_size()));
    PREFIXD_ASSIGN_OR_RETURN(encoding->features_, backend->NewTensor(config.tokens_per_image(),
                                                                     config.text.hidden_size));
    PREFIXD_RETURN_IF_ERROR(backend->Upload(pixels, encoding->pixels_.view));
    return encoding;
  }

  int steps_left() const override { return num_steps_ - steps_done_; }
  int rows_per_step() const override { return static_cast<int>(vision_->config.vision.num_rows()); }

  absl::Status Step() override {
    PREFIXD_CHECK(steps_left() > 0);
    const ClipShape& shape = vision_->config.vision;
    Backend* const backend = vision_->backend;
    if (steps_done_ == 0) {
      PREFIXD_RETURN_IF_ERROR(ClipEmbed(shape, vision_->embeddings, pixels_.view, vision_->scratch,
                                        backend, hidden_.view));
      PREFIXD_RETURN_IF_ERROR(Select(0));
    }
    if (steps_done_ < static_cast<int>(vision_->layers.size())) {
      PREFIXD_RETURN_IF_ERROR(ClipLayerForward(shape, vision_->layers[steps_done_],
                                               vision_->scratch, backend, hidden_.view));
      PREFIXD_RETURN_IF_ERROR(Select(steps_done_ + 1));
    }
    ++steps_done_;
    return steps_left() > 0 ? absl::OkStatus() : Project();
  }

  OwnedTensor TakeFeatures() override {
    PREFIXD_CHECK(steps_left() == 0);
    return std::move(features_);
  }

 private:
  explicit LlavaEncoding(const VisionModel* vision)
      : vision_(vision), num_steps_(std::max<int>(1, static_cast<int>(vision->layers.size()))) {}

  // Copies hidden_states[state] to its columns of the selected features, wherever it is wanted.
  absl::Status Select(int state) {
    const LlavaConfig& config = vision_->config;
    const int64_t width = config.vision.hidden_size;
    for (size_t i = 0; i < config.feature_states.size(); ++i) {
      if (config.feature_states[i] != state) continue;
      const Tensor columns = selected_.view.Cols(static_cast<int64_t>(i) * width, width);
      PREFIXD_RETURN_IF_ERROR(vision_->backend->CopyRows(hidden_.view, vision_->selected_rows,
                                                         vision_->feature_rows, columns));
    }
    return absl::OkStatus();
  }

  absl::Status Project() {
    const auto bias_of = [](const std::optional<OwnedTensor>& bias) {
      return bias.has_value() ? &bias->view : nullptr;
    };
    PREFIXD_RETURN_IF_ERROR(
        vision_->backend->Linear(selected_.view, *vision_->projector1,
                                 {.bias = bias_of(vision_->projector_bias1),
                                  .activation = vision_->config.projector_activation},
                                 vision_->projected.view));
    return vision_->backend->Linear(vision_->projected.view, *vision_->projector2,
                                    {.bias = bias_of(vision_->projector_bias2)}, features_.view);
  }

  const VisionModel* const vision_;
  const int num_steps_;
  int steps_done_ = 0;
  OwnedTensor pixels_;    // [3, S * S].
  OwnedTensor hidden_;    // [num_rows, Dv].
  OwnedTensor selected_;  // [tokens_per_image, feature_size].
  OwnedTensor features_;  // [tokens_per_image, D].
};

// --- The family

class LlavaModel final : public Model {
 public:
  LlavaModel(ModelSpec spec, VisionModel vision, std::unique_ptr<LlamaDecoder> decoder)
      : spec_(std::move(spec)), vision_(std::move(vision)), decoder_(std::move(decoder)) {}

  const ModelSpec& spec() const override { return spec_; }

  absl::Status Forward(const Batch& batch, const KvView& kv, const Tensor& logits) override {
    return decoder_->Forward(batch, kv, logits);
  }

  absl::StatusOr<std::unique_ptr<ImageEncoding>> StartImage(
      absl::Span<const float> pixels) override {
    return LlavaEncoding::Start(pixels, &vision_);
  }

 private:
  const ModelSpec spec_;
  const VisionModel vision_;
  const std::unique_ptr<LlamaDecoder> decoder_;
};

class LlavaFiles final : public ModelFiles {
 public:
  LlavaFiles(const LlavaConfig& config, Checkpoint checkpoint)
      : config_(config), checkpoint_(std::move(checkpoint)) {}

  absl::Status Check(const std::string& directory, const ConfigReader& config) {
    PREFIXD_ASSIGN_OR_RETURN(
        spec_.generation, ReadGenerationDefaults(directory, {config, config.Object("text_config")},
                                                 config_.text.vocab_size));
    PREFIXD_ASSIGN_OR_RETURN(WeightNames names, WeightNames::Create(checkpoint_, CanonicalName));
    PREFIXD_ASSIGN_OR_RETURN(tensors_, FindLlavaTensors(config_, &names));
    names.WarnOfUnused(IsKnownUnused);
    spec_.family = "llava";
    spec_.num_parameters = names.used_elements();
    spec_.weight_bytes = names.used_bytes();
    FillTextSpec(config_.text, tensors_.text, &spec_);
    spec_.image = ImageSpec{.token_id = config_.image_token_id,
                            .tokens_per_image = static_cast<int32_t>(config_.tokens_per_image()),
                            .image_size = config_.vision.image_size,
                            .patch_size = config_.vision.patch_size};
    return absl::OkStatus();
  }

  const ModelSpec& spec() const override { return spec_; }

  absl::StatusOr<std::unique_ptr<Model>> Load(Backend* backend, const ModelLimits& limits,
                                              const LoadProgress& progress) override {
    WeightReader reader(checkpoint_, backend, progress, spec_.weight_bytes);
    PREFIXD_ASSIGN_OR_RETURN(VisionModel vision, LoadVision(config_, tensors_, &reader));
    PREFIXD_ASSIGN_OR_RETURN(auto decoder,
                             LlamaDecoder::Load(config_.text, tensors_.text, limits, &reader));
    PREFIXD_RETURN_IF_ERROR(checkpoint_.CheckUnchanged());
    return std::make_unique<LlavaModel>(spec_, std::move(vision), std::move(decoder));
  }

 private:
  const LlavaConfig config_;
  const Checkpoint checkpoint_;
  LlavaTensors tensors_;
  ModelSpec spec_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<ModelFiles>> OpenLlava(const std::string& directory,
                                                      const ConfigReader& config) {
  const LlavaConfig llava = ReadLlavaConfig(config);
  PREFIXD_RETURN_IF_ERROR(config.status());
  PREFIXD_ASSIGN_OR_RETURN(Checkpoint checkpoint, Checkpoint::Open(directory));
  auto files = std::make_unique<LlavaFiles>(llava, std::move(checkpoint));
  PREFIXD_RETURN_IF_ERROR(files->Check(directory, config));
  return files;
}

}  // namespace prefixd
