#include "engine/models/mpt.h"

#include <cmath>
#include <memory>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/strip.h"
#include "base/status_macros.h"
#include "engine/models/families.h"
#include "engine/models/plain_family.h"

namespace prefixd {
namespace {

// --- Configuration

void RefuseUnless(const ConfigReader& config, const char* key, bool expected) {
  bool value = expected;
  config.Bool(key, &value);
  if (value == expected) return;
  config.Unsupported(
      key, absl::StrCat(value ? "true" : "false", ", expected ", expected ? "true" : "false"));
}

void RefuseUnlessNamed(const ConfigReader& config, const char* key,
                       std::initializer_list<absl::string_view> known) {
  std::string value;
  config.String(key, &value);
  if (value.empty()) return;
  for (const absl::string_view name : known) {
    if (value == name) return;
  }
  config.Unsupported(key, absl::StrCat("\"", absl::CHexEscape(value.substr(0, 60)),
                                       "\", expected \"", *known.begin(), "\""));
}

// What both forms call by the same name, at their top level.
void ReadSizes(const ConfigReader& config, const char* ratio_key, MptConfig* mpt) {
  PlainTextConfig& text = mpt->text;
  text = {.vocab_size = 50368,
          .hidden_size = 2048,
          .num_layers = 24,
          .num_heads = 16,
          .max_positions = 2048,
          .activation = Activation::kGelu,
          .layout = PlainWeightLayout::kBlocks,
          .default_eos = 0};  // <|endoftext|> of its only tokenizer.
  config.Int("vocab_size", 1, 1 << 22, &text.vocab_size);
  config.Int("d_model", 1, 65536, &text.hidden_size);
  config.Int("n_layers", 1, 1024, &text.num_layers);
  config.Int("n_heads", 1, 1024, &text.num_heads);
  config.Int("max_seq_len", 1, 1 << 24, &text.max_positions);
  int ratio = 4;
  config.Int(ratio_key, 1, 64, &ratio);
  text.intermediate_size = ratio * text.hidden_size;
  config.Float("layer_norm_epsilon", 0, 1, &text.norm_eps);
  bool no_bias = true;
  config.Bool("no_bias", &no_bias);
  mpt->has_bias = !no_bias;
  config.Bool("tie_word_embeddings", &text.tie_word_embeddings);
  // "low precision" rounds the inputs of a norm in half precision runs; sums are float32 here.
  RefuseUnlessNamed(config, "norm_type", {"low_precision_layernorm", "layernorm"});
  config.RefuseIfPresent("logit_scale");
  RefuseUnsupported(config);
  CheckPlainSizes(config, "n_heads", "d_model", text);
}

// What both forms say of attention, at the top level or in attn_config.
void ReadAttention(const ConfigReader& config, const char* clip_key, const char* qk_norm_key,
                   MptConfig* mpt) {
  PlainTextConfig& text = mpt->text;
  // The reference's two implementations disagree about the default.
  if (!config.Has("alibi")) config.Invalid("alibi", "is missing");
  RefuseUnless(config, "alibi", true);  // Learned positions otherwise.
  RefuseUnless(config, "prefix_lm", false);
  RefuseUnless(config, "attn_uses_sequence_id", false);
  RefuseUnless(config, "rope", false);
  RefuseUnlessNamed(config, "attn_type", {"multihead_attention"});
  text.alibi_bias_max = 8;
  config.Double("alibi_bias_max", 1e-3, 1024, &text.alibi_bias_max);
  config.Float(clip_key, 0, 1e6, &text.clip_qkv);
  config.Bool(qk_norm_key, &mpt->qk_norm);
  text.attention_scale = 1.0f / std::sqrt(static_cast<float>(text.head_dim()));
  config.Float("softmax_scale", 1e-6, 1e3, &text.attention_scale);
}

}  // namespace

MptConfig ReadMptConfig(const ConfigReader& config) {
  MptConfig mpt;
  ReadSizes(config, "expansion_ratio", &mpt);
  ReadAttention(config.Object("attn_config"), "clip_qkv", "qk_ln", &mpt);
  return mpt;
}

MptConfig ReadMosaicGptConfig(const ConfigReader& config) {
  MptConfig mpt;
  ReadSizes(config, "mlp_ratio", &mpt);
  ReadAttention(config, "attn_clip_qkv", "attn_qk_ln", &mpt);
  return mpt;
}

// --- Tensors

std::string CanonicalMptName(absl::string_view name) {
  absl::ConsumePrefix(&name, "transformer.");
  if (absl::StartsWith(name, "ln_f.")) return absl::StrReplaceAll(name, {{"ln_f.", "norm_f."}});
  return absl::StrReplaceAll(name, {{".ln_1.", ".norm_1."},
                                    {".ln_2.", ".norm_2."},
                                    {".mlp.mlp_up.", ".ffn.up_proj."},
                                    {".mlp.mlp_down.", ".ffn.down_proj."}});
}

namespace {

absl::StatusOr<PlainTextTensors::Layer> FindLayer(const MptConfig& config,
                                                  const std::string& prefix, WeightNames* names) {
  const int64_t D = config.text.hidden_size, I = config.text.intermediate_size;
  const bool bias = config.has_bias;
  const std::string attention = prefix + "attn.", mlp = prefix + "ffn.";
  PlainTextTensors::Layer layer;
  PREFIXD_ASSIGN_OR_RETURN(layer.attention_norm, FindLayerNorm(prefix + "norm_1", D, names, bias));
  PREFIXD_ASSIGN_OR_RETURN(layer.qkv, FindLinear(attention + "Wqkv", 3 * D, D, bias, names));
  if (config.qk_norm) {
    PREFIXD_ASSIGN_OR_RETURN(layer.q_norm, FindLayerNorm(attention + "q_ln", D, names, bias));
    PREFIXD_ASSIGN_OR_RETURN(layer.k_norm, FindLayerNorm(attention + "k_ln", D, names, bias));
  }
  PREFIXD_ASSIGN_OR_RETURN(layer.output, FindLinear(attention + "out_proj", D, D, bias, names));
  PREFIXD_ASSIGN_OR_RETURN(layer.mlp_norm, FindLayerNorm(prefix + "norm_2", D, names, bias));
  PREFIXD_ASSIGN_OR_RETURN(layer.up, FindLinear(mlp + "up_proj", I, D, bias, names));
  PREFIXD_ASSIGN_OR_RETURN(layer.down, FindLinear(mlp + "down_proj", D, I, bias, names));
  return layer;
}

// Tied checkpoints may still carry the head.
bool IsUnusedMptTensor(absl::string_view name) { return name == "lm_head.weight"; }

absl::StatusOr<std::unique_ptr<ModelFiles>> OpenForm(absl::string_view form,
                                                     const std::string& directory,
                                                     const ConfigReader& config,
                                                     const MptConfig& mpt) {
  return OpenPlainFamily(
      directory, config, mpt.text,
      {.name = form,
       .find = [mpt](WeightNames* names) { return FindMptTensors(mpt, "", names); },
       .canonical = CanonicalMptName,
       .is_known_unused = IsUnusedMptTensor});
}

}  // namespace

absl::StatusOr<PlainTextTensors> FindMptTensors(const MptConfig& config, const std::string& prefix,
                                                WeightNames* names) {
  const int64_t V = config.text.vocab_size, D = config.text.hidden_size;
  PlainTextTensors tensors;
  PREFIXD_ASSIGN_OR_RETURN(tensors.embedding, names->Find(prefix + "wte.weight", {V, D}));
  for (int i = 0; i < config.text.num_layers; ++i) {
    PREFIXD_ASSIGN_OR_RETURN(auto layer,
                             FindLayer(config, absl::StrCat(prefix, "blocks.", i, "."), names));
    tensors.layers.push_back(layer);
  }
  PREFIXD_ASSIGN_OR_RETURN(tensors.norm,
                           FindLayerNorm(prefix + "norm_f", D, names, config.has_bias));
  tensors.head = tensors.embedding;
  if (!config.text.tie_word_embeddings) {
    PREFIXD_ASSIGN_OR_RETURN(tensors.head, names->Find(prefix + "lm_head.weight", {V, D}));
  }
  return tensors;
}

absl::StatusOr<std::unique_ptr<ModelFiles>> OpenMpt(const std::string& directory,
                                                    const ConfigReader& config) {
  return OpenForm("mpt", directory, config, ReadMptConfig(config));
}

absl::StatusOr<std::unique_ptr<ModelFiles>> OpenMosaicGpt(const std::string& directory,
                                                          const ConfigReader& config) {
  return OpenForm("mosaic_gpt", directory, config, ReadMosaicGptConfig(config));
}

}  // namespace prefixd
