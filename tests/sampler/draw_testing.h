// Draws on the host from what a request asks for.
#ifndef PREFIXD_TESTS_SAMPLER_DRAW_TESTING_H_
#define PREFIXD_TESTS_SAMPLER_DRAW_TESTING_H_

#include <cstdint>

#include "absl/types/span.h"
#include "engine/backend/host_draw.h"
#include "engine/sampler.h"

namespace prefixd {

inline int32_t Sample(absl::Span<const float> logits, const SampleRow& row, DrawScratch* scratch) {
  return DrawToken(logits, DrawOf(row), scratch);
}

inline LogprobEntry Logprobs(absl::Span<const float> logits, int32_t token, int num_top) {
  DrawnToken drawn;
  RankTokens(logits, token, num_top, &drawn);
  return LogprobsOf(drawn);
}

}  // namespace prefixd

#endif  // PREFIXD_TESTS_SAMPLER_DRAW_TESTING_H_
