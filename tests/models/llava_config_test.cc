// The sparse configurations of the released LLaVA-1.5 checkpoints, and the defaults of every key.
#include "engine/models/llava_config.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"

namespace prefixd {
namespace {

LlavaConfig Read(absl::string_view text) {
  const auto config = ConfigReader::Parse(text, "config.json");
  EXPECT_TRUE(config.ok()) << config.status();
  const LlavaConfig llava = ReadLlavaConfig(*config);
  EXPECT_TRUE(config->status().ok()) << config->status();
  return llava;
}

// llava-1.5-{7b,13b}-hf; `sizes` are the text sizes that only the larger one lists.
std::string Released(const std::string& sizes) {
  return absl::StrCat(R"({
      "architectures": ["LlavaForConditionalGeneration"], "ignore_index": -100,
      "image_token_index": 32000, "model_type": "llava", "pad_token_id": 32001,
      "projector_hidden_act": "gelu",
      "text_config": {"_name_or_path": "vicuna", "architectures": ["LlamaForCausalLM"],)",
                      sizes, R"(
        "max_position_embeddings": 4096, "model_type": "llama", "rms_norm_eps": 1e-05,
        "torch_dtype": "float16", "vocab_size": 32064},
      "tie_word_embeddings": false, "torch_dtype": "float16", "vision_config": {
        "hidden_size": 1024, "image_size": 336, "intermediate_size": 4096,
        "model_type": "clip_vision_model", "num_attention_heads": 16, "num_hidden_layers": 24,
        "patch_size": 14, "projection_dim": 768, "vocab_size": 32000},
      "vision_feature_layer": -2, "vision_feature_select_strategy": "default",
      "vocab_size": 32064})");
}

void ExpectReleasedTower(const LlavaConfig& llava) {
  EXPECT_EQ(llava.vision.hidden_size, 1024);
  EXPECT_EQ(llava.vision.intermediate_size, 4096);
  EXPECT_EQ(llava.vision.num_heads, 16);
  EXPECT_EQ(llava.vision.image_size, 336);
  EXPECT_EQ(llava.vision.patch_size, 14);
  EXPECT_EQ(llava.vision.norm_eps, 1e-5f);
  EXPECT_EQ(llava.vision.activation, Activation::kQuickGelu);
  EXPECT_EQ(llava.num_vision_layers, 24);
  EXPECT_EQ(llava.num_layers_to_run(), 23);
  EXPECT_EQ(llava.feature_states, std::vector<int>{23});
  EXPECT_FALSE(llava.keep_class_row);
  EXPECT_EQ(llava.tokens_per_image(), 576);
  EXPECT_EQ(llava.feature_size(), 1024);
  EXPECT_EQ(llava.image_token_id, 32000);
  EXPECT_EQ(llava.projector_activation, Activation::kGelu);
  EXPECT_TRUE(llava.projector_bias);
}

TEST(LlavaConfig, ReadsTheSparse7B) {
  const LlavaConfig llava = Read(Released(""));
  EXPECT_EQ(llava.text.vocab_size, 32064);
  EXPECT_EQ(llava.text.hidden_size, 4096);
  EXPECT_EQ(llava.text.intermediate_size, 11008);
  EXPECT_EQ(llava.text.num_layers, 32);
  EXPECT_EQ(llava.text.num_heads, 32);
  EXPECT_EQ(llava.text.num_kv_heads, 32);
  EXPECT_EQ(llava.text.head_dim, 128);
  EXPECT_EQ(llava.text.max_positions, 4096);
  EXPECT_EQ(llava.text.norm_eps, 1e-5f);
  EXPECT_EQ(llava.text.rope.theta, 10000.0);
  EXPECT_EQ(llava.text.rope.type, RopeType::kDefault);
  EXPECT_FALSE(llava.text.attention_bias);
  EXPECT_FALSE(llava.text.mlp_bias);
  EXPECT_FALSE(llava.text.tie_word_embeddings);
  ExpectReleasedTower(llava);
}

