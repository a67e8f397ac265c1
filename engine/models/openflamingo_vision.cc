#include "engine/models/openflamingo_vision.h"

#include <numeric>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/status_macros.h"
#include "engine/models/weight_layout.h"

namespace prefixd {
namespace {

// --- Tensors

absl::StatusOr<FlamingoVisionTensors::Layer> FindPerceiverLayer(const PerceiverShape& shape,
                                                                const std::string& prefix,
                                                                WeightNames* names) {
  const int64_t D = shape.dim, inner = shape.inner(), I = shape.ff_size;
  const std::string attention = prefix + "0.", ff = prefix + "1.";
  FlamingoVisionTensors::Layer layer{};
  PREFIXD_ASSIGN_OR_RETURN(layer.media_norm, FindLayerNorm(attention + "norm_media", D, names));
  PREFIXD_ASSIGN_OR_RETURN(layer.latents_norm, FindLayerNorm(attention + "norm_latents", D, names));
  PREFIXD_ASSIGN_OR_RETURN(layer.q, names->Find(attention + "to_q.weight", {inner, D}));
  PREFIXD_ASSIGN_OR_RETURN(layer.kv, names->Find(attention + "to_kv.weight", {2 * inner, D}));
  PREFIXD_ASSIGN_OR_RETURN(layer.output, names->Find(attention + "to_out.weight", {D, inner}));
  PREFIXD_ASSIGN_OR_RETURN(layer.ff_norm, FindLayerNorm(ff + "0", D, names));
  PREFIXD_ASSIGN_OR_RETURN(layer.up, names->Find(ff + "1.weight", {I, D}));
  PREFIXD_ASSIGN_OR_RETURN(layer.down, names->Find(ff + "3.weight", {D, I}));
  return layer;
}

absl::StatusOr<PerceiverLayer> ReadPerceiverLayer(const FlamingoVisionTensors::Layer& in,
                                                  WeightReader* reader) {
  PerceiverLayer layer;
  PREFIXD_ASSIGN_OR_RETURN(layer.media_norm, ReadLayerNorm(in.media_norm, reader));
  PREFIXD_ASSIGN_OR_RETURN(layer.latents_norm, ReadLayerNorm(in.latents_norm, reader));
  PREFIXD_ASSIGN_OR_RETURN(layer.ff_norm, ReadLayerNorm(in.ff_norm, reader));
  PREFIXD_ASSIGN_OR_RETURN(layer.q, reader->ReadMatrix({in.q}));
  PREFIXD_ASSIGN_OR_RETURN(layer.kv, reader->ReadMatrix({in.kv}));
  PREFIXD_ASSIGN_OR_RETURN(layer.output, reader->ReadMatrix({in.output}));
  PREFIXD_ASSIGN_OR_RETURN(layer.up, reader->ReadMatrix({in.up}));
  PREFIXD_ASSIGN_OR_RETURN(layer.down, reader->ReadMatrix({in.down}));
  return layer;
}

// --- Encoding an image

class FlamingoEncoding final : public ImageEncoding {
 public:
  explicit FlamingoEncoding(const FlamingoVision* vision)
      : vision_(vision),
        num_steps_(static_cast<int>(vision->tower.layers.size() + vision->layers.size())) {}

  absl::Status Start(absl::Span<const float> pixels) {
    const ClipShape& shape = vision_->config.vision;
    const PerceiverShape& perceiver = vision_->config.perceiver;
    Backend* const backend = vision_->backend;
    const int64_t area = int64_t{shape.image_size} * shape.image_size;
    PREFIXD_CHECK(static_cast<int64_t>(pixels.size()) == 3 * area);
    PREFIXD_ASSIGN_OR_RETURN(pixels_, backend->NewTensor(3, area));
    PREFIXD_ASSIGN_OR_RETURN(hidden_, backend->NewTensor(shape.num_rows(), shape.hidden_size));
    PREFIXD_ASSIGN_OR_RETURN(latents_, backend->NewTensor(perceiver.num_latents, perceiver.dim));
    PREFIXD_ASSIGN_OR_RETURN(features_,
                             backend->NewTensor(perceiver.num_latents, vision_->media_kv->rows()));
    return backend->Upload(pixels, pixels_.view);
  }

  int steps_left() const override { return num_steps_ - steps_done_; }
  int rows_per_step() const override { return static_cast<int>(vision_->config.vision.num_rows()); }

  absl::Status Step() override {
    PREFIXD_CHECK(steps_left() > 0);
    const int num_tower_layers = static_cast<int>(vision_->tower.layers.size());
    if (steps_done_ < num_tower_layers) {
      PREFIXD_RETURN_IF_ERROR(RunTower(steps_done_));
    } else {
      PREFIXD_RETURN_IF_ERROR(RunPerceiver(steps_done_ - num_tower_layers));
    }
    ++steps_done_;
    return steps_left() > 0 ? absl::OkStatus() : MakeFeatures();
  }

  OwnedTensor TakeFeatures() override {
    PREFIXD_CHECK(steps_left() == 0);
    return std::move(features_);
  }

 private:
  absl::Status RunTower(int layer) {
    const ClipShape& shape = vision_->config.vision;
    const ClipTower& tower = vision_->tower;
    if (layer == 0) {
      PREFIXD_RETURN_IF_ERROR(ClipEmbed(shape, tower.embeddings, pixels_.view, tower.scratch,
                                        vision_->backend, hidden_.view));
    }
    return ClipLayerForward(shape, tower.layers[layer], tower.scratch, vision_->backend,
                            hidden_.view);
  }

