// The sparse configuration of the released PaliGemma checkpoints, the defaults of every key, and
// what is refused.
#include "engine/models/paligemma_config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "absl/strings/str_cat.h"

namespace prefixd {
namespace {

using ::testing::HasSubstr;

PaliGemmaConfig Read(absl::string_view text) {
  const auto config = ConfigReader::Parse(text, "config.json");
  EXPECT_TRUE(config.ok()) << config.status();
  const PaliGemmaConfig paligemma = ReadPaliGemmaConfig(*config);
  EXPECT_TRUE(config->status().ok()) << config->status();
  return paligemma;
}

absl::Status Refusal(absl::string_view text) {
  const auto config = ConfigReader::Parse(text, "config.json");
  EXPECT_TRUE(config.ok()) << config.status();
  ReadPaliGemmaConfig(*config);
  return config->status();
}

void ExpectGemma(const LlamaConfig& text) {
  EXPECT_EQ(text.head_dim, 256);
  EXPECT_EQ(text.max_positions, 8192);
  EXPECT_EQ(text.norm_eps, 1e-6f);
  EXPECT_EQ(text.norm_weight_offset, 1.0f);
  EXPECT_TRUE(text.scales_embeddings);
  EXPECT_EQ(text.activation, Activation::kGeluTanh);
  EXPECT_EQ(text.rope.theta, 10000.0);
  EXPECT_TRUE(text.tie_word_embeddings);
  EXPECT_FALSE(text.attention_bias);
}

TEST(PaliGemmaConfig, ReadsTheReleasedFiles) {
  for (const auto& [keys, num_tokens] : {std::pair<const char*, int64_t>{"", 256},
                                         {R"("image_size": 448,)", 1024},
                                         {R"("image_size": 896,)", 4096}}) {
    SCOPED_TRACE(num_tokens);
    const PaliGemmaConfig paligemma = Read(absl::StrCat(
        R"({"_vocab_size": 257152, "architectures": ["PaliGemmaForConditionalGeneration"],
            "bos_token_id": 2, "eos_token_id": 1, "hidden_size": 2048, "ignore_index": -100,
            "image_token_index": 257152, "model_type": "paligemma", "pad_token_id": 0,
            "projection_dim": 2048, "text_config": {"hidden_size": 2048, "intermediate_size": 16384,
              "model_type": "gemma", "num_attention_heads": 8, "num_hidden_layers": 18,
              "num_image_tokens": 256, "num_key_value_heads": 1, "torch_dtype": "float32",
              "vocab_size": 257216},
            "torch_dtype": "float32", "vision_config": {"hidden_size": 1152, )",
        keys, R"("intermediate_size": 4304, "model_type": "siglip_vision_model",
              "num_attention_heads": 16, "num_hidden_layers": 27, "num_image_tokens": 256,
              "patch_size": 14, "projection_dim": 2048, "projector_hidden_act": "gelu_fast",
              "vision_use_head": false}})"));
    EXPECT_EQ(paligemma.image_token_id, 257152);
    EXPECT_EQ(paligemma.text.vocab_size, 257216);
    EXPECT_EQ(paligemma.text.hidden_size, 2048);
    EXPECT_EQ(paligemma.text.intermediate_size, 16384);
    EXPECT_EQ(paligemma.text.num_layers, 18);
    EXPECT_EQ(paligemma.text.num_heads, 8);
    EXPECT_EQ(paligemma.text.num_kv_heads, 1);
    ExpectGemma(paligemma.text);
    EXPECT_EQ(paligemma.vision.hidden_size, 1152);
    EXPECT_EQ(paligemma.vision.intermediate_size, 4304);
    EXPECT_EQ(paligemma.vision.num_heads, 16);
    EXPECT_EQ(paligemma.vision.num_rows(), num_tokens);
    EXPECT_EQ(paligemma.vision.norm_eps, 1e-6f);
    EXPECT_EQ(paligemma.vision.activation, Activation::kGeluTanh);
    EXPECT_EQ(paligemma.num_vision_layers, 27);
  }
}

TEST(PaliGemmaConfig, TakesTheClassDefaultsForEveryMissingKey) {
  const PaliGemmaConfig whole = Read(R"({"model_type": "paligemma"})");
  EXPECT_EQ(whole.image_token_id, 256000);
  EXPECT_EQ(whole.text.vocab_size, 257152);
  EXPECT_EQ(whole.text.hidden_size, 2048);
  EXPECT_EQ(whole.text.num_layers, 18);
  EXPECT_EQ(whole.text.num_kv_heads, 1);
  ExpectGemma(whole.text);
  EXPECT_EQ(whole.vision.hidden_size, 1152);
  EXPECT_EQ(whole.vision.intermediate_size, 4096);
  EXPECT_EQ(whole.vision.patch_size, 14);
  EXPECT_EQ(whole.num_vision_layers, 27);

  const PaliGemmaConfig parts = Read(
      R"({"projection_dim": 3072, "image_token_id": 7, "tie_word_embeddings": null,
          "text_config": {"model_type": "gemma"}, "vision_config": {}})");
  EXPECT_EQ(parts.image_token_id, 7);
  EXPECT_EQ(parts.text.vocab_size, 256000);
  EXPECT_EQ(parts.text.hidden_size, 3072);
  EXPECT_EQ(parts.text.intermediate_size, 24576);
  EXPECT_EQ(parts.text.num_layers, 28);
  EXPECT_EQ(parts.text.num_heads, 16);
  EXPECT_EQ(parts.text.num_kv_heads, 16);
  ExpectGemma(parts.text);
  EXPECT_EQ(parts.vision.hidden_size, 768);
  EXPECT_EQ(parts.vision.intermediate_size, 3072);
  EXPECT_EQ(parts.vision.num_heads, 12);
  EXPECT_EQ(parts.vision.patch_size, 16);
  EXPECT_EQ(parts.vision.num_rows(), 196);
  EXPECT_EQ(parts.num_vision_layers, 12);
}

