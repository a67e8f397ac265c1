#include "engine/models/llava_config.h"

#include <algorithm>
#include <string>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "engine/models/families.h"

namespace prefixd {
namespace {

constexpr size_t kMaxFeatureLayers = 16;
constexpr int kMaxPatches = 16384;

// The tower of a config without vision_config (LlavaConfig) or the defaults of one that is given in
// part (CLIPVisionConfig).
ClipShape DefaultTower(bool has_vision_config, int* num_layers) {
  ClipShape shape{.hidden_size = 768,
                  .intermediate_size = 3072,
                  .num_heads = 12,
                  .image_size = 224,
                  .patch_size = 32,
                  .norm_eps = 1e-5f,
                  .activation = Activation::kQuickGelu};
  *num_layers = 12;
  if (!has_vision_config) {
    shape.hidden_size = 1024;
    shape.intermediate_size = 4096;
    shape.num_heads = 16;
    shape.image_size = 336;
    shape.patch_size = 14;
    *num_layers = 24;
  }
  return shape;
}

void RefuseOtherModelType(const ConfigReader& config, const std::string& expected) {
  std::string model_type = expected;
  config.String("model_type", &model_type);
  if (model_type != expected) {
    config.Unsupported("model_type", absl::StrCat("\"", absl::CHexEscape(model_type.substr(0, 60)),
                                                  "\", expected \"", expected, "\""));
  }
}

void ReadVisionConfig(const ConfigReader& root, LlavaConfig* llava) {
  ClipShape shape = DefaultTower(root.Has("vision_config"), &llava->num_vision_layers);
  const ConfigReader config = root.Object("vision_config");
  RefuseOtherModelType(config, "clip_vision_model");
  config.Int64("hidden_size", 1, 65536, &shape.hidden_size);
  config.Int64("intermediate_size", 1, 1 << 20, &shape.intermediate_size);
  config.Int("num_hidden_layers", 1, 1024, &llava->num_vision_layers);
  config.Int("num_attention_heads", 1, 1024, &shape.num_heads);
  config.Int("image_size", 1, 4096, &shape.image_size);
  config.Int("patch_size", 1, shape.image_size, &shape.patch_size);
  config.Float("layer_norm_eps", 0, 1, &shape.norm_eps);
  int num_channels = 3;
  config.Int("num_channels", 1, 1024, &num_channels);
  if (num_channels != 3) {
    config.Unsupported("num_channels", absl::StrCat(num_channels, ", expected 3"));
  }
  ReadActivation(config, "hidden_act", &shape.activation);
  RefuseUnsupported(config);
  if (shape.hidden_size % shape.num_heads != 0) {
    config.Invalid(
        "num_attention_heads",
        absl::StrCat(shape.num_heads, " does not divide hidden_size ", shape.hidden_size));
  }
  if (shape.num_patches() > kMaxPatches) {
    config.Invalid("patch_size", absl::StrCat(shape.patch_size, " makes ", shape.num_patches(),
                                              " patches, the limit is ", kMaxPatches));
  }
  llava->vision = shape;
}

void ReadFeatureLayers(const ConfigReader& config, LlavaConfig* llava) {
  const int num_states = llava->num_vision_layers + 1;
  std::vector<int32_t> layers = {-2};
  config.IntOrList("vision_feature_layer", -num_states, num_states - 1, kMaxFeatureLayers, &layers);
  if (layers.empty()) config.Invalid("vision_feature_layer", "is an empty list");
  for (const int32_t layer : layers) {
    llava->feature_states.push_back(layer < 0 ? num_states + layer : layer);
  }
}

}  // namespace

int LlavaConfig::num_layers_to_run() const {
  return *std::max_element(feature_states.begin(), feature_states.end());
}

LlavaConfig ReadLlavaConfig(const ConfigReader& config) {
  LlavaConfig llava;
  if (config.Has("mm_vision_tower")) {
    config.Unsupported("mm_vision_tower",
                       "the original LLaVA layout, expected the Hugging Face layout");
  }
  RefuseOtherModelType(config.Object("text_config"), "llama");
  llava.text = ReadLlamaConfig(config.Object("text_config"));
  ReadVisionConfig(config, &llava);
  ReadFeatureLayers(config, &llava);
  RefuseUnsupported(config);

  constexpr int64_t kMaxTokenId = (1 << 22) - 1;
  config.Int("image_token_id", 0, kMaxTokenId, &llava.image_token_id);
  config.Int("image_token_index", 0, kMaxTokenId, &llava.image_token_id);
  std::string strategy = "default";
  config.String("vision_feature_select_strategy", &strategy);
  if (strategy != "default" && strategy != "full") {
    config.Unsupported("vision_feature_select_strategy",
                       absl::StrCat("\"", absl::CHexEscape(strategy.substr(0, 60)),
                                    "\" is neither default nor full"));
  }
  llava.keep_class_row = strategy == "full";
  ReadActivation(config, "projector_hidden_act", &llava.projector_activation);
  config.Bool("multimodal_projector_bias", &llava.projector_bias);
  // Either level may ask for one copy; the outer one is what the reference ties by.
  config.Bool("tie_word_embeddings", &llava.text.tie_word_embeddings);
  return llava;
}

}  // namespace prefixd
