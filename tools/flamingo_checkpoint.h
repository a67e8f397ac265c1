// The trained part of an OpenFlamingo (checkpoint.pt) by the names of the converted model.
#ifndef PREFIXD_TOOLS_FLAMINGO_CHECKPOINT_H_
#define PREFIXD_TOOLS_FLAMINGO_CHECKPOINT_H_

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "absl/status/statusor.h"
#include "tools/conversion.h"
#include "tools/tensor_source.h"

namespace prefixd::tools {

struct FlamingoCheckpoint {
  std::vector<OutputTensor> tensors;  // perceiver.* and gated_cross_attn_layers.N.*.
  // By the name in the language model: "transformer.wte.weight". Trained, so they replace its own.
  std::map<std::string, OutputTensor> embeddings;
  int64_t num_tokens = 0;   // Rows of every embedding.
  int cross_every = 0;      // A block stands before every so many layers.
  std::vector<int> blocks;  // The layers with a block, ascending.
  nlohmann::ordered_json perceiver_config, cross_attention_config;
};

// `num_heads` of the perceiver and of the blocks. Errors: INVALID_ARGUMENT naming file and tensor.
absl::StatusOr<FlamingoCheckpoint> ReadFlamingoCheckpoint(const TensorSource& source,
                                                          int num_heads);

}  // namespace prefixd::tools

#endif  // PREFIXD_TOOLS_FLAMINGO_CHECKPOINT_H_