TEST(PaliGemmaConfig, TakesTheLegacyNameForTheTanhForm) {
  for (const char* keys : {R"("hidden_act": "gelu")", R"("hidden_act": "gelu_pytorch_tanh")",
                           R"("hidden_act": "gelu", "hidden_activation": null)",
                           R"("hidden_activation": "gelu_pytorch_tanh")"}) {
    SCOPED_TRACE(keys);
    const PaliGemmaConfig paligemma =
        Read(absl::StrCat(R"({"projection_dim": 3072, "text_config": {)", keys, "}}"));
    EXPECT_EQ(paligemma.text.activation, Activation::kGeluTanh);
  }
}

TEST(PaliGemmaConfig, RefusesWhatItDoesNotCompute) {
  struct {
    const char* config;
    absl::StatusCode code;
    const char* message;
  } const kCases[] = {
      {R"({"text_config": {"model_type": "gemma2"}})", absl::StatusCode::kUnimplemented,
       "text_config.model_type: \"gemma2\", expected \"gemma\""},
      {R"({"text_config": {"hidden_activation": "silu"}})", absl::StatusCode::kUnimplemented,
       "text_config.hidden_activation: expected gelu_pytorch_tanh"},
      {R"({"text_config": {"use_bidirectional_attention": false}})",
       absl::StatusCode::kUnimplemented, "text_config.use_bidirectional_attention"},
      {R"({"vision_config": {"model_type": "clip_vision_model"}})",
       absl::StatusCode::kUnimplemented, "vision_config.model_type: \"clip_vision_model\""},
      {R"({"projection_dim": 1024})", absl::StatusCode::kInvalidArgument,
       "projection_dim: 1024, text_config.hidden_size is 2048"},
      {R"({"text_config": {"num_attention_heads": 8}})", absl::StatusCode::kInvalidArgument,
       "text_config.num_key_value_heads: 16 does not divide num_attention_heads 8"},
      {R"({"vision_config": {"image_size": 4096, "patch_size": 14}})",
       absl::StatusCode::kInvalidArgument, "makes 85264 patches, the limit is 16384"},
      {R"({"quantization_config": {}})", absl::StatusCode::kUnimplemented, "quantization_config"},
  };
  for (const auto& bad : kCases) {
    SCOPED_TRACE(bad.config);
    const absl::Status status = Refusal(bad.config);
    EXPECT_EQ(status.code(), bad.code);
    EXPECT_THAT(std::string(status.message()), HasSubstr(bad.message));
  }
}

}  // namespace
}  // namespace prefixd
