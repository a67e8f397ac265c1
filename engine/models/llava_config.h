// The configuration of LLaVA-1.5: in the Hugging Face layout (LlavaConfig), which nests those of
// the tower and the decoder, and in the original one, a flat Llama configuration with mm_* keys.
#ifndef PREFIXD_ENGINE_MODELS_LLAVA_CONFIG_H_
#define PREFIXD_ENGINE_MODELS_LLAVA_CONFIG_H_

#include <cstdint>
#include <string>
#include <vector>

#include "engine/backend/backend.h"
#include "engine/layers/clip.h"
#include "engine/models/config_reader.h"
#include "engine/models/llama.h"

namespace prefixd {

// Defaults are those of the reference's configuration classes.
struct LlavaConfig {
  LlamaConfig text;
  ClipShape vision;
  int num_vision_layers = 0;  // Of the file; fewer may run.
  int32_t image_token_id = 32000;
  // Hidden states whose rows are joined, in this order: 0 is the tower's input, i the output of
  // layer i - 1. Resolved from vision_feature_layer.
  std::vector<int> feature_states;
  bool keep_class_row = false;  // vision_feature_select_strategy "full".
  // Linear maps of the projector, the activation between them; 0: features are taken as they are.
  int num_projector_layers = 2;
  Activation projector_activation = Activation::kGelu;
  bool projector_bias = true;

  // Of the original layout.
  bool is_original = false;
  bool is_linear_projector = false;  // One map without an index in its name.
  bool pad_to_square = false;        // image_aspect_ratio "pad".
  std::string tower_name;            // mm_vision_tower.

  int64_t feature_size() const {
    return vision.hidden_size * static_cast<int64_t>(feature_states.size());
  }
  int64_t tokens_per_image() const { return vision.num_patches() + (keep_class_row ? 1 : 0); }
  int num_layers_to_run() const;
};

// Errors go to `config`; the result is only valid if there are none.
LlavaConfig ReadLlavaConfig(const ConfigReader& config);

}  // namespace prefixd

#endif  // PREFIXD_ENGINE_MODELS_LLAVA_CONFIG_H_
