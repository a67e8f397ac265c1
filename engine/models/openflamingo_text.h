// The language model inside OpenFlamingo: MPT, mosaic_gpt, GPT-NeoX or Llama, whichever the
// text_config names, behind one set of functions.
#ifndef PREFIXD_ENGINE_MODELS_OPENFLAMINGO_TEXT_H_
#define PREFIXD_ENGINE_MODELS_OPENFLAMINGO_TEXT_H_

#include <cstdint>
#include <memory>
#include <string>
#include <variant>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "engine/models/config_reader.h"
#include "engine/models/gpt_neox.h"
#include "engine/models/llama.h"
#include "engine/models/model.h"
#include "engine/models/mpt.h"
#include "engine/models/text_decoder.h"
#include "engine/models/weight_names.h"
#include "engine/models/weight_reader.h"

namespace prefixd {

using FlamingoTextConfig = std::variant<MptConfig, GptNeoxConfig, LlamaConfig>;
using FlamingoTextTensors = std::variant<PlainTextTensors, LlamaTensors>;

// Reads text_config by its model_type. Errors go to `config`.
FlamingoTextConfig ReadFlamingoTextConfig(const ConfigReader& config);

struct FlamingoTextSizes {
  int vocab_size = 0;
  int hidden_size = 0;
  int num_layers = 0;
  int32_t end_of_text = 0;  // The id of its tokenizer, where no file names one.
};
FlamingoTextSizes SizesOf(const FlamingoTextConfig& config);

// The canonical name, "text.*" (Llama's head: "lm_head.weight"), of a tensor whose name in the file
// is `name` behind "lang_encoder.".
std::string CanonicalFlamingoTextName(const FlamingoTextConfig& config, absl::string_view name);

absl::StatusOr<FlamingoTextTensors> FindFlamingoTextTensors(const FlamingoTextConfig& config,
                                                            WeightNames* names);

void FillTextSpec(const FlamingoTextConfig& config, const FlamingoTextTensors& tensors,
                  ModelSpec* spec);

absl::StatusOr<std::unique_ptr<TextDecoder>> LoadFlamingoText(const FlamingoTextConfig& config,
                                                              const FlamingoTextTensors& tensors,
                                                              const ModelLimits& limits,
                                                              WeightReader* reader);

}  // namespace prefixd

#endif  // PREFIXD_ENGINE_MODELS_OPENFLAMINGO_TEXT_H_
