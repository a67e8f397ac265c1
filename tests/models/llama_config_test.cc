#include <gtest/gtest.h>

#include "engine/models/llama.h"

namespace prefixd {
namespace {

LlamaConfig Read(absl::string_view text) {
  const auto config = ConfigReader::Parse(text, "config.json");
  EXPECT_TRUE(config.ok()) << config.status();
  const LlamaConfig llama = ReadLlamaConfig(*config);
  EXPECT_TRUE(config->status().ok()) << config->status();
  return llama;
}

TEST(LlamaConfig, TakesTheClassDefaultsForEveryMissingKey) {
  const LlamaConfig llama = Read(R"({"model_type": "llama"})");
  EXPECT_EQ(llama.vocab_size, 32000);
  EXPECT_EQ(llama.hidden_size, 4096);
  EXPECT_EQ(llama.intermediate_size, 11008);
  EXPECT_EQ(llama.num_layers, 32);
  EXPECT_EQ(llama.num_heads, 32);
  EXPECT_EQ(llama.num_kv_heads, 32);
  EXPECT_EQ(llama.head_dim, 128);
  EXPECT_EQ(llama.max_positions, 2048);
  EXPECT_EQ(llama.norm_eps, 1e-6f);
  EXPECT_FALSE(llama.attention_bias);
  EXPECT_FALSE(llama.mlp_bias);
  EXPECT_FALSE(llama.tie_word_embeddings);
  EXPECT_EQ(llama.rope.type, RopeType::kDefault);
  EXPECT_EQ(llama.rope.theta, 10000.0);
}

TEST(LlamaConfig, ReadsSmolLm2) {
  const LlamaConfig llama = Read(R"({
      "model_type": "llama", "hidden_size": 576, "intermediate_size": 1536,
      "num_hidden_layers": 30, "num_attention_heads": 9, "num_key_value_heads": 3,
      "vocab_size": 49152, "max_position_embeddings": 8192, "rms_norm_eps": 1e-05,
      "rope_theta": 100000, "rope_scaling": null, "rope_interleaved": false,
      "tie_word_embeddings": true, "pretraining_tp": 1, "torch_dtype": "bfloat16"})");
  EXPECT_EQ(llama.hidden_size, 576);
  EXPECT_EQ(llama.num_layers, 30);
  EXPECT_EQ(llama.num_kv_heads, 3);
  EXPECT_EQ(llama.head_dim, 64);
  EXPECT_EQ(llama.max_positions, 8192);
  EXPECT_EQ(llama.rope.theta, 100000.0);
  EXPECT_TRUE(llama.tie_word_embeddings);
}

TEST(LlamaConfig, TakesNullAsMissingAndIntegralFloatsAsIntegers) {
  const LlamaConfig llama =
      Read(R"({"hidden_size": 64.0, "num_attention_heads": 4, "num_key_value_heads": null,
               "head_dim": null, "rope_theta": 5e5})");
  EXPECT_EQ(llama.hidden_size, 64);
  EXPECT_EQ(llama.num_kv_heads, 4);
  EXPECT_EQ(llama.head_dim, 16);
  EXPECT_EQ(llama.rope.theta, 500000.0);
}

TEST(LlamaConfig, LetsHeadDimStandOnItsOwn) {
  const LlamaConfig llama =
      Read(R"({"hidden_size": 100, "num_attention_heads": 3, "head_dim": 64})");
  EXPECT_EQ(llama.head_dim, 64);
}

TEST(LlamaConfig, PrefersRopeParametersToTheOlderKeys) {
  const LlamaConfig llama = Read(R"({
      "rope_theta": 7.0, "rope_scaling": {"type": "dynamic", "factor": 2.0},
      "rope_parameters": {"rope_type": "linear", "rope_theta": 20000.0, "factor": 4.0}})");
  EXPECT_EQ(llama.rope.type, RopeType::kLinear);
  EXPECT_EQ(llama.rope.theta, 20000.0);
  EXPECT_EQ(llama.rope.factor, 4.0);
}

}  // namespace
}  // namespace prefixd
