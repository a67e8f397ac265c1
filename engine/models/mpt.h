// MPT (MosaicML) and its early form "mosaic_gpt": configuration and tensors. No biases as a rule,
// distances by ALiBi (arXiv:2108.12409), optionally LayerNorm on q and k over all heads together.
// The decoder is that of plain_text.h.
#ifndef PREFIXD_ENGINE_MODELS_MPT_H_
#define PREFIXD_ENGINE_MODELS_MPT_H_

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "engine/models/config_reader.h"
#include "engine/models/plain_text.h"
#include "engine/models/weight_names.h"

namespace prefixd {

struct MptConfig {
  PlainTextConfig text;
  bool has_bias = false;  // On every linear map and norm.
  bool qk_norm = false;
};

// Errors go to `config`; the result is only valid if there are none. ReadMosaicGptConfig reads the
// flat keys of model_type "mosaic_gpt".
MptConfig ReadMptConfig(const ConfigReader& config);
MptConfig ReadMosaicGptConfig(const ConfigReader& config);

// One spelling for both: wte, blocks.N.{norm_1, attn.*, norm_2, ffn.*}, norm_f.
std::string CanonicalMptName(absl::string_view name);

// Finds and checks the tensors under `prefix` (canonical names).
absl::StatusOr<PlainTextTensors> FindMptTensors(const MptConfig& config, const std::string& prefix,
                                                WeightNames* names);

}  // namespace prefixd

#endif  // PREFIXD_ENGINE_MODELS_MPT_H_
