// The vision_config of a tower of the CLIP kind (CLIPVisionConfig, SiglipVisionConfig).
#ifndef PREFIXD_ENGINE_MODELS_TOWER_CONFIG_H_
#define PREFIXD_ENGINE_MODELS_TOWER_CONFIG_H_

#include "engine/layers/clip.h"
#include "engine/models/config_reader.h"

namespace prefixd {

// Reads the sizes, the activation and the number of layers over the defaults given, and refuses
// what no tower has. Errors go to `config`.
void ReadTowerKeys(const ConfigReader& config, ClipShape* shape, int* num_layers);

}  // namespace prefixd

#endif  // PREFIXD_ENGINE_MODELS_TOWER_CONFIG_H_