  absl::Status RunPerceiver(int layer) {
    const ClipShape& shape = vision_->config.vision;
    Backend* const backend = vision_->backend;
    const Tensor rows = hidden_.view.Rows(1, shape.num_patches());  // Without the class row.
    if (layer == 0) {
      if (vision_->post_norm.has_value()) {
        PREFIXD_RETURN_IF_ERROR(backend->LayerNorm(rows, vision_->post_norm->weight.view,
                                                   vision_->post_norm->bias.view, shape.norm_eps,
                                                   rows));
      }
      PREFIXD_RETURN_IF_ERROR(backend->CopyRows(vision_->latents.view, vision_->latent_rows,
                                                vision_->latent_rows, latents_.view));
    }
    return PerceiverLayerForward(vision_->config.perceiver, vision_->layers[layer], rows,
                                 vision_->scratch, backend, latents_.view);
  }

  absl::Status MakeFeatures() {
    Backend* const backend = vision_->backend;
    PREFIXD_RETURN_IF_ERROR(backend->LayerNorm(latents_.view, vision_->norm.weight.view,
                                               vision_->norm.bias.view,
                                               vision_->config.perceiver.norm_eps, latents_.view));
    return backend->Linear(latents_.view, *vision_->media_kv, {}, features_.view);
  }

  const FlamingoVision* const vision_;
  const int num_steps_;
  int steps_done_ = 0;
  OwnedTensor pixels_;    // [3, S * S].
  OwnedTensor hidden_;    // [num_rows, Dv].
  OwnedTensor latents_;   // [num_latents, dim].
  OwnedTensor features_;  // [num_latents, blocks * media_width].
};

}  // namespace

absl::StatusOr<FlamingoVisionTensors> FindFlamingoVisionTensors(const OpenFlamingoConfig& config,
                                                                WeightNames* names) {
  const PerceiverShape& shape = config.perceiver;
  FlamingoVisionTensors tensors;
  PREFIXD_ASSIGN_OR_RETURN(
      tensors.tower, FindClipTensors(config.vision, config.num_vision_layers, "vision.", names));
  if (config.normalise_vision_rows) {
    PREFIXD_ASSIGN_OR_RETURN(tensors.post_norm,
                             FindLayerNorm("vision.post_layernorm", shape.dim, names));
  }
  PREFIXD_ASSIGN_OR_RETURN(tensors.latents,
                           names->Find("perceiver.latents", {shape.num_latents, shape.dim}));
  for (int i = 0; i < config.num_perceiver_layers; ++i) {
    PREFIXD_ASSIGN_OR_RETURN(
        auto layer, FindPerceiverLayer(shape, absl::StrCat("perceiver.layers.", i, "."), names));
    tensors.layers.push_back(layer);
  }
  PREFIXD_ASSIGN_OR_RETURN(tensors.norm, FindLayerNorm("perceiver.norm", shape.dim, names));
  for (const int layer : config.gated_layers()) {
    PREFIXD_ASSIGN_OR_RETURN(
        const TensorInfo* const kv,
        names->Find(absl::StrCat("gated_cross_attn_layers.", layer, ".attn.to_kv.weight"),
                    {config.media_width(), shape.dim}));
    tensors.media_kv.push_back(kv);
  }
  return tensors;
}

absl::StatusOr<FlamingoVision> LoadFlamingoVision(const OpenFlamingoConfig& config,
                                                  const FlamingoVisionTensors& tensors,
                                                  WeightReader* reader) {
  const PerceiverShape& shape = config.perceiver;
  FlamingoVision vision{.config = config, .backend = reader->backend()};
  PREFIXD_ASSIGN_OR_RETURN(vision.tower, LoadClipTower(config.vision, tensors.tower, reader));
  if (tensors.post_norm.weight != nullptr) {
    PREFIXD_ASSIGN_OR_RETURN(vision.post_norm, ReadLayerNorm(tensors.post_norm, reader));
  }
  PREFIXD_ASSIGN_OR_RETURN(vision.latents,
                           reader->ReadTensor(shape.num_latents, shape.dim, {tensors.latents}));
  for (const FlamingoVisionTensors::Layer& layer : tensors.layers) {
    PREFIXD_ASSIGN_OR_RETURN(PerceiverLayer loaded, ReadPerceiverLayer(layer, reader));
    vision.layers.push_back(std::move(loaded));
  }
  PREFIXD_ASSIGN_OR_RETURN(vision.norm, ReadLayerNorm(tensors.norm, reader));
  PREFIXD_ASSIGN_OR_RETURN(vision.media_kv, reader->ReadMatrix(tensors.media_kv));
  PREFIXD_ASSIGN_OR_RETURN(vision.scratch, PerceiverScratch::Allocate(shape, vision.backend));
  vision.latent_rows.resize(shape.num_latents);
  std::iota(vision.latent_rows.begin(), vision.latent_rows.end(), 0);
  return vision;
}

absl::StatusOr<std::unique_ptr<ImageEncoding>> StartFlamingoImage(absl::Span<const float> pixels,
                                                                  const FlamingoVision* vision) {
  auto encoding = std::make_unique<FlamingoEncoding>(vision);
  PREFIXD_RETURN_IF_ERROR(encoding->Start(pixels));
  return encoding;
}

}  // namespace prefixd
