// Rotary position embedding: what the configuration says, and the frequencies that follow from it.
// Source: RoFormer (arXiv:2104.09864); the llama3 scaling as in Llama 3.1's reference code.
#ifndef PREFIXD_ENGINE_MODELS_ROPE_H_
#define PREFIXD_ENGINE_MODELS_ROPE_H_

#include <vector>

#include "engine/models/config_reader.h"

namespace prefixd {

enum class RopeType { kDefault, kLinear, kLlama3 };

struct RopeConfig {
  RopeType type = RopeType::kDefault;
  double theta = 10000.0;
  double factor = 1.0;           // kLinear, kLlama3.
  double low_freq_factor = 1.0;  // kLlama3 from here on.
  double high_freq_factor = 4.0;
  double original_max_positions = 8192.0;
  std::vector<float> divisors;  // Of a GGUF file: head_dim / 2 of the frequencies; or empty.
};

// Reads rope_parameters, or rope_theta and rope_scaling where that is absent. Errors go to
// `config`.
RopeConfig ReadRopeConfig(const ConfigReader& config);

// Returns the head_dim / 2 inverse frequencies, computed in float32 as the reference does.
std::vector<float> InverseFrequencies(const RopeConfig& rope, int head_dim);

}  // namespace prefixd

#endif  // PREFIXD_ENGINE_MODELS_ROPE_H_
