// GPT-2 (Radford et al., "Language Models are Unsupervised Multitask Learners"): configuration and
// tensors. The decoder is that of plain_text.h.
#ifndef PREFIXD_ENGINE_MODELS_GPT2_H_
#define PREFIXD_ENGINE_MODELS_GPT2_H_

#include "absl/status/statusor.h"
#include "engine/models/config_reader.h"
#include "engine/models/plain_text.h"
#include "engine/models/weight_names.h"

namespace prefixd {

// Errors go to `config`; the result is only valid if there are none.
PlainTextConfig ReadGpt2Config(const ConfigReader& config);

// Finds and checks wte, wpe, h.N.*, ln_f and lm_head (canonical: without "transformer.").
absl::StatusOr<PlainTextTensors> FindGpt2Tensors(const PlainTextConfig& config, WeightNames* names);

}  // namespace prefixd

#endif  // PREFIXD_ENGINE_MODELS_GPT2_H_