TEST(LlavaConfig, ReadsTheSparse13B) {
  const LlavaConfig llava = Read(Released(
      R"("hidden_size": 5120, "intermediate_size": 13824, "num_attention_heads": 40,
         "num_hidden_layers": 40, "num_key_value_heads": 40,)"));
  EXPECT_EQ(llava.text.vocab_size, 32064);
  EXPECT_EQ(llava.text.hidden_size, 5120);
  EXPECT_EQ(llava.text.intermediate_size, 13824);
  EXPECT_EQ(llava.text.num_layers, 40);
  EXPECT_EQ(llava.text.num_heads, 40);
  EXPECT_EQ(llava.text.num_kv_heads, 40);
  EXPECT_EQ(llava.text.head_dim, 128);
  EXPECT_EQ(llava.text.max_positions, 4096);
  EXPECT_EQ(llava.text.norm_eps, 1e-5f);
  ExpectReleasedTower(llava);
}

TEST(LlavaConfig, TakesTheClassDefaultsForEveryMissingKey) {
  const LlavaConfig llava = Read(R"({"model_type": "llava"})");
  ExpectReleasedTower(llava);
  EXPECT_EQ(llava.text.vocab_size, 32000);
  EXPECT_EQ(llava.text.hidden_size, 4096);
  EXPECT_EQ(llava.text.max_positions, 2048);
}

TEST(LlavaConfig, TakesTheTowersOwnDefaultsWhereItIsListedInPart) {
  const LlavaConfig llava = Read(R"({"vision_config": {"hidden_size": 96}})");
  EXPECT_EQ(llava.vision.hidden_size, 96);
  EXPECT_EQ(llava.vision.intermediate_size, 3072);
  EXPECT_EQ(llava.vision.num_heads, 12);
  EXPECT_EQ(llava.vision.image_size, 224);
  EXPECT_EQ(llava.vision.patch_size, 32);
  EXPECT_EQ(llava.num_vision_layers, 12);
  EXPECT_EQ(llava.tokens_per_image(), 49);
}

TEST(LlavaConfig, ResolvesAListOfFeatureLayers) {
  const LlavaConfig llava =
      Read(R"({"vision_feature_layer": [-2, 0, 5], "vision_feature_select_strategy": "full",
               "image_token_id": 77})");
  EXPECT_EQ(llava.feature_states, (std::vector<int>{23, 0, 5}));
  EXPECT_EQ(llava.num_layers_to_run(), 23);
  EXPECT_EQ(llava.feature_size(), 3072);
  EXPECT_EQ(llava.tokens_per_image(), 577);
  EXPECT_EQ(llava.image_token_id, 77);
}

TEST(LlavaConfig, RunsEveryLayerForTheLastState) {
  EXPECT_EQ(Read(R"({"vision_feature_layer": -1})").num_layers_to_run(), 24);
  EXPECT_EQ(Read(R"({"vision_feature_layer": -25})").num_layers_to_run(), 0);
}

// liuhaotian/llava-v1.5-7b; `keys` come last.
std::string Original(const std::string& keys) {
  return absl::StrCat(R"({
      "architectures": ["LlavaLlamaForCausalLM"], "bos_token_id": 1, "eos_token_id": 2,
      "freeze_mm_mlp_adapter": false, "hidden_act": "silu", "hidden_size": 4096,
      "image_aspect_ratio": "pad", "image_grid_pinpoints": null, "intermediate_size": 11008,
      "max_length": 4096, "max_position_embeddings": 4096, "mm_hidden_size": 1024,
      "mm_projector_type": "mlp2x_gelu", "mm_resampler_type": null,
      "mm_use_im_patch_token": false, "mm_use_im_start_end": false,
      "mm_vision_select_feature": "patch", "mm_vision_select_layer": -2, "model_type": "llava",
      "num_attention_heads": 32, "num_hidden_layers": 32, "num_key_value_heads": 32,
      "pad_token_id": 0, "pretraining_tp": 1, "rms_norm_eps": 1e-05, "rope_scaling": null,
      "tie_word_embeddings": false, "torch_dtype": "float16", "vocab_size": 32000)",
                      keys, "}");
}

TEST(LlavaConfig, ReadsTheOriginalLayout) {
  LlavaConfig llava = Read(Original(R"(, "mm_vision_tower": "openai/clip-vit-large-patch14-336")"));
  ExpectReleasedTower(llava);
  EXPECT_TRUE(llava.is_original);
  EXPECT_TRUE(llava.pad_to_square);
  EXPECT_EQ(llava.num_projector_layers, 2);
  EXPECT_EQ(llava.text.hidden_size, 4096);
  EXPECT_EQ(llava.text.max_positions, 4096);
  EXPECT_EQ(llava.text.norm_eps, 1e-5f);
  EXPECT_EQ(llava.image_token_id, llava.text.vocab_size);
  llava = Read(Original(R"(, "mm_vision_tower": "openai/clip-vit-large-patch14")"));
  EXPECT_EQ(llava.vision.image_size, 224);
  llava = Read(Original(R"(, "vision_config": {"image_size": 28, "num_hidden_layers": 3})"));
  EXPECT_EQ(llava.vision.image_size, 28);
  EXPECT_EQ(llava.num_layers_to_run(), 2);
}

TEST(LlavaConfig, TheOriginalLayoutsDefaultsAreThoseOfItsFirstVersions) {
  const LlavaConfig llava = Read(R"({"model_type": "llava", "mm_vision_tower": "x",
                                     "mm_vision_select_feature": "cls_patch"})");
  EXPECT_TRUE(llava.is_linear_projector);
  EXPECT_EQ(llava.num_projector_layers, 1);
  EXPECT_TRUE(llava.keep_class_row);
  EXPECT_FALSE(llava.pad_to_square);
  EXPECT_EQ(Read(R"({"model_type": "llava_llama", "hidden_size": 1024,
                     "mm_projector_type": "identity"})")
                .num_projector_layers,
            0);
  // The nested layout wins where both are there.
  EXPECT_FALSE(
      Read(R"({"model_type": "llava", "mm_vision_tower": "x", "text_config": {}})").is_original);
}

}  // namespace
}  // namespace prefixd
