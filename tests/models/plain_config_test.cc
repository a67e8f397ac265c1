// The configurations of GPT-2, MPT, mosaic_gpt and GPT-NeoX: released files, the defaults of every
// key, what is refused; and the slopes of ALiBi.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <string>
#include <vector>

#include "engine/models/gpt2.h"
#include "engine/models/gpt_neox.h"
#include "engine/models/mpt.h"

namespace prefixd {
namespace {

using ::testing::HasSubstr;

template <typename Result>
Result Read(Result (*read)(const ConfigReader&), absl::string_view text) {
  const auto config = ConfigReader::Parse(text, "config.json");
  EXPECT_TRUE(config.ok()) << config.status();
  const Result result = read(*config);
  EXPECT_TRUE(config->status().ok()) << config->status();
  return result;
}

template <typename Result>
absl::Status Refusal(Result (*read)(const ConfigReader&), absl::string_view text) {
  const auto config = ConfigReader::Parse(text, "config.json");
  EXPECT_TRUE(config.ok()) << config.status();
  read(*config);
  return config->status();
}

template <typename Result>
void ExpectRefusals(Result (*read)(const ConfigReader&),
                    const std::vector<std::pair<std::string, std::string>>& cases) {
  for (const auto& [text, key] : cases) {
    SCOPED_TRACE(text);
    const absl::Status status = Refusal(read, text);
    EXPECT_FALSE(status.ok());
    EXPECT_THAT(std::string(status.message()), HasSubstr(key));
  }
}

TEST(Gpt2Config, TakesTheClassDefaultsForEveryMissingKey) {
  const PlainTextConfig gpt2 = Read(ReadGpt2Config, "{}");
  EXPECT_EQ(gpt2.vocab_size, 50257);
  EXPECT_EQ(gpt2.max_positions, 1024);
  EXPECT_EQ(gpt2.hidden_size, 768);
  EXPECT_EQ(gpt2.intermediate_size, 3072);
  EXPECT_EQ(gpt2.num_layers, 12);
  EXPECT_EQ(gpt2.num_heads, 12);
  EXPECT_EQ(gpt2.norm_eps, 1e-5f);
  EXPECT_EQ(gpt2.activation, Activation::kGeluTanh);
  EXPECT_EQ(gpt2.attention_scale, 0.125f);
  EXPECT_FALSE(gpt2.inverse_layer);
  EXPECT_TRUE(gpt2.tie_word_embeddings);
  EXPECT_EQ(gpt2.default_eos, 50256);
}

TEST(Gpt2Config, ReadsAliasesAndSwitches) {
  const PlainTextConfig gpt2 =
      Read(ReadGpt2Config,
           R"({"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "n_ctx": 16,
          "n_inner": null, "scale_attn_weights": false, "scale_attn_by_inverse_layer_idx": true})");
  EXPECT_EQ(gpt2.hidden_size, 64);
  EXPECT_EQ(gpt2.intermediate_size, 256);
  EXPECT_EQ(gpt2.num_layers, 2);
  EXPECT_EQ(gpt2.num_heads, 4);
  EXPECT_EQ(gpt2.max_positions, 16);
  EXPECT_EQ(gpt2.attention_scale, 1.0f);
  EXPECT_TRUE(gpt2.inverse_layer);
}

TEST(Gpt2Config, RefusesWhatItDoesNotCompute) {
  ExpectRefusals(ReadGpt2Config, {{R"({"n_head": 7})", "n_head"},
                                  {R"({"activation_function": "mish"})", "activation_function"},
                                  {R"({"add_cross_attention": true})", "add_cross_attention"},
                                  {R"({"n_embd": 0})", "n_embd"},
                                  {R"({"n_embd": 8192, "n_head": 4})", "limit is 1024"},
                                  {R"({"quantization_config": {}})", "quantization_config"}});
}

// mosaicml/mpt-7b.
TEST(MptConfig, ReadsAReleasedFile) {
  const MptConfig mpt = Read(
      ReadMptConfig,
      R"({"attn_config": {"alibi": true, "alibi_bias_max": 8, "attn_impl": "torch", "attn_pdrop": 0,
          "attn_type": "multihead_attention", "attn_uses_sequence_id": false, "clip_qkv": null,
          "prefix_lm": false, "qk_ln": false, "softmax_scale": null}, "d_model": 4096,
          "emb_pdrop": 0, "embedding_fraction": 1.0, "expansion_ratio": 4, "init_device": "cpu",
          "learned_pos_emb": true, "logit_scale": null, "max_seq_len": 2048, "model_type": "mpt",
          "n_heads": 32, "n_layers": 32, "no_bias": true, "norm_type": "low_precision_layernorm",
          "resid_pdrop": 0, "vocab_size": 50432})");
  EXPECT_EQ(mpt.text.hidden_size, 4096);
  EXPECT_EQ(mpt.text.intermediate_size, 16384);
  EXPECT_EQ(mpt.text.num_layers, 32);
  EXPECT_EQ(mpt.text.num_heads, 32);
  EXPECT_EQ(mpt.text.max_positions, 2048);
  EXPECT_EQ(mpt.text.vocab_size, 50432);
  EXPECT_EQ(mpt.text.alibi_bias_max, 8);
  EXPECT_EQ(mpt.text.clip_qkv, 0);
  EXPECT_EQ(mpt.text.norm_eps, 1e-5f);
  EXPECT_EQ(mpt.text.activation, Activation::kGelu);
  EXPECT_FLOAT_EQ(mpt.text.attention_scale, 1 / std::sqrt(128.0f));
  EXPECT_FALSE(mpt.has_bias);
  EXPECT_FALSE(mpt.qk_norm);
}

