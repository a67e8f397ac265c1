#include "engine/beam_search.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "base/check.h"

namespace prefixd {
namespace {

struct Scored {
  size_t parent;
  int32_t token;
  double sum;
};

}  // namespace

BeamSearch::BeamSearch(int num_beams, double length_penalty, int32_t max_tokens)
    : num_beams_(static_cast<size_t>(num_beams)),
      length_penalty_(length_penalty),
      max_tokens_(static_cast<size_t>(max_tokens)),
      beams_(1) {
  PREFIXD_CHECK(num_beams >= 2 && num_beams <= 8 && max_tokens >= 1);
}

double BeamSearch::Worth(double sum, size_t num_tokens) const {
  return sum / std::pow(static_cast<double>(num_tokens), length_penalty_);
}

void BeamSearch::AddComplete(Hypothesis hypothesis) {
  const auto at =
      std::upper_bound(complete_.begin(), complete_.end(), hypothesis,
                       [](const Hypothesis& a, const Hypothesis& b) { return a.worth > b.worth; });
  complete_.insert(at, std::move(hypothesis));
  if (complete_.size() > num_beams_) complete_.pop_back();
}

std::vector<BeamSearch::Continuation> BeamSearch::Advance(
    absl::Span<const std::vector<Candidate>> candidates, absl::FunctionRef<bool(int32_t)> ends) {
  PREFIXD_CHECK(!over_ && candidates.size() == beams_.size());
  std::vector<Scored> all;
  for (size_t beam = 0; beam < beams_.size(); ++beam) {
    for (const Candidate& candidate : candidates[beam]) {
      all.push_back({beam, candidate.token, beams_[beam].sum + candidate.logprob});
    }
  }
  // Among equals the lower beam, then the better of its candidates.
  std::stable_sort(all.begin(), all.end(),
                   [](const Scored& a, const Scored& b) { return a.sum > b.sum; });

  std::vector<Beam> next;
  std::vector<Continuation> continuations;
  const size_t length = beams_[0].tokens.size() + 1;
  const bool last = length == max_tokens_;
  for (size_t rank = 0; rank < all.size() && (next.size() < num_beams_ || rank < num_beams_);
       ++rank) {
    const Scored& scored = all[rank];
    std::vector<int32_t> tokens = beams_[scored.parent].tokens;
    tokens.push_back(scored.token);
    const bool ended = ends(scored.token);
    if (ended || last) {
      if (rank < num_beams_) AddComplete({std::move(tokens), Worth(scored.sum, length), ended});
    } else if (next.size() < num_beams_) {
      next.push_back({std::move(tokens), scored.sum});
      continuations.push_back({scored.parent, scored.token});
    }
  }
  beams_ = std::move(next);
  // What is alive cannot become better than the worst that is complete, as far as can be told.
  over_ = beams_.empty() || (complete_.size() == num_beams_ &&
                             Worth(beams_[0].sum, length) <= complete_.back().worth);
  if (over_) continuations.clear();
  return continuations;
}

std::vector<BeamSearch::Hypothesis> BeamSearch::Best(bool with_alive) const {
  std::vector<Hypothesis> best = complete_;
  if (with_alive || best.empty()) {
    for (const Beam& beam : beams_) {
      best.push_back(
          {beam.tokens, Worth(beam.sum, std::max<size_t>(1, beam.tokens.size())), false});
    }
    std::stable_sort(best.begin(), best.end(),
                     [](const Hypothesis& a, const Hypothesis& b) { return a.worth > b.worth; });
  }
  if (best.size() > num_beams_) best.resize(num_beams_);
  return best;
}

}  // namespace prefixd
