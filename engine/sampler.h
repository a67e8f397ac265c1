// From what a request wants of sampling to the draws of a backend (docs/decisions.md, rule 6).
#ifndef PREFIXD_ENGINE_SAMPLER_H_
#define PREFIXD_ENGINE_SAMPLER_H_

#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "engine/backend/token_draw.h"
#include "engine/request.h"

namespace prefixd {

// How often each token occurred; what the penalties read. Sparse, engine thread only.
class TokenCounter {
 public:
  void AddPrompt(absl::Span<const int32_t> ids);
  void AddGenerated(int32_t id);

  // One entry for each distinct id, in order of first occurrence.
  absl::Span<const CountedToken> entries() const { return entries_; }

 private:
  CountedToken& Find(int32_t id);

  std::vector<CountedToken> entries_;
  std::vector<int32_t> index_;  // By token id: 1 + index into entries_, or 0.
};

// Everything about one draw except the logits.
struct SampleRow {
  const SamplingParams* params = nullptr;
  uint64_t seed = 0;
  uint32_t step = 0;  // Number of tokens generated before this one.
  uint32_t choice = 0;
  const TokenCounter* counts = nullptr;  // Null: no penalties.
  absl::Span<const int32_t> suppressed;  // Never drawn (stop ids before min_tokens, the
                                         // image placeholder).
};

// The draw; it refers to what `row` refers to.
TokenDraw DrawOf(const SampleRow& row);

// For a client: token bytes are left empty.
LogprobEntry LogprobsOf(const DrawnToken& drawn);

}  // namespace prefixd

#endif  // PREFIXD_ENGINE_SAMPLER_H_