// anas-awadalla/mpt-1b-redpajama-200b.
TEST(MptConfig, ReadsTheFlatKeysOfMosaicGpt) {
  const MptConfig mpt =
      Read(ReadMosaicGptConfig,
           R"({"alibi": true, "alibi_bias_max": 8, "attn_clip_qkv": null, "attn_impl": "torch",
          "attn_pdrop": 0, "attn_qk_ln": true, "attn_uses_sequence_id": false, "d_model": 2048,
          "embedding_fraction": 1, "logit_scale": null, "low_precision_layernorm": true,
          "max_seq_len": 2048, "mlp_ratio": 4, "model_type": "mosaic_gpt", "n_heads": 16,
          "n_layers": 24, "no_bias": true, "prefix_lm": false, "softmax_scale": null,
          "vocab_size": 50432})");
  EXPECT_EQ(mpt.text.hidden_size, 2048);
  EXPECT_EQ(mpt.text.intermediate_size, 8192);
  EXPECT_EQ(mpt.text.num_layers, 24);
  EXPECT_TRUE(mpt.qk_norm);
  EXPECT_FALSE(mpt.has_bias);
}

TEST(MptConfig, RefusesWhatItDoesNotCompute) {
  ExpectRefusals(
      ReadMptConfig,
      {{R"({})", "attn_config.alibi: is missing"},
       {R"({"attn_config": {"alibi": false}})", "attn_config.alibi"},
       {R"({"attn_config": {"alibi": true, "prefix_lm": true}})", "attn_config.prefix_lm"},
       {R"({"attn_config": {"alibi": true, "attn_type": "multiquery_attention"}})", "attn_type"},
       {R"({"attn_config": {"alibi": true}, "logit_scale": "inv_sqrt_d_model"})", "logit_scale"},
       {R"({"attn_config": {"alibi": true}, "norm_type": "rmsnorm"})", "norm_type"},
       {R"({"attn_config": {"alibi": true}, "n_heads": 3})", "n_heads"}});
  ExpectRefusals(ReadMosaicGptConfig, {{R"({"alibi": false})", "alibi"},
                                       {R"({"alibi": true, "prefix_lm": true})", "prefix_lm"}});
}

