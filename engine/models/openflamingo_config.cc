#include "engine/models/openflamingo_config.h"

#include "absl/strings/str_cat.h"
#include "engine/models/families.h"
#include "engine/models/tower_config.h"

namespace prefixd {
namespace {

constexpr float kNormEps = 1e-5f;  // Of every norm outside the tower and the language model.

void ReadTower(const ConfigReader& root, OpenFlamingoConfig* flamingo) {
  if (!root.Has("vision_config")) root.Invalid("vision_config", "is missing");
  const ConfigReader config = root.Object("vision_config");
  RefuseOtherModelType(config, "clip_vision_model");
  flamingo->vision = {.hidden_size = 768,
                      .intermediate_size = 3072,
                      .num_heads = 12,
                      .image_size = 224,
                      .patch_size = 32,
                      .norm_eps = 1e-5f,
                      .activation = Activation::kQuickGelu};
  flamingo->num_vision_layers = 12;
  ReadTowerKeys(config, &flamingo->vision, &flamingo->num_vision_layers);
  root.Bool("vision_tokens_post_layernorm", &flamingo->normalise_vision_rows);
}

// What perceiver_config and cross_attention_config have in common.
int ReadHeads(const ConfigReader& config, int* num_heads, int* head_dim) {
  *num_heads = 8;
  *head_dim = 64;
  int ratio = 4;
  config.Int("heads", 1, 1024, num_heads);
  config.Int("dim_head", 1, 1024, head_dim);
  config.Int("ff_mult", 1, 64, &ratio);
  return ratio;
}

void ReadPerceiver(const ConfigReader& root, OpenFlamingoConfig* flamingo) {
  const ConfigReader config = root.Object("perceiver_config");
  PerceiverShape& shape = flamingo->perceiver;
  const int ratio = ReadHeads(config, &shape.num_heads, &shape.head_dim);
  shape.dim = flamingo->vision.hidden_size;
  config.Int64("dim", 1, 65536, &shape.dim);
  if (shape.dim != flamingo->vision.hidden_size) {
    config.Invalid("dim", absl::StrCat(shape.dim, ", expected vision_config.hidden_size ",
                                       flamingo->vision.hidden_size));
  }
  shape.num_rows = flamingo->vision.num_patches();
  shape.num_latents = 64;
  config.Int64("num_latents", 1, 4096, &shape.num_latents);
  config.Int("depth", 1, 1024, &flamingo->num_perceiver_layers);
  shape.ff_size = ratio * shape.dim;
  shape.norm_eps = kNormEps;
}

void ReadGated(const ConfigReader& root, const FlamingoTextSizes& sizes,
               OpenFlamingoConfig* flamingo) {
  GatedCrossAttentionShape& shape = flamingo->gated;
  const int ratio =
      ReadHeads(root.Object("cross_attention_config"), &shape.num_heads, &shape.head_dim);
  shape.hidden_size = sizes.hidden_size;
  shape.ff_size = int64_t{ratio} * sizes.hidden_size;
  shape.norm_eps = kNormEps;
  root.Int("cross_attn_every_n_layers", 1, 1024, &flamingo->cross_every);
  if (flamingo->cross_every > sizes.num_layers) {
    root.Invalid("cross_attn_every_n_layers",
                 absl::StrCat(flamingo->cross_every, ", the language model has ", sizes.num_layers,
                              " layers"));
  }
  bool immediate = true;
  root.Bool("only_attend_immediate_media", &immediate);
  if (!immediate) root.Unsupported("only_attend_immediate_media", "false, expected true");
}

}  // namespace

std::vector<int> OpenFlamingoConfig::gated_layers() const {
  std::vector<int> layers;
  for (int i = cross_every - 1; i < SizesOf(text).num_layers; i += cross_every) layers.push_back(i);
  return layers;
}

OpenFlamingoConfig ReadOpenFlamingoConfig(const ConfigReader& config) {
  OpenFlamingoConfig flamingo;
  flamingo.text = ReadFlamingoTextConfig(config.Object("text_config"));
  const FlamingoTextSizes sizes = SizesOf(flamingo.text);
  ReadTower(config, &flamingo);
  ReadPerceiver(config, &flamingo);
  ReadGated(config, sizes, &flamingo);
  RefuseUnsupported(config);
  for (const char* key : {"media_token_id", "eoc_token_id"}) {
    if (!config.Has(key)) config.Invalid(key, "is missing");
  }
  config.Int("media_token_id", 0, sizes.vocab_size - 1, &flamingo.media_token_id);
  config.Int("eoc_token_id", 0, sizes.vocab_size - 1, &flamingo.eoc_token_id);
  return flamingo;
}

}  // namespace prefixd
