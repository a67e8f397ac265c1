// The configuration of OpenFlamingo in one directory (docs/models.md): a CLIP tower, a perceiver
// resampler, gated cross-attention blocks and a language model.
#ifndef PREFIXD_ENGINE_MODELS_OPENFLAMINGO_CONFIG_H_
#define PREFIXD_ENGINE_MODELS_OPENFLAMINGO_CONFIG_H_

#include <cstdint>
#include <vector>

#include "engine/layers/clip.h"
#include "engine/layers/gated_cross_attention.h"
#include "engine/layers/perceiver.h"
#include "engine/models/config_reader.h"
#include "engine/models/openflamingo_text.h"

namespace prefixd {

struct OpenFlamingoConfig {
  FlamingoTextConfig text;
  ClipShape vision;
  int num_vision_layers = 0;
  bool normalise_vision_rows = false;  // vision_tokens_post_layernorm.
  PerceiverShape perceiver;
  int num_perceiver_layers = 6;
  GatedCrossAttentionShape gated;
  int cross_every = 1;         // A block lies before layer i where (i + 1) % cross_every == 0.
  int32_t media_token_id = 0;  // <image>.
  int32_t eoc_token_id = 0;    // <|endofchunk|>.

  // The decoder layers with a block before them, ascending.
  std::vector<int> gated_layers() const;
  // Columns of one block's keys and values.
  int64_t media_width() const { return 2 * gated.inner(); }
};

// Errors go to `config`; the result is only valid if there are none.
OpenFlamingoConfig ReadOpenFlamingoConfig(const ConfigReader& config);

}  // namespace prefixd

#endif  // PREFIXD_ENGINE_MODELS_OPENFLAMINGO_CONFIG_H_
