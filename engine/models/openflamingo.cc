// OpenFlamingo (arXiv:2308.01390, after Flamingo, arXiv:2204.14198) in one directory: a CLIP tower
// and a perceiver make keys and values of every image; gated blocks before every n-th layer of a
// language model attend to those of the latest image before a row.
#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/check.h"
#include "base/status_macros.h"
#include "engine/models/families.h"
#include "engine/models/generation_config.h"
#include "engine/models/openflamingo_config.h"
#include "engine/models/openflamingo_gated.h"
#include "engine/models/openflamingo_vision.h"

namespace prefixd {
namespace {

constexpr int kMaxImages = 64;  // Demonstrations of a few-shot prompt, and the query.

// --- Tensors

std::string CanonicalVisionName(absl::string_view name) {
  if (absl::ConsumePrefix(&name, "pre_layernorm.")) return absl::StrCat("pre_layrnorm.", name);
  if (absl::StartsWith(name, "layers.")) return absl::StrCat("encoder.", name);
  if (absl::StartsWith(name, "post_layernorm.")) return std::string(name);
  return absl::StrCat("embeddings.", name);
}

bool IsUnusedFlamingoTensor(absl::string_view name) {
  return absl::StartsWith(name, "vision.post_layernorm.") || name == "lm_head.weight" ||
         name == "text.lm_head.weight" || name == "text.embed_out.weight" ||
         name == "vision.embeddings.position_ids" || IsGptNeoxBuffer(name);
}

struct OpenFlamingoTensors {
  FlamingoVisionTensors vision;
  std::vector<GatedTensors> gated;
  FlamingoTextTensors text;
};

absl::StatusOr<OpenFlamingoTensors> FindOpenFlamingoTensors(const OpenFlamingoConfig& config,
                                                            WeightNames* names) {
  OpenFlamingoTensors tensors;
  PREFIXD_ASSIGN_OR_RETURN(tensors.vision, FindFlamingoVisionTensors(config, names));
  for (const int layer : config.gated_layers()) {
    PREFIXD_ASSIGN_OR_RETURN(
        const GatedTensors block,
        FindGatedTensors(config.gated, absl::StrCat("gated_cross_attn_layers.", layer, "."),
                         names));
    tensors.gated.push_back(block);
  }
  PREFIXD_ASSIGN_OR_RETURN(tensors.text, FindFlamingoTextTensors(config.text, names));
  return tensors;
}

// --- The model

class OpenFlamingoModel final : public Model {
 public:
  OpenFlamingoModel(ModelSpec spec, FlamingoVision vision, std::unique_ptr<TextDecoder> decoder)
      : spec_(std::move(spec)), vision_(std::move(vision)), decoder_(std::move(decoder)) {}

  absl::Status LoadBlocks(const OpenFlamingoTensors& tensors, const ModelLimits& limits,
                          WeightReader* reader) {
    const OpenFlamingoConfig& config = vision_.config;
    block_before_.assign(decoder_->num_layers(), -1);
    for (const int layer : config.gated_layers()) {
      block_before_[layer] = static_cast<int>(blocks_.size());
      PREFIXD_ASSIGN_OR_RETURN(auto block, ReadGatedBlock(tensors.gated[blocks_.size()], reader));
      blocks_.push_back(std::move(block));
    }
    segments_.reserve(limits.max_batch_rows);
    PREFIXD_ASSIGN_OR_RETURN(scratch_, GatedCrossAttentionScratch::Allocate(
                                           config.gated, limits.max_batch_rows, reader->backend()));
    return absl::OkStatus();
  }

  const ModelSpec& spec() const override { return spec_; }

  absl::Status Forward(const Batch& batch, const KvView& kv, const Tensor& logits) override {
    PREFIXD_CHECK(batch.features.empty());
    PREFIXD_CHECK(kv.layers.size() == static_cast<size_t>(decoder_->num_layers()));
    PREFIXD_ASSIGN_OR_RETURN(const Tensor x, decoder_->Begin(batch));
    for (int layer = 0; layer < decoder_->num_layers(); ++layer) {
      const int block = block_before_[layer];
      if (block >= 0) {
        FindMedia(batch, block);
        PREFIXD_RETURN_IF_ERROR(GatedCrossAttentionForward(
            vision_.config.gated, blocks_[block], segments_, scratch_, vision_.backend, x));
      }
      PREFIXD_RETURN_IF_ERROR(decoder_->RunLayer(layer, kv, x));
    }
    return decoder_->Finish(batch, x, logits);
  }

  absl::Status TokenLogprobs(const Tensor& states, absl::Span<const int32_t> rows,
                             absl::Span<const int32_t> ids, absl::Span<float> y) override {
    return decoder_->TokenLogprobs(states, rows, ids, y);
  }

  absl::StatusOr<std::unique_ptr<ImageEncoding>> StartImage(
      absl::Span<const float> pixels) override {
    return StartFlamingoImage(pixels, &vision_);
  }

