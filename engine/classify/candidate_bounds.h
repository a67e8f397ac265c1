// What the candidates below a node of a trie can still reach, and the best scores that are
// complete: with both, a search for the best k knows which subtrees cannot matter. Exact in
// floating point: sums only fall, and subtraction and division round monotonically, so no bound is
// ever below the score that it bounds. One thread.
#ifndef PREFIXD_ENGINE_CLASSIFY_CANDIDATE_BOUNDS_H_
#define PREFIXD_ENGINE_CLASSIFY_CANDIDATE_BOUNDS_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <queue>
#include <vector>

#include "engine/classify/token_trie.h"
#include "engine/classify/top_search.h"

namespace prefixd {

class CandidateBounds {
 public:
  // Both must outlive this. Requires: search->k >= 1.
  CandidateBounds(const TokenTrie* trie, const TopSearch* search);

  // The largest score that a candidate ending below `node` (not at it) can have, if the log-probs
  // from the root to `node` add up to `sum`. Infinite where that is not a number. O(1) if all
  // offsets are 0 or all divisors are equal, else O(candidates below).
  double BoundBelow(int32_t node, double sum) const;

  // The candidates that end at `node` are complete.
  void Complete(int32_t node, double sum);

  // Whether k candidates are complete and all of them are better than `bound`.
  bool CannotMatter(double bound) const { return best_.size() == wanted_ && bound < best_.top(); }

 private:
  enum class Kind { kLargestDivisor, kSmallestOffset, kScan };

  const TokenTrie& trie_;
  const TopSearch& search_;
  const size_t wanted_;
  Kind kind_ = Kind::kScan;
  double divisor_ = 1.0;         // kSmallestOffset: that of every candidate.
  std::vector<double> extreme_;  // By node: over the candidates below it, as `kind_` says.
  // Candidates in ascending order of their ends; those that end at node i are
  // by_end_[begins_[i]] up to begins_[i + 1].
  std::vector<int32_t> by_end_;
  std::vector<int32_t> begins_;
  // The best complete scores, the least on top; which candidates have them does not matter.
  std::priority_queue<double, std::vector<double>, std::greater<double>> best_;
};

}  // namespace prefixd

#endif  // PREFIXD_ENGINE_CLASSIFY_CANDIDATE_BOUNDS_H_
