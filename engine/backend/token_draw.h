// How a token is drawn from a row of logits (docs/decisions.md, rule 6; order of steps as in the
// Hugging Face processors), as a backend is told. A draw depends on (seed, step, choice) and the
// logits alone: not on the backend's batch, and but for rounding not on the backend.
#ifndef PREFIXD_ENGINE_BACKEND_TOKEN_DRAW_H_
#define PREFIXD_ENGINE_BACKEND_TOKEN_DRAW_H_

#include <cstdint>
#include <utility>
#include <vector>

#include "absl/types/span.h"

namespace prefixd {

// A token that occurred before; what the penalties read.
struct CountedToken {
  int32_t id = 0;
  int32_t generated = 0;  // 0: in the prompt only.
};

struct DrawParams {
  float temperature = 0.0f;  // Below 1e-6: greedy.
  int32_t top_k = 0;         // 0: off.
  float top_p = 1.0f;
  float min_p = 0.0f;
  float repetition_penalty = 1.0f;
  float presence_penalty = 0.0f;
  float frequency_penalty = 0.0f;
  uint64_t seed = 0;    // Key of Philox4x32-10; its counter is (step, choice, 0, 0).
  uint32_t step = 0;    // Number of tokens generated before this one.
  uint32_t choice = 0;
};

// One draw. Spans are read before the call that takes them returns. Ids at or beyond the row's
// length are ignored; each list names an id once.
struct TokenDraw {
  int32_t logits_row = 0;
  DrawParams params;
  absl::Span<const std::pair<int32_t, float>> logit_bias;
  absl::Span<const CountedToken> counts;
  absl::Span<const int32_t> suppressed;  // Never drawn.
  int32_t forced = -1;                   // >= 0: the token is this one, whatever the logits say.
  int num_logprobs = -1;                 // 0..20: report that many alternatives; -1: nothing.
};

struct RankedToken {
  int32_t id = 0;
  float logprob = 0.0f;  // Natural log, of the raw logits.
  int32_t rank = 0;      // 1 = most likely; among equals the lowest id.
};

struct DrawnToken {
  int32_t token = -1;  // -1: a logit was NaN, or no token was left.
  RankedToken sampled;           // With num_logprobs >= 0 and a token.
  std::vector<RankedToken> top;  // The num_logprobs most likely tokens, best first.
};

// The id that stands for row `row` of the latest DrawTokens in a later Embed.
constexpr int32_t FromDraw(int32_t row) { return -1 - row; }

}  // namespace prefixd

#endif  // PREFIXD_ENGINE_BACKEND_TOKEN_DRAW_H_
