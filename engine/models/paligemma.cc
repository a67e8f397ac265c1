// PaliGemma (arXiv:2407.07726): a SigLIP tower, a linear projector and a Gemma decoder.
//
//   f = LayerNorm(layers(patches + positions))        of the tower, all rows
//   y = W f + b takes the place of the placeholders' embeddings
//   x = sqrt(D) E[t] for text, y as it is for images
//
// The reference divides y by sqrt(D) and multiplies all rows by it, or leaves both out; the net
// effect is this. It counts positions from 1; attention depends on their differences only, so that
// they stay the engine's, from 0, here.
//
// A prompt is a prefix whose rows see each other (KvSegment::visible_prefix); what is generated is
// causal.
#include <memory>
#include <string>
#include <utility>

#include "absl/strings/match.h"
#include "base/check.h"
#include "base/status_macros.h"
#include "engine/layers/siglip.h"
#include "engine/models/families.h"
#include "engine/models/generation_config.h"
#include "engine/models/llama.h"
#include "engine/models/paligemma_config.h"
#include "engine/models/siglip_tower.h"

namespace prefixd {
namespace {

// --- Tensors

// What a checkpoint may hold beyond what runs: a head that equals the embedding it is tied to, the
// tower's pooling head, buffers.
bool IsUnusedPaliGemmaTensor(absl::string_view name) {
  return name == "lm_head.weight" || name == "vision.embeddings.position_ids" ||
         absl::StartsWith(name, "vision.head.") || absl::EndsWith(name, "rotary_emb.inv_freq");
}

struct PaliGemmaTensors {
  SiglipTensors vision;
  TensorPair projector;
  LlamaTensors text;
};

absl::StatusOr<PaliGemmaTensors> FindPaliGemmaTensors(const PaliGemmaConfig& config,
                                                      WeightNames* names) {
  PaliGemmaTensors tensors;
  PREFIXD_ASSIGN_OR_RETURN(
      tensors.vision, FindSiglipTensors(config.vision, config.num_vision_layers, "vision.", names));
  PREFIXD_ASSIGN_OR_RETURN(tensors.projector,
                           FindLinear("multi_modal_projector.linear", config.text.hidden_size,
                                      config.vision.hidden_size, true, names));
  PREFIXD_ASSIGN_OR_RETURN(tensors.text, FindLlamaTensors(config.text, "text.", names));
  return tensors;
}

// --- Encoding an image

struct PaliGemmaVision {
  ClipShape shape;
  int64_t text_hidden_size = 0;  // D.
  Backend* backend = nullptr;
  SiglipTower tower;
  LinearWeights projector;  // [D, Dv].
};

// One tower layer a step; the embedding goes with the first step, the projector with the last.
class PaliGemmaEncoding final : public ImageEncoding {
 public:
  static absl::StatusOr<std::unique_ptr<ImageEncoding>> Start(absl::Span<const float> pixels,
                                                              const PaliGemmaVision* vision) {
    const ClipShape& shape = vision->shape;
    const int64_t area = int64_t{shape.image_size} * shape.image_size;
    PREFIXD_CHECK(static_cast<int64_t>(pixels.size()) == 3 * area);
    Backend* const backend = vision->backend;
    std::unique_ptr<PaliGemmaEncoding> encoding(new PaliGemmaEncoding(vision));
    PREFIXD_ASSIGN_OR_RETURN(encoding->pixels_, backend->NewTensor(3, area));
    PREFIXD_ASSIGN_OR_RETURN(encoding->hidden_,
                             backend->NewTensor(shape.num_rows(), shape.hidden_size));
    PREFIXD_ASSIGN_OR_RETURN(encoding->features_,
                             backend->NewTensor(shape.num_rows(), vision->text_hidden_size));
    PREFIXD_RETURN_IF_ERROR(backend->Upload(pixels, encoding->pixels_.view));
    return encoding;
  }

  int steps_left() const override {
    return static_cast<int>(vision_->tower.layers.size()) - steps_done_;
  }
  int rows_per_step() const override { return static_cast<int>(vision_->shape.num_rows()); }

  absl::Status Step() override {
    PREFIXD_CHECK(steps_left() > 0);
    const SiglipTower& tower = vision_->tower;
    if (steps_done_ == 0) {
      PREFIXD_RETURN_IF_ERROR(SiglipEmbed(vision_->shape, tower.embeddings, pixels_.view,
                                          tower.scratch, vision_->backend, hidden_.view));
    }
    PREFIXD_RETURN_IF_ERROR(ClipLayerForward(vision_->shape, tower.layers[steps_done_],
                                             tower.scratch, vision_->backend, hidden_.view));
    ++steps_done_;
    return steps_left() > 0 ? absl::OkStatus() : Project();
  }

