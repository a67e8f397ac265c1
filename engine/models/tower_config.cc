#include "engine/models/tower_config.h"

#include "absl/strings/str_cat.h"
#include "engine/models/families.h"

namespace prefixd {

void ReadTowerKeys(const ConfigReader& config, ClipShape* shape, int* num_layers) {
  constexpr int kMaxPatches = 16384;
  config.Int64("hidden_size", 1, 65536, &shape->hidden_size);
  config.Int64("intermediate_size", 1, 1 << 20, &shape->intermediate_size);
  config.Int("num_hidden_layers", 1, 1024, num_layers);
  config.Int("num_attention_heads", 1, 1024, &shape->num_heads);
  config.Int("image_size", 1, 4096, &shape->image_size);
  config.Int("patch_size", 1, shape->image_size, &shape->patch_size);
  config.Float("layer_norm_eps", 0, 1, &shape->norm_eps);
  int num_channels = 3;
  config.Int("num_channels", 1, 1024, &num_channels);
  if (num_channels != 3) {
    config.Unsupported("num_channels", absl::StrCat(num_channels, ", expected 3"));
  }
  ReadActivation(config, "hidden_act", &shape->activation);
  RefuseUnsupported(config);
  if (shape->hidden_size % shape->num_heads != 0) {
    config.Invalid(
        "num_attention_heads",
        absl::StrCat(shape->num_heads, " does not divide hidden_size ", shape->hidden_size));
  }
  if (shape->num_patches() > kMaxPatches) {
    config.Invalid("patch_size", absl::StrCat(shape->patch_size, " makes ", shape->num_patches(),
                                              " patches, the limit is ", kMaxPatches));
  }
}

}  // namespace prefixd