 private:
  // The rows that see an image, with the keys and values of `block`.
  void FindMedia(const Batch& batch, int block) {
    const int64_t width = vision_.config.media_width();
    segments_.clear();
    for (const MediaRows& rows : batch.media) {
      segments_.push_back({.row_begin = rows.row_begin,
                           .num_rows = rows.count,
                           .kv = rows.features.Cols(block * width, width)});
    }
  }

  // Constant after LoadBlocks.
  const ModelSpec spec_;
  const FlamingoVision vision_;
  const std::unique_ptr<TextDecoder> decoder_;
  std::vector<GatedCrossAttentionBlock> blocks_;
  std::vector<int> block_before_;  // By decoder layer; -1: none.

  // Scratch of one Forward.
  GatedCrossAttentionScratch scratch_;
  std::vector<CrossSegment> segments_;
};

// --- The family

class OpenFlamingoFiles final : public ModelFiles {
 public:
  OpenFlamingoFiles(const OpenFlamingoConfig& config, Checkpoint checkpoint)
      : config_(config), checkpoint_(std::move(checkpoint)) {}

  absl::Status Check(const std::string& directory, const ConfigReader& config) {
    PREFIXD_RETURN_IF_ERROR(ReadGeneration(directory, config));
    PREFIXD_ASSIGN_OR_RETURN(WeightNames names,
                             WeightNames::Create(checkpoint_, [this](absl::string_view name) {
                               if (absl::ConsumePrefix(&name, "vision_encoder.")) {
                                 return absl::StrCat("vision.", CanonicalVisionName(name));
                               }
                               if (absl::ConsumePrefix(&name, "lang_encoder.")) {
                                 return CanonicalFlamingoTextName(config_.text, name);
                               }
                               return std::string(name);
                             }));
    PREFIXD_ASSIGN_OR_RETURN(tensors_, FindOpenFlamingoTensors(config_, &names));
    names.WarnOfUnused(IsUnusedFlamingoTensor);
    spec_.family = "openflamingo";
    spec_.num_parameters = names.used_elements();
    spec_.weight_bytes = names.used_bytes();
    FillTextSpec(config_.text, tensors_.text, &spec_);
    spec_.chat_template = "openflamingo";
    spec_.image = ImageSpec{.token_id = config_.media_token_id,
                            .tokens_per_image = 1,
                            .image_size = config_.vision.image_size,
                            .patch_size = config_.vision.patch_size,
                            .max_images = kMaxImages,
                            .cross_attended = true};
    return absl::OkStatus();
  }

  const ModelSpec& spec() const override { return spec_; }

  absl::StatusOr<std::unique_ptr<Model>> Load(Backend* backend, const ModelLimits& limits,
                                              const LoadProgress& progress) override {
    WeightReader reader(checkpoint_, backend, progress, spec_.weight_bytes);
    PREFIXD_ASSIGN_OR_RETURN(FlamingoVision vision,
                             LoadFlamingoVision(config_, tensors_.vision, &reader));
    PREFIXD_ASSIGN_OR_RETURN(auto decoder,
                             LoadFlamingoText(config_.text, tensors_.text, limits, &reader));
    auto model = std::make_unique<OpenFlamingoModel>(spec_, std::move(vision), std::move(decoder));
    PREFIXD_RETURN_IF_ERROR(model->LoadBlocks(tensors_, limits, &reader));
    PREFIXD_RETURN_IF_ERROR(checkpoint_.CheckUnchanged());
    return model;
  }

 private:
  // A generation ends with the chunk, and with the text as that of the language model alone does.
  absl::Status ReadGeneration(const std::string& directory, const ConfigReader& config) {
    const FlamingoTextSizes sizes = SizesOf(config_.text);
    const ConfigReader text = config.Object("text_config");
    PREFIXD_ASSIGN_OR_RETURN(
        spec_.generation,
        ReadGenerationDefaults(directory, {config, text}, sizes.vocab_size, sizes.end_of_text));
    std::vector<int32_t> ends = {sizes.end_of_text};
    text.IntOrList("eos_token_id", 0, sizes.vocab_size - 1, kMaxEosTokens, &ends);
    ends.push_back(config_.eoc_token_id);
    std::vector<int32_t>& ids = spec_.generation.eos_token_ids;
    for (const int32_t end : ends) {
      const bool is_new = std::find(ids.begin(), ids.end(), end) == ids.end();
      if (is_new && end < sizes.vocab_size) ids.push_back(end);
    }
    return config.status();
  }

  const OpenFlamingoConfig config_;
  const Checkpoint checkpoint_;
  OpenFlamingoTensors tensors_;
  ModelSpec spec_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<ModelFiles>> OpenOpenFlamingo(const std::string& directory,
                                                             const ConfigReader& config) {
  const OpenFlamingoConfig flamingo = ReadOpenFlamingoConfig(config);
  PREFIXD_RETURN_IF_ERROR(config.status());
  PREFIXD_ASSIGN_OR_RETURN(Checkpoint checkpoint, Checkpoint::Open(directory));
  auto files = std::make_unique<OpenFlamingoFiles>(flamingo, std::move(checkpoint));
  PREFIXD_RETURN_IF_ERROR(files->Check(directory, config));
  return files;
}

}  // namespace prefixd
