#include "engine/classify/candidate_bounds.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/check.h"

namespace prefixd {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

bool AllAre(absl::Span<const double> values, double wanted) {
  return std::all_of(values.begin(), values.end(), [&](double v) { return v == wanted; });
}

}  // namespace

CandidateBounds::CandidateBounds(const TokenTrie* trie, const TopSearch* search)
    : trie_(*trie), search_(*search), wanted_(static_cast<size_t>(search->k)) {
  PREFIXD_CHECK(search->k >= 1);
  const size_t num_nodes = trie_.nodes().size();
  const size_t num_candidates = trie_.ends().size();
  PREFIXD_CHECK(search_.offsets.empty() || search_.offsets.size() == num_candidates);
  PREFIXD_CHECK(search_.divisors.empty() || search_.divisors.size() == num_candidates);

  begins_.assign(num_nodes + 1, 0);
  for (const int32_t end : trie_.ends()) ++begins_[static_cast<size_t>(end) + 1];
  for (size_t i = 0; i < num_nodes; ++i) begins_[i + 1] += begins_[i];
  by_end_.resize(num_candidates);
  std::vector<int32_t> cursors(begins_.begin(), begins_.end() - 1);
  for (size_t k = 0; k < num_candidates; ++k) {
    by_end_[static_cast<size_t>(cursors[static_cast<size_t>(trie_.ends()[k])]++)] =
        static_cast<int32_t>(k);
  }

  divisor_ = search_.divisors.empty() ? 1.0 : search_.divisors.front();
  if (AllAre(search_.offsets, 0.0)) {
    kind_ = Kind::kLargestDivisor;
  } else if (AllAre(search_.divisors, divisor_)) {
    kind_ = Kind::kSmallestOffset;
  } else {
    return;
  }
  // Extremes of negated offsets are largest ones too. `upto` counts the node's own candidates in.
  const bool offsets = kind_ == Kind::kSmallestOffset;
  extreme_.assign(num_nodes, -kInfinity);
  for (size_t i = num_nodes; i-- > 1;) {
    double upto = extreme_[i];
    for (int32_t at = begins_[i]; at < begins_[i + 1]; ++at) {
      const size_t k = static_cast<size_t>(by_end_[static_cast<size_t>(at)]);
      const double value = offsets                    ? -search_.offsets[k]
                           : search_.divisors.empty() ? 1.0
                                                      : search_.divisors[k];
      upto = std::max(upto, value);
    }
    double& parent = extreme_[static_cast<size_t>(trie_.nodes()[i].parent)];
    parent = std::max(parent, upto);
  }
}

double CandidateBounds::BoundBelow(int32_t node, double sum) const {
  double bound = -kInfinity;
  const size_t i = static_cast<size_t>(node);
  switch (kind_) {
    case Kind::kLargestDivisor:
      bound = sum / extreme_[i];
      break;
    case Kind::kSmallestOffset:
      bound = (sum + extreme_[i]) / divisor_;
      break;
    case Kind::kScan: {
      const size_t end = static_cast<size_t>(trie_.node(node).end);
      for (int32_t at = begins_[i + 1]; at < begins_[end]; ++at) {
        const size_t k = static_cast<size_t>(by_end_[static_cast<size_t>(at)]);
        const double score = search_.ScoreOf(k, sum);
        if (std::isnan(score)) return kInfinity;
        bound = std::max(bound, score);
      }
      break;
    }
  }
  return std::isnan(bound) ? kInfinity : bound;
}

void CandidateBounds::Complete(int32_t node, double sum) {
  const size_t i = static_cast<size_t>(node);
  for (int32_t at = begins_[i]; at < begins_[i + 1]; ++at) {
    const int32_t k = by_end_[static_cast<size_t>(at)];
    const double score = search_.ScoreOf(static_cast<size_t>(k), sum);
    if (std::isnan(score)) continue;  // Never among the best.
    if (best_.size() < wanted_) {
      best_.push(score);
    } else if (score > best_.top()) {
      best_.pop();
      best_.push(score);
    }
  }
}

}  // namespace prefixd
