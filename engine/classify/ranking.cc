#include "engine/classify/ranking.h"

#include <algorithm>
#include <cmath>

#include "base/check.h"

namespace prefixd {

std::vector<double> PathSums(const TokenTrie& trie, absl::Span<const float> logprobs) {
  PREFIXD_CHECK(logprobs.size() == trie.nodes().size());
  std::vector<double> to_node(logprobs.size(), 0.0);  // Parents come before their children.
  for (size_t i = 1; i < logprobs.size(); ++i) {
    to_node[i] =
        to_node[static_cast<size_t>(trie.nodes()[i].parent)] + static_cast<double>(logprobs[i]);
  }
  std::vector<double> sums;
  sums.reserve(trie.ends().size());
  for (const int32_t end : trie.ends()) sums.push_back(to_node[static_cast<size_t>(end)]);
  return sums;
}

TopSearch ScaleOf(Normalization normalization, absl::Span<const int32_t> num_tokens,
                  absl::Span<const int32_t> num_bytes, absl::Span<const double> null_sums) {
  TopSearch scale;
  switch (normalization) {
    case Normalization::kMean:
      scale.divisors.assign(num_tokens.begin(), num_tokens.end());
      break;
    case Normalization::kChars:
      scale.divisors.assign(num_bytes.begin(), num_bytes.end());
      break;
    case Normalization::kPmi:
      scale.offsets.assign(null_sums.begin(), null_sums.end());
      break;
    case Normalization::kSum:
      break;
  }
  for (const double divisor : scale.divisors) PREFIXD_CHECK(divisor > 0);
  return scale;
}

std::vector<double> ScoresOf(absl::Span<const double> sums, const TopSearch& scale) {
  std::vector<double> scores(sums.size());
  for (size_t k = 0; k < sums.size(); ++k) scores[k] = scale.ScoreOf(k, sums[k]);
  return scores;
}

std::vector<double> ClassProbabilities(absl::Span<const double> scores, double temperature) {
  PREFIXD_CHECK(!scores.empty() && temperature > 0);
  const double largest = *std::max_element(scores.begin(), scores.end());
  std::vector<double> result(scores.size());
  // Summed with its rounding errors (Neumaier): thousands of terms of very unequal size.
  double sum = 0;
  double lost = 0;
  for (size_t k = 0; k < scores.size(); ++k) {
    const double term = std::exp((scores[k] - largest) / temperature);
    result[k] = term;
    const double next = sum + term;
    lost += sum >= term ? (sum - next) + term : (term - next) + sum;
    sum = next;
  }
  for (double& p : result) p /= sum + lost;
  return result;
}

std::vector<int32_t> BestOf(absl::Span<const double> scores, int32_t k) {
  std::vector<int32_t> order;
  order.reserve(scores.size());
  for (size_t i = 0; i < scores.size(); ++i) {
    if (!std::isnan(scores[i])) order.push_back(static_cast<int32_t>(i));
  }
  const size_t wanted = std::min(order.size(), static_cast<size_t>(std::max(k, 0)));
  std::partial_sort(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(wanted), order.end(),
                    [scores](int32_t a, int32_t b) {
                      const double x = scores[static_cast<size_t>(a)];
                      const double y = scores[static_cast<size_t>(b)];
                      return x != y ? x > y : a < b;
                    });
  order.resize(wanted);
  return order;
}

}  // namespace prefixd
