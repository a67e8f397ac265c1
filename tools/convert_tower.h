// The vision tower of a converted model: CLIP's, as transformers or open_clip write it.
#ifndef PREFIXD_TOOLS_CONVERT_TOWER_H_
#define PREFIXD_TOOLS_CONVERT_TOWER_H_

#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "absl/status/statusor.h"
#include "tools/conversion.h"
#include "tools/tensor_source.h"

namespace prefixd::tools {

struct Tower {
  // Under the names of transformers, behind "vision_model.": "encoder.layers.0.mlp.fc1.weight".
  std::vector<OutputTensor> tensors;
  nlohmann::ordered_json config;  // A vision_config.
  int64_t image_size = 0;
};

// Reads names and shapes of `source`, and config.json beside the weights where there is one. Heads
// are `num_heads`, or if that is 0 what the configuration says, or 64 columns each.
// Errors: INVALID_ARGUMENT naming the file and the tensor.
absl::StatusOr<Tower> ReadTower(const TensorSource& source, int num_heads);

}  // namespace prefixd::tools

#endif  // PREFIXD_TOOLS_CONVERT_TOWER_H_
