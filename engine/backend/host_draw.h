// Draws tokens on the host: what token_draw.h says, for backends that compute there, and what others
// are compared with. Pure functions.
#ifndef PREFIXD_ENGINE_BACKEND_HOST_DRAW_H_
#define PREFIXD_ENGINE_BACKEND_HOST_DRAW_H_

#include <array>
#include <cstdint>
#include <utility>
#include <vector>

#include "absl/types/span.h"
#include "engine/backend/token_draw.h"

namespace prefixd {

// Philox4x32-10. key = seed, counter = (c0, c1, c2, c3). Source: Salmon et al., "Parallel random
// numbers: as easy as 1, 2, 3", SC 2011.
std::array<uint32_t, 4> Philox4x32(uint64_t key, const std::array<uint32_t, 4>& counter);

// Working memory of DrawToken, reused so that a draw allocates nothing.
struct DrawScratch {
  using Candidate = std::pair<float, int32_t>;  // Logit divided by the temperature, token id.

  std::vector<float> logits;
  std::vector<Candidate> candidates;  // By ascending id.
  std::vector<double> weights;        // exp(logit - largest logit) of each candidate.
  std::vector<Candidate> ranked;      // What top-k and top-p order by likelihood.
};

// Returns the drawn token id, `forced` left aside. `logits`: [vocab], raw. Greedy ties go to the
// lowest id. Returns -1 if a logit is NaN or no token is left (the row failed).
int32_t DrawToken(absl::Span<const float> logits, const TokenDraw& draw, DrawScratch* scratch);

// Fills `sampled` (for `token`) and `top` (the `num_top` most likely tokens; ties to the lowest id)
// of `result` from the raw logits. Sums in double, in id order.
void RankTokens(absl::Span<const float> logits, int32_t token, int num_top, DrawnToken* result);

// log(sum(exp(logits))), in double, in id order.
double LogSumExp(absl::Span<const float> logits);

}  // namespace prefixd

#endif  // PREFIXD_ENGINE_BACKEND_HOST_DRAW_H_
