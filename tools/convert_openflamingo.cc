// convert openflamingo: the trained part, the language model and the tower, which are published
// apart, to one directory (docs/models.md).
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/status_macros.h"
#include "tools/conversion.h"
#include "tools/convert.h"
#include "tools/convert_tower.h"
#include "tools/flamingo_checkpoint.h"
#include "tools/flamingo_tokenizer.h"

namespace prefixd::tools {
namespace {

std::string TowerName(absl::string_view name) {
  absl::ConsumePrefix(&name, "embeddings.");
  absl::ConsumePrefix(&name, "encoder.");
  if (absl::ConsumePrefix(&name, "pre_layrnorm.")) {
    return absl::StrCat("vision_encoder.pre_layernorm.", name);
  }
  return absl::StrCat("vision_encoder.", name);
}

// The language model's own tensors with the trained embeddings in place of its own.
absl::Status AddLanguageModel(const TensorSource& source, const FlamingoCheckpoint& checkpoint,
                              bool is_tied, std::vector<OutputTensor>* out) {
  bool has_embedding = false;
  for (const auto& [name, tensor] : source.tensors()) {
    if (!IsWeight(tensor) || (is_tied && name == "lm_head.weight")) continue;
    OutputTensor added;
    const auto trained = checkpoint.embeddings.find(name);
    if (trained != checkpoint.embeddings.end()) {
      added = trained->second;
      if (tensor.shape.size() != 2 || tensor.shape[1] != added.shape[1]) {
        return absl::InvalidArgumentError(absl::StrCat(
            added.tensor->file, ": tensor ", added.tensor->name, ": shape ",
            ShapeString(added.shape), ", the language model's is ", ShapeString(tensor.shape)));
      }
      has_embedding = true;
    } else {
      PREFIXD_ASSIGN_OR_RETURN(added, WholeTensor(source, tensor, name));
    }
    added.name = absl::StrCat("lang_encoder.", name);
    out->push_back(std::move(added));
  }
  if (has_embedding) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(
      checkpoint.tensors.front().tensor->file,
      ": no embedding that the language model has (such as lang_encoder.transformer.wte.weight)"));
}

struct LanguageConfig {
  nlohmann::ordered_json text;
  bool is_tied = false;
};

absl::StatusOr<LanguageConfig> ReadLanguageConfig(const std::string& directory,
                                                  int64_t num_tokens) {
  const std::string path = absl::StrCat(directory, "/config.json");
  LanguageConfig config;
  PREFIXD_ASSIGN_OR_RETURN(config.text, ReadOrderedJson(path));
  const std::string type =
      config.text.contains("model_type") && config.text["model_type"].is_string()
          ? config.text["model_type"].get<std::string>()
          : "";
  if (type != "mpt" && type != "mosaic_gpt" && type != "gpt_neox" && type != "llama") {
    return absl::UnimplementedError(absl::StrCat(
        path, ": model_type \"", type, "\" is not one of mpt, mosaic_gpt, gpt_neox, llama"));
  }
  config.is_tied =
      type == "mpt" || type == "mosaic_gpt" ||
      (config.text.contains("tie_word_embeddings") && config.text["tie_word_embeddings"] == true);
  config.text["vocab_size"] = num_tokens;
  return config;
}

absl::Status WriteConfigs(const FlamingoCheckpoint& checkpoint, const FlamingoTokens& tokens,
                          const Tower& tower, const nlohmann::ordered_json& text,
                          const OutputDirectory& out) {
  PREFIXD_RETURN_IF_ERROR(
      out.WriteJson("config.json", {{"model_type", "openflamingo"},
                                    {"architectures", {"OpenFlamingoForConditionalGeneration"}},
                                    {"cross_attn_every_n_layers", checkpoint.cross_every},
                                    {"only_attend_immediate_media", true},
                                    {"vision_tokens_post_layernorm", false},
                                    {"media_token_id", tokens.image},
                                    {"eoc_token_id", tokens.end_of_chunk},
                                    {"pad_token_id", tokens.padding},
                                    {"vision_config", tower.config},
                                    {"perceiver_config", checkpoint.perceiver_config},
                                    {"cross_attention_config", checkpoint.cross_attention_config},
                                    {"text_config", text}}));
  const nlohmann::ordered_json ends = {tokens.end_of_chunk, tokens.end_of_text};
  PREFIXD_RETURN_IF_ERROR(out.WriteJson(
      "generation_config.json", {{"eos_token_id", ends}, {"pad_token_id", tokens.padding}}));
  return out.WriteJson("preprocessor_config.json",
                       {{"image_processor_type", "CLIPImageProcessor"},
                        {"do_convert_rgb", true},
                        {"do_resize", true},
                        {"size", {{"shortest_edge", tower.image_size}}},
                        {"resample", 3},
                        {"do_center_crop", true},
                        {"crop_size", {{"height", tower.image_size}, {"width", tower.image_size}}},
                        {"crop_rounding", "half_even"},
                        {"do_rescale", true},
                        {"rescale_factor", 1.0 / 255.0},
                        {"do_normalize", true},
                        {"image_mean", {0.48145466, 0.4578275, 0.40821073}},
                        {"image_std", {0.26862954, 0.26130258, 0.27577711}}});
}

}  // namespace

absl::Status ConvertOpenFlamingo(const ConvertOpenFlamingoOptions& options) {
  PREFIXD_ASSIGN_OR_RETURN(const TensorSource trained, TensorSource::Open(options.checkpoint));
  PREFIXD_ASSIGN_OR_RETURN(const FlamingoCheckpoint checkpoint,
                           ReadFlamingoCheckpoint(trained, options.attention_heads));
  PREFIXD_ASSIGN_OR_RETURN(const LanguageConfig language,
                           ReadLanguageConfig(options.language_model, checkpoint.num_tokens));
  PREFIXD_ASSIGN_OR_RETURN(const TensorSource model, TensorSource::Open(options.language_model));
  PREFIXD_ASSIGN_OR_RETURN(const TensorSource tower_source,
                           TensorSource::Open(options.vision_tower));
  PREFIXD_ASSIGN_OR_RETURN(const Tower tower, ReadTower(tower_source, options.vision_heads));

  std::vector<OutputTensor> tensors = checkpoint.tensors;
  PREFIXD_RETURN_IF_ERROR(AddLanguageModel(model, checkpoint, language.is_tied, &tensors));
  for (OutputTensor tensor : tower.tensors) {
    tensor.name = TowerName(tensor.name);
    tensors.push_back(std::move(tensor));
  }
  PREFIXD_ASSIGN_OR_RETURN(OutputDirectory out, OutputDirectory::Create(options.out));
  PREFIXD_ASSIGN_OR_RETURN(
      const FlamingoTokens tokens,
      WriteFlamingoTokenizer(options.language_model, checkpoint.num_tokens, out));
  PREFIXD_RETURN_IF_ERROR(WriteConfigs(checkpoint, tokens, tower, language.text, out));
  PREFIXD_RETURN_IF_ERROR(out.WriteWeights(tensors));
  return out.Commit();
}

}  // namespace prefixd::tools
