// GPT-NeoX (arXiv:2204.06745; Pythia, RedPajama-INCITE): configuration and tensors. Biases
// everywhere, rotation of a part of each head, residual branches in parallel or one after the
// other. The decoder is that of plain_text.h.
#ifndef PREFIXD_ENGINE_MODELS_GPT_NEOX_H_
#define PREFIXD_ENGINE_MODELS_GPT_NEOX_H_

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "engine/models/config_reader.h"
#include "engine/models/plain_text.h"
#include "engine/models/weight_names.h"

namespace prefixd {

struct GptNeoxConfig {
  PlainTextConfig text;
  bool attention_bias = true;  // On the maps of attention.
};

// Errors go to `config`; the result is only valid if there are none.
GptNeoxConfig ReadGptNeoxConfig(const ConfigReader& config);

// Without "gpt_neox."; the head is embed_out, also where a file calls it lm_head.
std::string CanonicalGptNeoxName(absl::string_view name);

// Whether a tensor (canonical) is a buffer of old files that is of no use.
bool IsGptNeoxBuffer(absl::string_view name);

// Finds and checks `prefix`{embed_in, layers.N.*, final_layer_norm, embed_out}.
absl::StatusOr<PlainTextTensors> FindGptNeoxTensors(const GptNeoxConfig& config,
                                                    const std::string& prefix, WeightNames* names);

}  // namespace prefixd

#endif  // PREFIXD_ENGINE_MODELS_GPT_NEOX_H_
