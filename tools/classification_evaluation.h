// Ranks the names for every picture of an evaluation, many at once, and says how well they fit.
#ifndef PREFIXD_TOOLS_CLASSIFICATION_EVALUATION_H_
#define PREFIXD_TOOLS_CLASSIFICATION_EVALUATION_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "engine/classification.h"
#include "tools/classification_data.h"
#include "tools/classification_metrics.h"
#include "tools/classification_results.h"

namespace prefixd {

// Creates the class set and waits for it. Errors: of the classifier.
absl::StatusOr<ClassSetInfo> MakeClassSet(Classifier* classifier, ClassSetSpec spec);

// Of two names the one that counts as positive: the last in byte order.
int32_t PositiveOf(absl::Span<const std::string> names);

// Ranks data.samples[i] for every i of `order` that `results` does not have yet, and adds what
// comes, as it comes; at most `in_flight` requests at once. Of each request `request` has all but
// id and context; the class set has the names of `data`. `progress` gets the samples done and in
// all. A sample that fails ends the run once those in flight have ended; the error names it, and
// what came is kept.
absl::Status RankAll(const ClassificationData& data, absl::Span<const size_t> order,
                     const ClassifyRequest& request, int32_t in_flight, Classifier* classifier,
                     ClassificationResults* results,
                     absl::FunctionRef<void(size_t done, size_t total)> progress);

struct ClassificationSummary {
  size_t samples = 0;
  double top1 = 0, top5 = 0;  // Accuracy.
  double mean_rank = 0;
  std::optional<double> roc_auc;       // Of two names, if both have samples.
  std::vector<ClassOutcome> outcomes;  // The worst first.
  // Milliseconds of a request: median, 95th percentile, largest.
  struct Times {
    double median = 0, p95 = 0, max = 0;
  } queue, prefill, total;
  ClassificationRecord sums;  // Of the receipts alone.
};

// Of the records of `order`, all of which are there; at least one.
ClassificationSummary Summarise(const ClassificationData& data, absl::Span<const size_t> order,
                                const ClassificationResults& results);

}  // namespace prefixd

#endif  // PREFIXD_TOOLS_CLASSIFICATION_EVALUATION_H_
