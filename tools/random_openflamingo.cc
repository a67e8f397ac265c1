// tiny-openflamingo: an OpenFlamingo directory with an MPT of four layers, gated blocks before two
// of them, a perceiver of two layers and a tower of four patches.
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "tools/random_model.h"
#include "tools/random_model_files.h"
#include "tools/random_plain.h"

namespace prefixd {
namespace {

using nlohmann::json;

constexpr int kHeads = 2, kHeadDim = 16, kInner = kHeads * kHeadDim, kRatio = 2;
constexpr int kPerceiverLayers = 2, kLatents = 8, kEvery = 2;
constexpr int kEndOfChunk = 2, kImage = 3, kPad = 4;

void AddLayerNorm(const std::string& name, int64_t size, std::vector<TensorToWrite>* out) {
  out->push_back({.name = name + ".weight", .shape = {size}});
  out->push_back({.name = name + ".bias", .shape = {size}});
}

void AddTower(const RandomVisionShape& shape, std::vector<TensorToWrite>* out) {
  const int64_t D = shape.hidden_size, I = shape.intermediate_size, P = shape.patch_size;
  const int64_t grid = shape.image_size / shape.patch_size;
  const std::string tower = "vision_encoder.";
  out->push_back({.name = tower + "class_embedding", .shape = {D}});
  out->push_back({.name = tower + "patch_embedding.weight", .shape = {D, 3, P, P}});
  out->push_back({.name = tower + "position_embedding.weight", .shape = {grid * grid + 1, D}});
  AddLayerNorm(tower + "pre_layernorm", D, out);
  for (int i = 0; i < shape.num_layers; ++i) {
    const std::string layer = absl::StrCat(tower, "layers.", i, ".");
    AddLayerNorm(layer + "layer_norm1", D, out);
    for (const char* part : {"q_proj", "k_proj", "v_proj", "out_proj"}) {
      AddLinear(absl::StrCat(layer, "self_attn.", part), D, D, true, out);
    }
    AddLayerNorm(layer + "layer_norm2", D, out);
    AddLinear(layer + "mlp.fc1", I, D, true, out);
    AddLinear(layer + "mlp.fc2", D, I, true, out);
  }
  AddLayerNorm(tower + "post_layernorm", D, out);
}

void AddFeedForward(const std::string& name, int64_t size, std::vector<TensorToWrite>* out) {
  AddLayerNorm(name + ".0", size, out);
  AddLinear(name + ".1", kRatio * size, size, false, out);
  AddLinear(name + ".3", size, kRatio * size, false, out);
}

void AddPerceiver(int64_t size, std::vector<TensorToWrite>* out) {
  out->push_back({.name = "perceiver.latents", .shape = {kLatents, size}});
  for (int i = 0; i < kPerceiverLayers; ++i) {
    const std::string attention = absl::StrCat("perceiver.layers.", i, ".0.");
    AddLayerNorm(attention + "norm_media", size, out);
    AddLayerNorm(attention + "norm_latents", size, out);
    AddLinear(attention + "to_q", kInner, size, false, out);
    AddLinear(attention + "to_kv", 2 * kInner, size, false, out);
    AddLinear(attention + "to_out", size, kInner, false, out);
    AddFeedForward(absl::StrCat("perceiver.layers.", i, ".1"), size, out);
  }
  AddLayerNorm("perceiver.norm", size, out);
}

void AddGatedBlock(int layer, int64_t hidden_size, int64_t vision_size,
                   std::vector<TensorToWrite>* out) {
  const std::string block = absl::StrCat("gated_cross_attn_layers.", layer, ".");
  AddLayerNorm(block + "attn.norm", hidden_size, out);
  AddLinear(block + "attn.to_q", kInner, hidden_size, false, out);
  AddLinear(block + "attn.to_kv", 2 * kInner, vision_size, false, out);
  AddLinear(block + "attn.to_out", hidden_size, kInner, false, out);
  out->push_back({.name = block + "attn_gate", .shape = {1}});
  out->push_back({.name = block + "ff_gate", .shape = {1}});
  AddFeedForward(block + "ff", hidden_size, out);
}

std::vector<TensorToWrite> Tensors(const RandomModelShape& shape) {
  std::vector<TensorToWrite> tensors;
  AddTower(*shape.vision, &tensors);
  AddPerceiver(shape.vision->hidden_size, &tensors);
  for (int layer = kEvery - 1; layer < shape.num_layers; layer += kEvery) {
    AddGatedBlock(layer, shape.hidden_size, shape.vision->hidden_size, &tensors);
  }
  AddMptTensors(shape, "lang_encoder.", &tensors);
  return tensors;
}

// Gates are open, so that images matter.
RandomDistribution DistributionOf(const TensorToWrite& tensor) {
  if (absl::EndsWith(tensor.name, "_gate")) return {1.0f, 0.1f};
  return UsualDistribution(tensor);
}

json Config(const RandomModelShape& shape, DType dtype) {
  const RandomVisionShape& vision = *shape.vision;
  return {
      {"model_type", "openflamingo"},
      {"architectures", {"OpenFlamingoForConditionalGeneration"}},
      {"cross_attn_every_n_layers", kEvery},
      {"only_attend_immediate_media", true},
      {"vision_tokens_post_layernorm", false},
      {"media_token_id", kImage},
      {"eoc_token_id", kEndOfChunk},
      {"pad_token_id", kPad},
      {"torch_dtype", DTypeInConfig(dtype)},
      {"vision_config",
       {{"model_type", "clip_vision_model"},
        {"hidden_size", vision.hidden_size},
        {"intermediate_size", vision.intermediate_size},
        {"num_hidden_layers", vision.num_layers},
        {"num_attention_heads", vision.num_heads},
        {"image_size", vision.image_size},
        {"patch_size", vision.patch_size},
        {"hidden_act", "quick_gelu"}}},
      {"perceiver_config",
       {{"dim", vision.hidden_size},
        {"depth", kPerceiverLayers},
        {"heads", kHeads},
        {"dim_head", kHeadDim},
        {"num_latents", kLatents},
        {"ff_mult", kRatio}}},
      {"cross_attention_config", {{"heads", kHeads}, {"dim_head", kHeadDim}, {"ff_mult", kRatio}}},
      {"text_config", MptConfigJson(shape)}};
}

absl::Status WriteFiles(const RandomModelShape& shape, DType dtype, const std::string& directory) {
  const int side = shape.vision->image_size;
  PREFIXD_RETURN_IF_ERROR(WriteJson(directory, "config.json", Config(shape, dtype)));
  PREFIXD_RETURN_IF_ERROR(WriteNeoxTokenizer({"<|endofchunk|>", "<image>", "<PAD>"}, directory));
  PREFIXD_RETURN_IF_ERROR(
      WriteJson(directory, "generation_config.json",
                {{"eos_token_id", {kEndOfChunk, kNeoxEndOfText}}, {"pad_token_id", kPad}}));
  return WriteJson(directory, "preprocessor_config.json",
                   {{"image_processor_type", "CLIPImageProcessor"},
                    {"do_convert_rgb", true},
                    {"do_resize", true},
                    {"size", {{"shortest_edge", side}}},
                    {"resample", 3},
                    {"do_center_crop", true},
                    {"crop_size", {{"height", side}, {"width", side}}},
                    {"crop_rounding", "half_even"},
                    {"do_rescale", true},
                    {"rescale_factor", 0.00392156862745098},
                    {"do_normalize", true},
                    {"image_mean", {0.48145466, 0.4578275, 0.40821073}},
                    {"image_std", {0.26862954, 0.26130258, 0.27577711}}});
}

constexpr RandomModelFamily kOpenFlamingo = {
    .tensors = Tensors, .distribution = DistributionOf, .write_files = WriteFiles};

}  // namespace

const RandomModelShape& TinyOpenFlamingo() {
  static const auto* const kShape =
      new RandomModelShape{.name = "tiny-openflamingo",
                           .hidden_size = 64,
                           .intermediate_size = 256,
                           .num_layers = 4,
                           .num_heads = 4,
                           .num_kv_heads = 4,
                           .vocab_size = 320,
                           .max_positions = 1024,
                           .vision = RandomVisionShape{.hidden_size = 32,
                                                       .intermediate_size = 64,
                                                       .num_layers = 2,
                                                       .num_heads = 2,
                                                       .image_size = 28,
                                                       .patch_size = 14},
                           .family = &kOpenFlamingo};
  return *kShape;
}

}  // namespace prefixd
