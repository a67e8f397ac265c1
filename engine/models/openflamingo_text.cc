#include "engine/models/openflamingo_text.h"

#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/status_macros.h"

namespace prefixd {
namespace {

constexpr char kPrefix[] = "text.";

// The plain decoder's configuration, or null for Llama.
const PlainTextConfig* PlainOf(const FlamingoTextConfig& config) {
  if (const auto* mpt = std::get_if<MptConfig>(&config)) return &mpt->text;
  if (const auto* neox = std::get_if<GptNeoxConfig>(&config)) return &neox->text;
  return nullptr;
}

}  // namespace

FlamingoTextConfig ReadFlamingoTextConfig(const ConfigReader& config) {
  std::string model_type;
  config.String("model_type", &model_type);
  if (model_type == "mpt") return ReadMptConfig(config);
  if (model_type == "mosaic_gpt") return ReadMosaicGptConfig(config);
  if (model_type == "gpt_neox") return ReadGptNeoxConfig(config);
  if (model_type == "llama") return ReadLlamaConfig(config);
  config.Unsupported("model_type",
                     absl::StrCat("\"", absl::CHexEscape(model_type.substr(0, 60)),
                                  "\" is not one of mpt, mosaic_gpt, gpt_neox, llama"));
  return MptConfig();
}

FlamingoTextSizes SizesOf(const FlamingoTextConfig& config) {
  if (const PlainTextConfig* plain = PlainOf(config)) {
    // <|endoftext|> of the tokenizer that MPT and GPT-NeoX share.
    return {plain->vocab_size, plain->hidden_size, plain->num_layers, 0};
  }
  const LlamaConfig& llama = std::get<LlamaConfig>(config);
  return {llama.vocab_size, llama.hidden_size, llama.num_layers, 2};
}

std::string CanonicalFlamingoTextName(const FlamingoTextConfig& config, absl::string_view name) {
  if (std::holds_alternative<MptConfig>(config)) {
    return absl::StrCat(kPrefix, CanonicalMptName(name));
  }
  if (std::holds_alternative<GptNeoxConfig>(config)) {
    return absl::StrCat(kPrefix, CanonicalGptNeoxName(name));
  }
  if (name == "lm_head.weight") return std::string(name);
  absl::ConsumePrefix(&name, "model.");
  return absl::StrCat(kPrefix, name);
}

absl::StatusOr<FlamingoTextTensors> FindFlamingoTextTensors(const FlamingoTextConfig& config,
                                                            WeightNames* names) {
  if (const auto* mpt = std::get_if<MptConfig>(&config)) {
    return FindMptTensors(*mpt, kPrefix, names);
  }
  if (const auto* neox = std::get_if<GptNeoxConfig>(&config)) {
    return FindGptNeoxTensors(*neox, kPrefix, names);
  }
  return FindLlamaTensors(std::get<LlamaConfig>(config), kPrefix, names);
}

void FillTextSpec(const FlamingoTextConfig& config, const FlamingoTextTensors& tensors,
                  ModelSpec* spec) {
  if (const PlainTextConfig* plain = PlainOf(config)) {
    return FillTextSpec(*plain, std::get<PlainTextTensors>(tensors), spec);
  }
  FillTextSpec(std::get<LlamaConfig>(config), std::get<LlamaTensors>(tensors), spec);
}

absl::StatusOr<std::unique_ptr<TextDecoder>> LoadFlamingoText(const FlamingoTextConfig& config,
                                                              const FlamingoTextTensors& tensors,
                                                              const ModelLimits& limits,
                                                              WeightReader* reader) {
  if (const PlainTextConfig* plain = PlainOf(config)) {
    return PlainTextDecoder::Load(*plain, std::get<PlainTextTensors>(tensors), limits, reader);
  }
  return LlamaDecoder::Load(std::get<LlamaConfig>(config), std::get<LlamaTensors>(tensors), limits,
                            reader);
}

}  // namespace prefixd
