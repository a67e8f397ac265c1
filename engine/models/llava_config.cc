#include "engine/models/llava_config.h"

#include <algorithm>
#include <string>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "engine/models/families.h"
#include "engine/models/tower_config.h"

namespace prefixd {
namespace {

constexpr size_t kMaxFeatureLayers = 16;

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

void ReadVisionConfig(const ConfigReader& root, LlavaConfig* llava) {
  ClipShape shape = DefaultTower(root.Has("vision_config"), &llava->num_vision_layers);
  const ConfigReader config = root.Object("vision_config");
  RefuseOtherModelType(config, "clip_vision_model");
  ReadTowerKeys(config, &shape, &llava->num_vision_layers);
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
