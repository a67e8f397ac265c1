#include "engine/models/paligemma_config.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "engine/models/families.h"
#include "engine/models/tower_config.h"

namespace prefixd {
namespace {

// The decoder of a config without text_config (PaliGemmaConfig) or the defaults of one that is
// given in part (GemmaConfig).
LlamaConfig DefaultText(bool has_text_config) {
  LlamaConfig text{.vocab_size = 256000,
                   .hidden_size = 3072,
                   .intermediate_size = 24576,
                   .num_layers = 28,
                   .num_heads = 16,
                   .num_kv_heads = 16,
                   .head_dim = 256,
                   .max_positions = 8192,
                   .norm_eps = 1e-6f,
                   .tie_word_embeddings = true,
                   .activation = Activation::kGeluTanh,
                   .norm_weight_offset = 1,
                   .scales_embeddings = true};
  if (!has_text_config) {
    text.vocab_size = 257152;
    text.hidden_size = 2048;
    text.intermediate_size = 16384;
    text.num_layers = 18;
    text.num_heads = 8;
    text.num_kv_heads = 1;
  }
  return text;
}

LlamaConfig ReadText(const ConfigReader& root) {
  LlamaConfig text = DefaultText(root.Has("text_config"));
  const ConfigReader config = root.Object("text_config");
  RefuseOtherModelType(config, "gemma");
  ReadDecoderKeys(config, &text);
  // hidden_act is not read: files that say "gelu" there mean the tanh form.
  Activation activation = Activation::kGeluTanh;
  ReadActivation(config, "hidden_activation", &activation);
  if (activation != Activation::kGeluTanh) {
    config.Unsupported("hidden_activation", "expected gelu_pytorch_tanh");
  }
  bool bidirectional = true;
  config.Bool("use_bidirectional_attention", &bidirectional);
  if (!bidirectional) {
    config.Unsupported("use_bidirectional_attention", "is false, expected true");
  }
  return text;
}

// The tower of a config without vision_config (PaliGemmaConfig) or the defaults of one that is
// given in part (SiglipVisionConfig).
ClipShape DefaultSiglipTower(bool has_vision_config, int* num_layers) {
  ClipShape shape{.hidden_size = 768,
                  .intermediate_size = 3072,
                  .num_heads = 12,
                  .image_size = 224,
                  .patch_size = 16,
                  .norm_eps = 1e-6f,
                  .activation = Activation::kGeluTanh,
                  .has_class_row = false};
  *num_layers = 12;
  if (!has_vision_config) {
    shape.hidden_size = 1152;
    shape.intermediate_size = 4096;
    shape.num_heads = 16;
    shape.patch_size = 14;
    *num_layers = 27;
  }
  return shape;
}

}  // namespace

PaliGemmaConfig ReadPaliGemmaConfig(const ConfigReader& config) {
  PaliGemmaConfig paligemma;
  paligemma.text = ReadText(config);
  // Either level may ask for one copy; the outer one is what the reference ties by.
  config.Bool("tie_word_embeddings", &paligemma.text.tie_word_embeddings);

  const ConfigReader vision = config.Object("vision_config");
  RefuseOtherModelType(vision, "siglip_vision_model");
  paligemma.vision = DefaultSiglipTower(config.Has("vision_config"), &paligemma.num_vision_layers);
  ReadTowerKeys(vision, &paligemma.vision, &paligemma.num_vision_layers);
  RefuseUnsupported(config);

  // The projector's outputs take the place of embeddings.
  int projection_dim = paligemma.text.hidden_size;
  config.Int("projection_dim", 1, 65536, &projection_dim);
  if (projection_dim != paligemma.text.hidden_size) {
    config.Invalid("projection_dim", absl::StrCat(projection_dim, ", text_config.hidden_size is ",
                                                  paligemma.text.hidden_size));
  }
  constexpr int64_t kMaxTokenId = (1 << 22) - 1;
  config.Int("image_token_id", 0, kMaxTokenId, &paligemma.image_token_id);
  config.Int("image_token_index", 0, kMaxTokenId, &paligemma.image_token_id);
  return paligemma;
}

}  // namespace prefixd
