// LLaVA-1.5 (arXiv:2310.03744) in the Hugging Face layout and in the original one: a CLIP tower, a
// projector, most often of two layers, and a Llama decoder.
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
#include "base/check.h"
#include "base/status_macros.h"
#include "engine/layers/clip.h"
#include "engine/models/clip_tower.h"
#include "engine/models/families.h"
#include "engine/models/generation_config.h"
#include "engine/models/llama.h"
#include "engine/models/llava_config.h"
#include "engine/models/llava_original.h"

namespace prefixd {
namespace {

// --- Tensors

// What a checkpoint may hold beyond the layers that run.
bool IsUnusedLlavaTensor(absl::string_view name) {
  return name == "lm_head.weight" || name == "vision.embeddings.position_ids" ||
         absl::StartsWith(name, "vision.post_layernorm.") ||
         absl::StartsWith(name, "vision.encoder.layers.") || name == "text.image_newline" ||
         absl::EndsWith(name, "rotary_emb.inv_freq");
}

struct LlavaTensors {
  ClipTensors vision;
  std::vector<TensorPair> projector;  // Biases may be null.
  LlamaTensors text;
};

// Of the i-th linear map of the projector. In the original layout activations count too.
std::string ProjectorName(const LlavaConfig& config, int i) {
  if (config.is_linear_projector) return "mm_projector";
  return config.is_original ? absl::StrCat("mm_projector.", 2 * i)
                            : absl::StrCat("multi_modal_projector.linear_", i + 1);
}

absl::StatusOr<LlavaTensors> FindLlavaTensors(const LlavaConfig& config, WeightNames* names) {
  const int64_t D = config.text.hidden_size;
  LlavaTensors tensors;
  PREFIXD_ASSIGN_OR_RETURN(
      tensors.vision, FindClipTensors(config.vision, config.num_layers_to_run(), "vision.", names));
  for (int i = 0; i < config.num_projector_layers; ++i) {
    PREFIXD_ASSIGN_OR_RETURN(const TensorPair linear, FindLinear(ProjectorName(config, i), D,
                                                                 i == 0 ? config.feature_size() : D,
                                                                 config.projector_bias, names));
    tensors.projector.push_back(linear);
  }
  PREFIXD_ASSIGN_OR_RETURN(tensors.text, FindLlamaTensors(config.text, "text.", names));
  return tensors;
}

// --- Weights

struct ProjectorLayer {
  std::unique_ptr<Matrix> weight;
  std::optional<OwnedTensor> bias;
};

// The tower and the projector. `projected` is scratch of one step, as the tower's.
struct VisionModel {
  LlavaConfig config;
  Backend* backend = nullptr;
  ClipTower tower;
  std::vector<ProjectorLayer> projector;
  OwnedTensor projected[2];            // [tokens_per_image, D]; what maps but the last make.
  std::vector<int32_t> selected_rows;  // Rows of a hidden state that become features.
  std::vector<int32_t> feature_rows;   // 0, 1, 2, ...
};

absl::Status ReadProjector(const LlavaTensors& in, int64_t hidden_size, WeightReader* reader,
                           VisionModel* out) {
  for (const TensorPair& linear : in.projector) {
    ProjectorLayer layer;
    PREFIXD_ASSIGN_OR_RETURN(layer.weight, reader->ReadMatrix({linear.weight}));
    if (linear.bias != nullptr) {
      PREFIXD_ASSIGN_OR_RETURN(layer.bias, reader->ReadTensor(1, hidden_size, {linear.bias}));
    }
    out->projector.push_back(std::move(layer));
  }
  return absl::OkStatus();
}

absl::StatusOr<VisionModel> LoadVision(const LlavaConfig& config, const LlavaTensors& tensors,
                                       WeightReader* reader) {
  VisionModel vision{.config = config, .backend = reader->backend()};
  PREFIXD_ASSIGN_OR_RETURN(vision.tower, LoadClipTower(config.vision, tensors.vision, reader));
  PREFIXD_RETURN_IF_ERROR(ReadProjector(tensors, config.text.hidden_size, reader, &vision));
  const int64_t num_tokens = config.tokens_per_image();
  for (int i = 0; i < std::min(2, config.num_projector_layers - 1); ++i) {
    PREFIXD_ASSIGN_OR_RETURN(vision.projected[i],
                             vision.backend->NewTensor(num_tokens, config.text.hidden_size));
  }
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
      PREFIXD_RETURN_IF_ERROR(ClipEmbed(shape, vision_->tower.embeddings, pixels_.view,
                                        vision_->tower.scratch, backend, hidden_.view));
      PREFIXD_RETURN_IF_ERROR(Select(0));
    }
    if (steps_done_ < static_cast<int>(vision_->tower.layers.size())) {
      PREFIXD_RETURN_IF_ERROR(ClipLayerForward(shape, vision_->tower.layers[steps_done_],
                                               vision_->tower.scratch, backend, hidden_.view));
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
      : vision_(vision),
        num_steps_(std::max<int>(1, static_cast<int>(vision->tower.layers.size()))) {}

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
    if (vision_->projector.empty()) {
      features_ = std::move(selected_);
      return absl::OkStatus();
    }
    Tensor x = selected_.view;
    for (size_t i = 0; i < vision_->projector.size(); ++i) {
      const ProjectorLayer& layer = vision_->projector[i];
      const bool is_last = i + 1 == vision_->projector.size();
      Backend::LinearOptions options{.bias = layer.bias.has_value() ? &layer.bias->view : nullptr};
      if (!is_last) options.activation = vision_->config.projector_activation;
      const Tensor y = is_last ? features_.view : vision_->projected[i % 2].view;
      PREFIXD_RETURN_IF_ERROR(vision_->backend->Linear(x, *layer.weight, options, y));
      x = y;
    }
    return absl::OkStatus();
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

  absl::Status TokenLogprobs(const Tensor& states, absl::Span<const int32_t> rows,
                             absl::Span<const int32_t> ids, absl::Span<float> y) override {
    return decoder_->TokenLogprobs(states, rows, ids, y);
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
    if (config_.is_original) {
      PREFIXD_RETURN_IF_ERROR(CheckHasTower(config_, directory, checkpoint_));
      spec_.chat_template = OriginalChatTemplate(directory);
    }
    PREFIXD_ASSIGN_OR_RETURN(
        spec_.generation, ReadGenerationDefaults(directory, {config, config.Object("text_config")},
                                                 config_.text.vocab_size));
    PREFIXD_ASSIGN_OR_RETURN(
        WeightNames names,
        WeightNames::Create(checkpoint_,
                            config_.is_original ? OriginalLlavaName : VisionLanguageName));
    PREFIXD_ASSIGN_OR_RETURN(tensors_, FindLlavaTensors(config_, &names));
    names.WarnOfUnused(IsUnusedLlavaTensor);
    spec_.family = "llava";
    spec_.num_parameters = names.used_elements();
    spec_.weight_bytes = names.used_bytes();
    FillTextSpec(config_.text, tensors_.text, &spec_);
    spec_.image = ImageSpec{.token_id = config_.image_token_id,
                            .tokens_per_image = static_cast<int32_t>(config_.tokens_per_image()),
                            .image_size = config_.vision.image_size,
                            .patch_size = config_.vision.patch_size,
                            .pad_to_square = config_.pad_to_square,
                            .has_default_processor = config_.is_original};
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
