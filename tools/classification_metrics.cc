#include "tools/classification_metrics.h"

#include <algorithm>
#include <map>
#include <numeric>
#include <tuple>

#include "base/check.h"

namespace prefixd {

int32_t RankOf(absl::Span<const double> scores, int32_t label) {
  const size_t own = static_cast<size_t>(label);
  PREFIXD_CHECK(own < scores.size());
  int32_t rank = 1;
  for (size_t k = 0; k < scores.size(); ++k) {
    rank += scores[k] > scores[own] || (scores[k] == scores[own] && k < own) ? 1 : 0;
  }
  return rank;
}

double TopAccuracy(absl::Span<const int32_t> ranks, int32_t k) {
  PREFIXD_CHECK(!ranks.empty());
  const auto hits = std::count_if(ranks.begin(), ranks.end(), [k](int32_t r) { return r <= k; });
  return static_cast<double>(hits) / static_cast<double>(ranks.size());
}

double MeanRank(absl::Span<const int32_t> ranks) {
  PREFIXD_CHECK(!ranks.empty());
  const int64_t sum = std::accumulate(ranks.begin(), ranks.end(), int64_t{0});
  return static_cast<double>(sum) / static_cast<double>(ranks.size());
}

std::optional<double> RocAuc(absl::Span<const double> scores, absl::Span<const uint8_t> positive) {
  PREFIXD_CHECK(scores.size() == positive.size());
  std::vector<size_t> order(scores.size());
  std::iota(order.begin(), order.end(), 0);
  std::sort(order.begin(), order.end(),
            [scores](size_t a, size_t b) { return scores[a] < scores[b]; });
  double num_positives = 0;
  double sum_of_ranks = 0;
  for (size_t begin = 0; begin < order.size();) {
    size_t end = begin;
    double positives = 0;
    for (; end < order.size() && scores[order[end]] == scores[order[begin]]; ++end) {
      positives += positive[order[end]] != 0 ? 1 : 0;
    }
    // Ranks begin + 1 .. end share their mean.
    sum_of_ranks += positives * (static_cast<double>(begin + end + 1) / 2);
    num_positives += positives;
    begin = end;
  }
  const double num_negatives = static_cast<double>(scores.size()) - num_positives;
  if (num_positives == 0 || num_negatives == 0) return std::nullopt;
  return (sum_of_ranks - num_positives * (num_positives + 1) / 2) / (num_positives * num_negatives);
}

std::vector<ClassOutcome> OutcomesByClass(absl::Span<const int32_t> labels,
                                          absl::Span<const int32_t> predicted) {
  PREFIXD_CHECK(labels.size() == predicted.size());
  std::map<int32_t, ClassOutcome> by_label;
  std::map<std::pair<int32_t, int32_t>, size_t> mistakes;
  for (size_t i = 0; i < labels.size(); ++i) {
    ClassOutcome& outcome = by_label[labels[i]];
    outcome.label = labels[i];
    ++outcome.samples;
    if (predicted[i] == labels[i]) {
      ++outcome.correct;
    } else {
      ++mistakes[{labels[i], predicted[i]}];
    }
  }
  for (const auto& [pair, count] : mistakes) {
    by_label[pair.first].mistaken_for.emplace_back(pair.second, count);
  }
  std::vector<ClassOutcome> outcomes;
  for (auto& [label, outcome] : by_label) {
    std::stable_sort(outcome.mistaken_for.begin(), outcome.mistaken_for.end(),
                     [](const auto& a, const auto& b) { return a.second > b.second; });
    outcomes.push_back(std::move(outcome));
  }
  std::stable_sort(outcomes.begin(), outcomes.end(), [](const auto& a, const auto& b) {
    const double x = a.accuracy(), y = b.accuracy();
    return x != y ? x < y : a.samples > b.samples;
  });
  return outcomes;
}

}  // namespace prefixd
