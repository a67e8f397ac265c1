#include "engine/models/gpt_neox.h"

#include <cmath>
#include <memory>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/status_macros.h"
#include "engine/models/families.h"
#include "engine/models/plain_family.h"

namespace prefixd {
namespace {

// --- Configuration

constexpr double kMaxTheta = 1e12;

void RefuseScaling(const ConfigReader& scaling) {
  std::string type = "default";
  scaling.String("type", &type);
  scaling.String("rope_type", &type);
  if (type != "default") {
    scaling.Unsupported("rope_type", absl::StrCat("\"", absl::CHexEscape(type.substr(0, 40)),
                                                  "\", expected \"default\""));
  }
}

// The keys have three generations; the newest that is present wins.
void ReadRotation(const ConfigReader& config, PlainTextConfig* text) {
  double share = 0.25;
  config.Double("rotary_pct", 0, 1, &share);
  config.Double("partial_rotary_factor", 0, 1, &share);
  config.Double("rotary_emb_base", 1e-6, kMaxTheta, &text->rope.theta);
  config.Double("rope_theta", 1e-6, kMaxTheta, &text->rope.theta);
  const ConfigReader parameters = config.Object("rope_parameters");
  parameters.Double("partial_rotary_factor", 0, 1, &share);
  parameters.Double("rope_theta", 1e-6, kMaxTheta, &text->rope.theta);
  RefuseScaling(parameters);
  RefuseScaling(config.Object("rope_scaling"));
  text->rotary_size = static_cast<int>(text->head_dim() * share);
  if (text->rotary_size < 2 || text->rotary_size % 2 != 0) {
    config.Invalid("rotary_pct", absl::StrCat(share, " of ", text->head_dim(), " is ",
                                              text->rotary_size, ", expected an even number"));
  }
}

}  // namespace

GptNeoxConfig ReadGptNeoxConfig(const ConfigReader& config) {
  GptNeoxConfig neox;
  PlainTextConfig& text = neox.text;
  text = {.vocab_size = 50432,
          .hidden_size = 6144,
          .intermediate_size = 24576,
          .num_layers = 44,
          .num_heads = 64,
          .max_positions = 2048,
          .activation = Activation::kGelu,
          .parallel_residual = true,
          .tie_word_embeddings = false,
          .layout = PlainWeightLayout::kPerHead,
          .default_eos = 2};
  config.Int("vocab_size", 1, 1 << 22, &text.vocab_size);
  config.Int("hidden_size", 1, 65536, &text.hidden_size);
  config.Int("intermediate_size", 1, 1 << 20, &text.intermediate_size);
  config.Int("num_hidden_layers", 1, 1024, &text.num_layers);
  config.Int("num_attention_heads", 1, 1024, &text.num_heads);
  config.Int("max_position_embeddings", 1, 1 << 24, &text.max_positions);
  config.Float("layer_norm_eps", 0, 1, &text.norm_eps);
  config.Bool("use_parallel_residual", &text.parallel_residual);
  config.Bool("attention_bias", &neox.attention_bias);
  config.Bool("tie_word_embeddings", &text.tie_word_embeddings);
  ReadActivation(config, "hidden_act", &text.activation);
  RefuseUnsupported(config);
  CheckPlainSizes(config, "num_attention_heads", "hidden_size", text);
  ReadRotation(config, &text);
  text.attention_scale = 1.0f / std::sqrt(static_cast<float>(text.head_dim()));
  return neox;
}

// --- Tensors

std::string CanonicalGptNeoxName(absl::string_view name) {
  absl::ConsumePrefix(&name, "gpt_neox.");
  if (name == "lm_head.weight") return "embed_out.weight";
  return std::string(name);
}

bool IsGptNeoxBuffer(absl::string_view name) {
  return absl::EndsWith(name, ".attention.bias") || absl::EndsWith(name, ".masked_bias") ||
         absl::EndsWith(name, "rotary_emb.inv_freq");
}

namespace {

absl::StatusOr<PlainTextTensors::Layer> FindLayer(const GptNeoxConfig& config,
                                                  const std::string& prefix, WeightNames* names) {
  const int64_t D = config.text.hidden_size, I = config.text.intermediate_size;
  const bool bias = config.attention_bias;
  const std::string attention = prefix + "attention.", mlp = prefix + "mlp.";
  PlainTextTensors::Layer layer;
  PREFIXD_ASSIGN_OR_RETURN(layer.attention_norm,
                           FindLayerNorm(prefix + "input_layernorm", D, names));
  PREFIXD_ASSIGN_OR_RETURN(layer.qkv,
                           FindLinear(attention + "query_key_value", 3 * D, D, bias, names));
  PREFIXD_ASSIGN_OR_RETURN(layer.output, FindLinear(attention + "dense", D, D, bias, names));
  PREFIXD_ASSIGN_OR_RETURN(layer.mlp_norm,
                           FindLayerNorm(prefix + "post_attention_layernorm", D, names));
  PREFIXD_ASSIGN_OR_RETURN(layer.up, FindLinear(mlp + "dense_h_to_4h", I, D, true, names));
  PREFIXD_ASSIGN_OR_RETURN(layer.down, FindLinear(mlp + "dense_4h_to_h", D, I, true, names));
  return layer;
}

bool IsUnusedNeoxTensor(absl::string_view name) {
  return name == "embed_out.weight" || IsGptNeoxBuffer(name);
}

}  // namespace

absl::StatusOr<PlainTextTensors> FindGptNeoxTensors(const GptNeoxConfig& config,
                                                    const std::string& prefix, WeightNames* names) {
  const int64_t V = config.text.vocab_size, D = config.text.hidden_size;
  PlainTextTensors tensors;
  PREFIXD_ASSIGN_OR_RETURN(tensors.embedding, names->Find(prefix + "embed_in.weight", {V, D}));
  for (int i = 0; i < config.text.num_layers; ++i) {
    PREFIXD_ASSIGN_OR_RETURN(auto layer,
                             FindLayer(config, absl::StrCat(prefix, "layers.", i, "."), names));
    tensors.layers.push_back(layer);
  }
  PREFIXD_ASSIGN_OR_RETURN(tensors.norm, FindLayerNorm(prefix + "final_layer_norm", D, names));
  tensors.head = tensors.embedding;
  if (!config.text.tie_word_embeddings) {
    PREFIXD_ASSIGN_OR_RETURN(tensors.head, names->Find(prefix + "embed_out.weight", {V, D}));
  }
  return tensors;
}

absl::StatusOr<std::unique_ptr<ModelFiles>> OpenGptNeox(const std::string& directory,
                                                        const ConfigReader& config) {
  const GptNeoxConfig neox = ReadGptNeoxConfig(config);
  return OpenPlainFamily(
      directory, config, neox.text,
      {.name = "gpt_neox",
       .find = [neox](WeightNames* names) { return FindGptNeoxTensors(neox, "", names); },
       .canonical = CanonicalGptNeoxName,
       .is_known_unused = IsUnusedNeoxTensor});
}

}  // namespace prefixd