TEST(MptConfig, SpellsBothFormsInOneWay) {
  EXPECT_EQ(CanonicalMptName("transformer.blocks.3.ln_1.weight"), "blocks.3.norm_1.weight");
  EXPECT_EQ(CanonicalMptName("transformer.blocks.3.mlp.mlp_up.weight"),
            "blocks.3.ffn.up_proj.weight");
  EXPECT_EQ(CanonicalMptName("transformer.blocks.3.mlp.mlp_down.weight"),
            "blocks.3.ffn.down_proj.weight");
  EXPECT_EQ(CanonicalMptName("transformer.ln_f.weight"), "norm_f.weight");
  EXPECT_EQ(CanonicalMptName("transformer.blocks.3.attn.q_ln.weight"), "blocks.3.attn.q_ln.weight");
}

TEST(GptNeoxConfig, TakesTheClassDefaultsForEveryMissingKey) {
  const GptNeoxConfig neox = Read(ReadGptNeoxConfig, "{}");
  EXPECT_EQ(neox.text.vocab_size, 50432);
  EXPECT_EQ(neox.text.hidden_size, 6144);
  EXPECT_EQ(neox.text.intermediate_size, 24576);
  EXPECT_EQ(neox.text.num_layers, 44);
  EXPECT_EQ(neox.text.num_heads, 64);
  EXPECT_EQ(neox.text.rotary_size, 24);
  EXPECT_EQ(neox.text.rope.theta, 10000);
  EXPECT_TRUE(neox.text.parallel_residual);
  EXPECT_FALSE(neox.text.tie_word_embeddings);
  EXPECT_TRUE(neox.attention_bias);
}

TEST(GptNeoxConfig, ReadsEveryGenerationOfTheRotaryKeys) {
  for (const char* text :
       {R"({"rotary_pct": 0.5, "rotary_emb_base": 500})",
        R"({"partial_rotary_factor": 0.5, "rope_theta": 500.0})",
        R"({"rotary_pct": 1, "rope_parameters": {"rope_type": "default", "rope_theta": 500,
            "partial_rotary_factor": 0.5}})"}) {
    SCOPED_TRACE(text);
    const GptNeoxConfig neox = Read(ReadGptNeoxConfig, text);
    EXPECT_EQ(neox.text.rotary_size, 48);
    EXPECT_EQ(neox.text.rope.theta, 500);
  }
}

TEST(GptNeoxConfig, RefusesWhatItDoesNotCompute) {
  ExpectRefusals(ReadGptNeoxConfig,
                 {{R"({"rotary_pct": 0.01})", "rotary_pct"},
                  {R"({"rope_scaling": {"type": "linear", "factor": 2}})", "rope_type"},
                  {R"({"rope_parameters": {"rope_type": "yarn"}})", "rope_type"},
                  {R"({"hidden_act": "xielu"})", "hidden_act"}});
}

// By the definition: -m_h (i - j) with m_i = 2^(-i * 8 / n).
TEST(AlibiSlopes, FollowTheDefinition) {
  const std::vector<float> sixteen = AlibiSlopes(16, 8);
  ASSERT_EQ(sixteen.size(), 16u);
  for (int i = 0; i < 16; ++i) EXPECT_FLOAT_EQ(sixteen[i], std::exp2(-0.5f * (i + 1)));
  EXPECT_FLOAT_EQ(AlibiSlopes(32, 8)[0], std::exp2(-0.25f));
  EXPECT_FLOAT_EQ(AlibiSlopes(1, 8)[0], std::exp2(-8.0f));
  // Not a power of two: every second of 16, from the second on, then the others from the first on.
  const std::vector<float> twelve = AlibiSlopes(12, 8);
  ASSERT_EQ(twelve.size(), 12u);
  for (int i = 0; i < 8; ++i) EXPECT_FLOAT_EQ(twelve[i], std::exp2(-1.0f * (i + 1)));
  for (int i = 0; i < 4; ++i) EXPECT_FLOAT_EQ(twelve[8 + i], std::exp2(-0.5f - i));
}

}  // namespace
}  // namespace prefixd
