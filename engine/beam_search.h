// Beam search over one prompt, without a model: which hypotheses go on and which are complete. The
// semantics are those of the reference's generate() with early_stopping=false: of all continuations
// the best num_beams that do not end go on; those among the best num_beams that end are complete,
// and of the complete ones the best num_beams are kept. A hypothesis of n generated tokens is worth
// the sum of their log-probabilities / n^length_penalty. Engine thread only.
#ifndef PREFIXD_ENGINE_BEAM_SEARCH_H_
#define PREFIXD_ENGINE_BEAM_SEARCH_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/types/span.h"

namespace prefixd {

// Most continuations of one beam that are looked at; what DrawTokens ranks at most.
inline constexpr int kBeamCandidates = 20;

class BeamSearch {
 public:
  struct Candidate {
    int32_t token = 0;
    double logprob = 0;
  };
  // A beam that goes on with `token` from beam `parent`.
  struct Continuation {
    size_t parent = 0;
    int32_t token = 0;
  };
  // A complete hypothesis, with the token that ended it.
  struct Hypothesis {
    std::vector<int32_t> tokens;
    double worth = 0;
    bool ended = false;  // By an end token; else by its length.
  };

  // Requires: 2 <= num_beams <= 8; max_tokens >= 1.
  BeamSearch(int num_beams, double length_penalty, int32_t max_tokens);

  // Beams that are alive: 1 before the first Advance, num_beams afterwards.
  size_t num_alive() const { return beams_.size(); }

  // candidates[i]: the best continuations of beam i, at most kBeamCandidates, best first; at least
  // num_beams of them that do not end. Returns the beams that go on, best first, or none when the
  // search is over. Requires: not over; one list for each beam that is alive.
  std::vector<Continuation> Advance(absl::Span<const std::vector<Candidate>> candidates,
                                    absl::FunctionRef<bool(int32_t)> ends);

  bool over() const { return over_; }
  // The complete hypotheses, best first. Where there are none, or with `with_alive`, those that are
  // alive count as complete.
  std::vector<Hypothesis> Best(bool with_alive) const;

 private:
  struct Beam {
    std::vector<int32_t> tokens;
    double sum = 0;  // Of log-probabilities.
  };
  double Worth(double sum, size_t num_tokens) const;
  void AddComplete(Hypothesis hypothesis);

  const size_t num_beams_;
  const double length_penalty_;
  const size_t max_tokens_;
  std::vector<Beam> beams_;
  std::vector<Hypothesis> complete_;  // Best first.
  bool over_ = false;
};

}  // namespace prefixd

#endif  // PREFIXD_ENGINE_BEAM_SEARCH_H_
