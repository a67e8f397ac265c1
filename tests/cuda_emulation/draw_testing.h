// Rows of logits for the tests of the draw kernels, what the host makes of them, and the launch.
#ifndef PREFIXD_TESTS_CUDA_EMULATION_DRAW_TESTING_H_
#define PREFIXD_TESTS_CUDA_EMULATION_DRAW_TESTING_H_

#include <cstdint>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "engine/backend/cuda/kernel_bug.h"
#include "engine/backend/cuda/kernels/draw_tokens.h"
#include "engine/backend/token_draw.h"

namespace prefixd::cuda {

// A draw with its own lists and logits; `draw()` refers to them.
struct DrawCase {
  std::vector<float> logits;
  TokenDraw params;  // Without lists.
  std::vector<std::pair<int32_t, float>> bias;
  std::vector<CountedToken> counts;
  std::vector<int32_t> suppressed;

  TokenDraw draw() const;
};

// A mistake in the kernels for as long as this lives.
class PlantedBug {
 public:
  explicit PlantedBug(KernelBug bug) { planted_kernel_bug = bug; }
  ~PlantedBug() { planted_kernel_bug = KernelBug::kNone; }
};

// Values that `type` holds.
std::vector<float> Rounded(const std::vector<float>& values, Element type);

// A case with anything in it: scores of several spreads with ties, infinities, rarely NaN, and
// parameters of every kind.
DrawCase RandomCase(int32_t vocabulary, Element type, std::mt19937_64* random);

// One launch for all cases, which have one vocabulary; case i has row n - 1 - i of the logits. Rows
// are `padding` elements apart, which hold large numbers, and begin one element off alignment.
std::vector<DrawResult> DrawOnDevice(const std::vector<DrawCase>& cases, Element type,
                                     int64_t padding = 0);

// What engine/backend/host_draw.h says.
DrawnToken DrawOnHost(const DrawCase& c);

// How the device's token, ranks or log-probs (by more than 1e-5) differ from the host's; empty if
// they do not.
std::string Difference(const DrawnToken& host, const DrawResult& device, int num_logprobs);

// The differences of all cases in one string.
std::string Differences(const std::vector<DrawCase>& cases, const std::vector<DrawResult>& results);

}  // namespace prefixd::cuda

#endif  // PREFIXD_TESTS_CUDA_EMULATION_DRAW_TESTING_H_
