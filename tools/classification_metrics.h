// How well rankings of names fit labels. Pure functions; safe from any thread.
#ifndef PREFIXD_TOOLS_CLASSIFICATION_METRICS_H_
#define PREFIXD_TOOLS_CLASSIFICATION_METRICS_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include "absl/types/span.h"

namespace prefixd {

// The place of a name among all, from 1: those with a higher score stand before it, and those with
// the same and a lower index. Requires: scores are numbers, 0 <= label < scores.size().
int32_t RankOf(absl::Span<const double> scores, int32_t label);

// Share of ranks that are at most k. Requires: at least one rank; so have the others.
double TopAccuracy(absl::Span<const int32_t> ranks, int32_t k);
double MeanRank(absl::Span<const int32_t> ranks);

// Area under the ROC curve, from the sum of the positives' ranks by ascending score (Mann and
// Whitney), equal scores having their mean rank. Unset if one kind is missing. scores, positive:
// [samples]; scores are numbers.
std::optional<double> RocAuc(absl::Span<const double> scores, absl::Span<const uint8_t> positive);

// What became of the samples of one class.
struct ClassOutcome {
  int32_t label = 0;
  size_t samples = 0;
  size_t correct = 0;
  // Wrong predictions and how often, the most frequent first, ties by index.
  std::vector<std::pair<int32_t, size_t>> mistaken_for;

  double accuracy() const { return static_cast<double>(correct) / static_cast<double>(samples); }
};

// Of the classes that have samples: least accuracy first, then more samples, then lower label.
// labels, predicted: [samples].
std::vector<ClassOutcome> OutcomesByClass(absl::Span<const int32_t> labels,
                                          absl::Span<const int32_t> predicted);

}  // namespace prefixd

#endif  // PREFIXD_TOOLS_CLASSIFICATION_METRICS_H_
