// The configuration of PaliGemma (PaliGemmaConfig): a SigLIP tower and a Gemma decoder.
#ifndef PREFIXD_ENGINE_MODELS_PALIGEMMA_CONFIG_H_
#define PREFIXD_ENGINE_MODELS_PALIGEMMA_CONFIG_H_

#include <cstdint>

#include "engine/layers/clip.h"
#include "engine/models/config_reader.h"
#include "engine/models/llama.h"

namespace prefixd {

// Defaults are those of the reference's configuration classes.
struct PaliGemmaConfig {
  LlamaConfig text;
  ClipShape vision;
  int num_vision_layers = 0;
  int32_t image_token_id = 256000;
};

// Errors go to `config`; the result is only valid if there are none. PaliGemma 2 (text_config of
// another model_type than gemma) is unsupported.
PaliGemmaConfig ReadPaliGemmaConfig(const ConfigReader& config);

}  // namespace prefixd

#endif  // PREFIXD_ENGINE_MODELS_PALIGEMMA_CONFIG_H_
