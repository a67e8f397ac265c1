#include "engine/models/gpt2.h"

#include <cmath>
#include <memory>
#include <string>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/status_macros.h"
#include "engine/models/families.h"
#include "engine/models/plain_family.h"

namespace prefixd {

// --- Configuration

PlainTextConfig ReadGpt2Config(const ConfigReader& config) {
  PlainTextConfig text{.vocab_size = 50257,
                       .hidden_size = 768,
                       .num_layers = 12,
                       .num_heads = 12,
                       .max_positions = 1024,
                       .activation = Activation::kGeluTanh,
                       .layout = PlainWeightLayout::kTransposed,
                       .default_eos = 50256};
  config.Int("vocab_size", 1, 1 << 22, &text.vocab_size);
  for (const char* key : {"hidden_size", "n_embd"}) config.Int(key, 1, 65536, &text.hidden_size);
  for (const char* key : {"num_hidden_layers", "n_layer"}) {
    config.Int(key, 1, 1024, &text.num_layers);
  }
  for (const char* key : {"num_attention_heads", "n_head"}) {
    config.Int(key, 1, 1024, &text.num_heads);
  }
  for (const char* key : {"n_ctx", "max_position_embeddings", "n_positions"}) {
    config.Int(key, 1, 1 << 24, &text.max_positions);
  }
  text.intermediate_size = 4 * text.hidden_size;
  config.Int("n_inner", 1, 1 << 20, &text.intermediate_size);
  config.Float("layer_norm_epsilon", 0, 1, &text.norm_eps);
  ReadActivation(config, "activation_function", &text.activation);
  bool scale_scores = true;
  config.Bool("scale_attn_weights", &scale_scores);
  config.Bool("scale_attn_by_inverse_layer_idx", &text.inverse_layer);
  config.Bool("tie_word_embeddings", &text.tie_word_embeddings);
  bool cross_attention = false;
  config.Bool("add_cross_attention", &cross_attention);
  if (cross_attention) config.Unsupported("add_cross_attention", "true, expected false");
  RefuseUnsupported(config);
  CheckPlainSizes(config, "n_head", "n_embd", text);
  if (scale_scores) {
    text.attention_scale = 1.0f / std::sqrt(static_cast<float>(text.head_dim()));
  }
  return text;
}

// --- Tensors

namespace {

// A weight of the file is [inputs, outputs].
absl::StatusOr<TensorPair> FindConv1d(const std::string& name, int64_t inputs, int64_t outputs,
                                      WeightNames* names) {
  TensorPair pair;
  PREFIXD_ASSIGN_OR_RETURN(pair.weight, names->Find(name + ".weight", {inputs, outputs}));
  PREFIXD_ASSIGN_OR_RETURN(pair.bias, names->Find(name + ".bias", {outputs}));
  return pair;
}

absl::StatusOr<PlainTextTensors::Layer> FindLayer(const PlainTextConfig& config,
                                                  const std::string& prefix, WeightNames* names) {
  const int64_t D = config.hidden_size, I = config.intermediate_size;
  PlainTextTensors::Layer layer;
  PREFIXD_ASSIGN_OR_RETURN(layer.attention_norm, FindLayerNorm(prefix + "ln_1", D, names));
  PREFIXD_ASSIGN_OR_RETURN(layer.qkv, FindConv1d(prefix + "attn.c_attn", D, 3 * D, names));
  PREFIXD_ASSIGN_OR_RETURN(layer.output, FindConv1d(prefix + "attn.c_proj", D, D, names));
  PREFIXD_ASSIGN_OR_RETURN(layer.mlp_norm, FindLayerNorm(prefix + "ln_2", D, names));
  PREFIXD_ASSIGN_OR_RETURN(layer.up, FindConv1d(prefix + "mlp.c_fc", D, I, names));
  PREFIXD_ASSIGN_OR_RETURN(layer.down, FindConv1d(prefix + "mlp.c_proj", I, D, names));
  return layer;
}

// The files of the first release have no prefix.
std::string CanonicalName(absl::string_view name) {
  absl::ConsumePrefix(&name, "transformer.");
  return std::string(name);
}

// Tied checkpoints may still carry the head; old ones carry the causal mask.
bool IsKnownUnused(absl::string_view name) {
  return name == "lm_head.weight" || absl::EndsWith(name, ".attn.bias") ||
         absl::EndsWith(name, ".attn.masked_bias");
}

}  // namespace

absl::StatusOr<PlainTextTensors> FindGpt2Tensors(const PlainTextConfig& config,
                                                 WeightNames* names) {
  const int64_t V = config.vocab_size, D = config.hidden_size;
  PlainTextTensors tensors;
  PREFIXD_ASSIGN_OR_RETURN(tensors.embedding, names->Find("wte.weight", {V, D}));
  PREFIXD_ASSIGN_OR_RETURN(tensors.positions, names->Find("wpe.weight", {config.max_positions, D}));
  for (int i = 0; i < config.num_layers; ++i) {
    PREFIXD_ASSIGN_OR_RETURN(auto layer, FindLayer(config, absl::StrCat("h.", i, "."), names));
    tensors.layers.push_back(layer);
  }
  PREFIXD_ASSIGN_OR_RETURN(tensors.norm, FindLayerNorm("ln_f", D, names));
  tensors.head = tensors.embedding;
  if (!config.tie_word_embeddings) {
    PREFIXD_ASSIGN_OR_RETURN(tensors.head, names->Find("lm_head.weight", {V, D}));
  }
  return tensors;
}

absl::StatusOr<std::unique_ptr<ModelFiles>> OpenGpt2(const std::string& directory,
                                                     const ConfigReader& config) {
  const PlainTextConfig text = ReadGpt2Config(config);
  return OpenPlainFamily(
      directory, config, text,
      {.name = "gpt2",
       .find = [text](WeightNames* names) { return FindGpt2Tensors(text, names); },
       .canonical = CanonicalName,
       .is_known_unused = IsKnownUnused});
}

}  // namespace prefixd
