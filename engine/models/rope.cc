#include "engine/models/rope.h"

#include <cmath>
#include <numbers>
#include <string>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"

namespace prefixd {
namespace {

constexpr double kMaxRopeTheta = 1e12;
constexpr double kMaxFactor = 1e6;

void ReadScaling(const ConfigReader& scaling, RopeConfig* rope) {
  std::string type = "default";
  scaling.String("type", &type);  // The older spelling.
  scaling.String("rope_type", &type);
  if (type == "default") return;
  if (type != "linear" && type != "llama3") {
    scaling.Unsupported("rope_type", absl::StrCat("\"", absl::CHexEscape(type.substr(0, 40)),
                                                  "\" is not one of default, linear, llama3"));
    return;
  }
  if (!scaling.Has("factor")) scaling.Invalid("factor", "is missing");
  scaling.Double("factor", 1e-6, kMaxFactor, &rope->factor);
  rope->type = RopeType::kLinear;
  if (type == "linear") return;

  rope->type = RopeType::kLlama3;
  for (const char* key :
       {"low_freq_factor", "high_freq_factor", "original_max_position_embeddings"}) {
    if (!scaling.Has(key)) scaling.Invalid(key, "is missing");
  }
  scaling.Double("low_freq_factor", 1e-6, kMaxFactor, &rope->low_freq_factor);
  scaling.Double("high_freq_factor", 1e-6, kMaxFactor, &rope->high_freq_factor);
  scaling.Double("original_max_position_embeddings", 1, 1 << 24, &rope->original_max_positions);
  if (rope->high_freq_factor <= rope->low_freq_factor) {
    scaling.Invalid("high_freq_factor",
                    absl::StrCat(rope->high_freq_factor, " is not above low_freq_factor ",
                                 rope->low_freq_factor));
  }
}

// High frequencies stay, low ones are divided by the factor, those between are blended.
float ScaleLlama3(const RopeConfig& rope, float frequency) {
  const float factor = static_cast<float>(rope.factor);
  const float original = static_cast<float>(rope.original_max_positions);
  const float low = static_cast<float>(rope.low_freq_factor);
  const float high = static_cast<float>(rope.high_freq_factor);
  const float wavelength = 2.0f * std::numbers::pi_v<float> / frequency;
  if (wavelength < original / high) return frequency;
  if (wavelength > original / low) return frequency / factor;
  const float smooth = (original / wavelength - low) / (high - low);
  return (1.0f - smooth) * frequency / factor + smooth * frequency;
}

}  // namespace

RopeConfig ReadRopeConfig(const ConfigReader& config) {
  RopeConfig rope;
  constexpr double kMinTheta = 1e-6;
  if (config.Has("rope_parameters")) {
    const ConfigReader parameters = config.Object("rope_parameters");
    parameters.Double("rope_theta", kMinTheta, kMaxRopeTheta, &rope.theta);
    double rotated_share = 1.0;
    parameters.Double("partial_rotary_factor", 0, 1, &rotated_share);
    if (rotated_share != 1.0) {
      parameters.Unsupported("partial_rotary_factor", absl::StrCat(rotated_share, ", expected 1"));
    }
    ReadScaling(parameters, &rope);
    return rope;
  }
  config.Double("rope_theta", kMinTheta, kMaxRopeTheta, &rope.theta);
  ReadScaling(config.Object("rope_scaling"), &rope);
  return rope;
}

std::vector<float> InverseFrequencies(const RopeConfig& rope, int head_dim) {
  std::vector<float> frequencies(head_dim / 2);
  for (int i = 0; i < head_dim / 2; ++i) {
    const float exponent = static_cast<float>(2 * i) / static_cast<float>(head_dim);
    float frequency = 1.0f / std::pow(static_cast<float>(rope.theta), exponent);
    if (rope.type == RopeType::kLinear) frequency /= static_cast<float>(rope.factor);
    if (rope.type == RopeType::kLlama3) frequency = ScaleLlama3(rope, frequency);
    if (!rope.divisors.empty()) frequency /= rope.divisors[i];
    frequencies[i] = frequency;
  }
  return frequencies;
}

}  // namespace prefixd
