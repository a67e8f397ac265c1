#include "engine/models/llava_config.h"

#include <algorithm>
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "engine/models/families.h"
#include "engine/models/tower_config.h"

namespace prefixd {
namespace {

constexpr size_t kMaxFeatureLayers = 16;
constexpr int kMaxProjectorLayers = 8;

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
  const char* const key = llava->is_original ? "mm_vision_select_layer" : "vision_feature_layer";
  std::vector<int32_t> layers = {-2};
  config.IntOrList(key, -num_states, num_states - 1, llava->is_original ? 1 : kMaxFeatureLayers,
                   &layers);
  if (layers.empty()) config.Invalid(key, "is an empty list");
  for (const int32_t layer : layers) {
    llava->feature_states.push_back(layer < 0 ? num_states + layer : layer);
  }
}

bool IsOriginal(const ConfigReader& config) {
  std::string model_type, architecture;
  config.String("model_type", &model_type);
  config.FirstString("architectures", &architecture);
  return !config.Has("text_config") &&
         (config.Has("mm_vision_tower") || model_type == "llava_llama" ||
          architecture == "LlavaLlamaForCausalLM");
}

// CLIP ViT-L/14 as named by mm_vision_tower, unless a converter wrote down another shape.
void ReadOriginalTower(const ConfigReader& root, LlavaConfig* llava) {
  root.String("mm_vision_tower", &llava->tower_name);
  llava->vision = DefaultTower(/*has_vision_config=*/false, &llava->num_vision_layers);
  if (absl::EndsWith(llava->tower_name, "clip-vit-large-patch14")) llava->vision.image_size = 224;
  const ConfigReader config = root.Object("vision_config");
  RefuseOtherModelType(config, "clip_vision_model");
  ReadTowerKeys(config, &llava->vision, &llava->num_vision_layers);
}

// linear, mlpNx_gelu or identity.
void ReadProjectorType(const ConfigReader& config, LlavaConfig* llava) {
  std::string type = "linear";
  config.String("mm_projector_type", &type);
  absl::string_view count = type;
  llava->is_linear_projector = type == "linear";
  if (type == "linear" || type == "identity") {
    llava->num_projector_layers = type == "linear" ? 1 : 0;
  } else if (!absl::ConsumePrefix(&count, "mlp") || !absl::ConsumeSuffix(&count, "x_gelu") ||
             !absl::SimpleAtoi(count, &llava->num_projector_layers) ||
             llava->num_projector_layers < 1 || llava->num_projector_layers > kMaxProjectorLayers) {
    config.Unsupported("mm_projector_type",
                       absl::StrCat(Quoted(type), " is not one of linear, mlpNx_gelu (N in 1..",
                                    kMaxProjectorLayers, "), identity"));
    llava->num_projector_layers = 1;
  }
  if (llava->num_projector_layers == 0 && llava->feature_size() != llava->text.hidden_size) {
    config.Invalid("mm_projector_type",
                   absl::StrCat("identity, but features have ", llava->feature_size(),
                                " values and hidden_size is ", llava->text.hidden_size));
  }
  int64_t feature_size = llava->feature_size();
  config.Int64("mm_hidden_size", 1, 1 << 20, &feature_size);
  // Of a tower that is not there yet nothing is known.
  if (config.Has("vision_config") && feature_size != llava->feature_size()) {
    config.Invalid("mm_hidden_size",
                   absl::StrCat(feature_size, ", the tower has ", llava->feature_size()));
  }
}

void ReadOriginalImageKeys(const ConfigReader& config, LlavaConfig* llava) {
  std::string feature = "patch", aspect = "square";
  config.String("mm_vision_select_feature", &feature);
  if (feature != "patch" && feature != "cls_patch") {
    config.Unsupported("mm_vision_select_feature",
                       absl::StrCat(Quoted(feature), " is neither patch nor cls_patch"));
  }
  llava->keep_class_row = feature == "cls_patch";
  config.String("image_aspect_ratio", &aspect);
  if (aspect != "pad" && aspect != "square") {
    config.Unsupported("image_aspect_ratio",
                       absl::StrCat(Quoted(aspect), " is neither pad nor square"));
  }
  llava->pad_to_square = aspect == "pad";
  bool has_marks = false;
  config.Bool("mm_use_im_start_end", &has_marks);
  if (has_marks) config.Unsupported("mm_use_im_start_end", "true, expected false");
  config.RefuseIfPresent("mm_resampler_type");
}

LlavaConfig ReadOriginalConfig(const ConfigReader& config) {
  LlavaConfig llava;
  llava.is_original = true;
  llava.text = ReadLlamaConfig(config);
  ReadOriginalTower(config, &llava);
  ReadFeatureLayers(config, &llava);
  ReadProjectorType(config, &llava);
  ReadOriginalImageKeys(config, &llava);
  // The vocabulary has no placeholder.
  llava.image_token_id = llava.text.vocab_size;
  return llava;
}

}  // namespace

int LlavaConfig::num_layers_to_run() const {
  return *std::max_element(feature_states.begin(), feature_states.end());
}

LlavaConfig ReadLlavaConfig(const ConfigReader& config) {
  if (IsOriginal(config)) return ReadOriginalConfig(config);
  LlavaConfig llava;
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
                       absl::StrCat(Quoted(strategy), " is neither default nor full"));
  }
  llava.keep_class_row = strategy == "full";
  ReadActivation(config, "projector_hidden_act", &llava.projector_activation);
  config.Bool("multimodal_projector_bias", &llava.projector_bias);
  // Either level may ask for one copy; the outer one is what the reference ties by.
  config.Bool("tie_word_embeddings", &llava.text.tie_word_embeddings);
  return llava;
}

}  // namespace prefixd