  OwnedTensor TakeFeatures() override {
    PREFIXD_CHECK(steps_left() == 0);
    return std::move(features_);
  }

 private:
  explicit PaliGemmaEncoding(const PaliGemmaVision* vision) : vision_(vision) {}

  absl::Status Project() {
    const LayerNormWeights& norm = vision_->tower.norm;
    PREFIXD_RETURN_IF_ERROR(vision_->backend->LayerNorm(
        hidden_.view, norm.weight.view, norm.bias.view, vision_->shape.norm_eps, hidden_.view));
    return vision_->backend->Linear(hidden_.view, *vision_->projector.weight,
                                    {.bias = &vision_->projector.bias.view}, features_.view);
  }

  const PaliGemmaVision* const vision_;
  int steps_done_ = 0;
  OwnedTensor pixels_;    // [3, S * S].
  OwnedTensor hidden_;    // [num_patches, Dv].
  OwnedTensor features_;  // [num_patches, D].
};

// --- The family

class PaliGemmaModel final : public Model {
 public:
  PaliGemmaModel(ModelSpec spec, PaliGemmaVision vision, std::unique_ptr<LlamaDecoder> decoder)
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
    return PaliGemmaEncoding::Start(pixels, &vision_);
  }

 private:
  const ModelSpec spec_;
  const PaliGemmaVision vision_;
  const std::unique_ptr<LlamaDecoder> decoder_;
};

class PaliGemmaFiles final : public ModelFiles {
 public:
  PaliGemmaFiles(const PaliGemmaConfig& config, Checkpoint checkpoint)
      : config_(config), checkpoint_(std::move(checkpoint)) {}

  absl::Status Check(const std::string& directory, const ConfigReader& config) {
    constexpr int32_t kGemmaEos = 1;
    PREFIXD_ASSIGN_OR_RETURN(
        spec_.generation, ReadGenerationDefaults(directory, {config, config.Object("text_config")},
                                                 config_.text.vocab_size, kGemmaEos));
    PREFIXD_ASSIGN_OR_RETURN(WeightNames names,
                             WeightNames::Create(checkpoint_, VisionLanguageName));
    PREFIXD_ASSIGN_OR_RETURN(tensors_, FindPaliGemmaTensors(config_, &names));
    names.WarnOfUnused(IsUnusedPaliGemmaTensor);
    spec_.family = "paligemma";
    spec_.num_parameters = names.used_elements();
    spec_.weight_bytes = names.used_bytes();
    FillTextSpec(config_.text, tensors_.text, &spec_);
    spec_.sharing = Sharing::kWholePrefix;
    spec_.chat_template = "paligemma";
    spec_.image = ImageSpec{.token_id = config_.image_token_id,
                            .tokens_per_image = static_cast<int32_t>(config_.vision.num_rows()),
                            .image_size = config_.vision.image_size,
                            .patch_size = config_.vision.patch_size};
    return absl::OkStatus();
  }

  const ModelSpec& spec() const override { return spec_; }

  absl::StatusOr<std::unique_ptr<Model>> Load(Backend* backend, const ModelLimits& limits,
                                              const LoadProgress& progress) override {
    WeightReader reader(checkpoint_, backend, progress, spec_.weight_bytes);
    PaliGemmaVision vision{
        .shape = config_.vision, .text_hidden_size = config_.text.hidden_size, .backend = backend};
    PREFIXD_ASSIGN_OR_RETURN(vision.tower,
                             LoadSiglipTower(config_.vision, tensors_.vision, &reader));
    PREFIXD_ASSIGN_OR_RETURN(vision.projector, ReadLinear(tensors_.projector, &reader));
    PREFIXD_ASSIGN_OR_RETURN(auto decoder,
                             LlamaDecoder::Load(config_.text, tensors_.text, limits, &reader));
    PREFIXD_RETURN_IF_ERROR(checkpoint_.CheckUnchanged());
    return std::make_unique<PaliGemmaModel>(spec_, std::move(vision), std::move(decoder));
  }

 private:
  const PaliGemmaConfig config_;
  const Checkpoint checkpoint_;
  PaliGemmaTensors tensors_;
  ModelSpec spec_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<ModelFiles>> OpenPaliGemma(const std::string& directory,
                                                          const ConfigReader& config) {
  const PaliGemmaConfig paligemma = ReadPaliGemmaConfig(config);
  PREFIXD_RETURN_IF_ERROR(config.status());
  PREFIXD_ASSIGN_OR_RETURN(Checkpoint checkpoint, Checkpoint::Open(directory));
  auto files = std::make_unique<PaliGemmaFiles>(paligemma, std::move(checkpoint));
  PREFIXD_RETURN_IF_ERROR(files->Check(directory, config));
  return files;
}

}  // namespace prefixd
