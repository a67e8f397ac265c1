#include "tools/random_values.h"

namespace prefixd {
namespace {

// The finaliser of SplitMix64 (public domain).
uint64_t Mix(uint64_t x) {
  x += 0x9E3779B97F4A7C15;
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EB;
  return x ^ (x >> 31);
}

}  // namespace

uint64_t TensorKey(uint64_t seed, absl::string_view name) {
  uint64_t key = Mix(seed);
  for (const char c : name) key = Mix(key ^ static_cast<uint8_t>(c));
  return key;
}

float RandomValue(uint64_t tensor_key, uint64_t index) {
  const uint64_t bits = Mix(tensor_key ^ Mix(index));
  int32_t sum = -2 * 65535;
  for (int i = 0; i < 4; ++i) sum += static_cast<int32_t>((bits >> (16 * i)) & 0xFFFF);
  constexpr float kInverseDeviation = 2.6428996e-05f;  // 1 / sqrt(4 * (65536^2 - 1) / 12).
  return static_cast<float>(sum) * kInverseDeviation;
}

}  // namespace prefixd
