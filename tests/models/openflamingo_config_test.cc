// The configuration of OpenFlamingo in one directory: the shape of the released models, and what is
// refused.
#include "engine/models/openflamingo_config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"

namespace prefixd {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

// OpenFlamingo-4B-vitl-rpj3b, as the converter writes it.
constexpr char kReleased[] =
    R"({"model_type": "openflamingo", "cross_attn_every_n_layers": 2,
        "only_attend_immediate_media": true, "vision_tokens_post_layernorm": false,
        "media_token_id": 50278, "eoc_token_id": 50277, "pad_token_id": 50279,
        "vision_config": {"model_type": "clip_vision_model", "hidden_size": 1024,
          "intermediate_size": 4096, "num_hidden_layers": 24, "num_attention_heads": 16,
          "image_size": 224, "patch_size": 14, "hidden_act": "quick_gelu", "layer_norm_eps": 1e-5},
        "perceiver_config": {"dim": 1024, "depth": 6, "heads": 8, "dim_head": 64,
          "num_latents": 64, "ff_mult": 4},
        "cross_attention_config": {"heads": 8, "dim_head": 64, "ff_mult": 4},
        "text_config": {"model_type": "gpt_neox", "hidden_size": 2560, "intermediate_size": 10240,
          "num_hidden_layers": 32, "num_attention_heads": 32, "rotary_pct": 1.0,
          "use_parallel_residual": false, "vocab_size": 50280}})";

std::string Changed(absl::string_view from, absl::string_view to) {
  const std::string text = absl::StrReplaceAll(kReleased, {{from, to}});
  EXPECT_NE(text, kReleased) << from;
  return text;
}

TEST(OpenFlamingoConfig, ReadsAReleasedShape) {
  const auto config = ConfigReader::Parse(kReleased, "config.json");
  ASSERT_TRUE(config.ok());
  const OpenFlamingoConfig flamingo = ReadOpenFlamingoConfig(*config);
  ASSERT_TRUE(config->status().ok()) << config->status();
  EXPECT_EQ(flamingo.media_token_id, 50278);
  EXPECT_EQ(flamingo.eoc_token_id, 50277);
  EXPECT_EQ(flamingo.num_vision_layers, 24);
  EXPECT_EQ(flamingo.perceiver.num_rows, 256);
  EXPECT_EQ(flamingo.perceiver.num_latents, 64);
  EXPECT_EQ(flamingo.perceiver.inner(), 512);
  EXPECT_EQ(flamingo.perceiver.ff_size, 4096);
  EXPECT_EQ(flamingo.num_perceiver_layers, 6);
  EXPECT_EQ(flamingo.gated.hidden_size, 2560);
  EXPECT_EQ(flamingo.gated.ff_size, 10240);
  EXPECT_EQ(flamingo.media_width(), 1024);
  EXPECT_EQ(flamingo.gated_layers().size(), 16u);
  EXPECT_EQ(flamingo.gated_layers().front(), 1);
  EXPECT_EQ(flamingo.gated_layers().back(), 31);
  EXPECT_FALSE(flamingo.normalise_vision_rows);
  EXPECT_EQ(std::get<GptNeoxConfig>(flamingo.text).text.rotary_size, 80);
}

TEST(OpenFlamingoConfig, PutsABlockBeforeEveryNthLayer) {
  const auto config =
      ConfigReader::Parse(Changed("every_n_layers\": 2", "every_n_layers\": 12"), "config.json");
  ASSERT_TRUE(config.ok());
  EXPECT_THAT(ReadOpenFlamingoConfig(*config).gated_layers(), ElementsAre(11, 23));
}

TEST(OpenFlamingoConfig, RefusesWhatItDoesNotComputeByName) {
  const std::pair<std::string, std::string> cases[] = {
      {Changed("immediate_media\": true", "immediate_media\": false"),
       "only_attend_immediate_media"},
      {Changed("every_n_layers\": 2", "every_n_layers\": 33"), "cross_attn_every_n_layers"},
      {Changed("\"gpt_neox\"", "\"opt\""), "text_config.model_type"},
      {Changed("\"dim\": 1024", "\"dim\": 512"), "perceiver_config.dim"},
      {Changed("\"media_token_id\": 50278,", ""), "media_token_id"},
      {Changed("\"media_token_id\": 50278", "\"media_token_id\": 50280"), "media_token_id"},
      {Changed("\"eoc_token_id\": 50277,", ""), "eoc_token_id"},
      {Changed("\"vision_config\"", "\"no_vision_config\""), "vision_config"},
      {Changed("clip_vision_model", "siglip_vision_model"), "vision_config.model_type"},
  };
  for (const auto& [text, key] : cases) {
    SCOPED_TRACE(key);
    const auto config = ConfigReader::Parse(text, "config.json");
    ASSERT_TRUE(config.ok());
    ReadOpenFlamingoConfig(*config);
    EXPECT_FALSE(config->status().ok());
    EXPECT_THAT(std::string(config->status().message()), HasSubstr(key));
  }
}

}  // namespace
}  // namespace prefixd
