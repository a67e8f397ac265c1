// What a KV budget costs, in numbers: perplexity, ROUGE-L and what was kept, for every setting of
// retention over all samples. docs/evaluation.md defines each number.
//
// Source of the protocol: Wang et al., "PrefixKV", arXiv 2412.03409, and its eval_ppl.py and
// eval_rouge.py.
#ifndef PREFIXD_TOOLS_EVALUATION_H_
#define PREFIXD_TOOLS_EVALUATION_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "tools/measurer.h"

namespace prefixd {

// One setting over all samples. Averages weigh every sample the same, except where it says tokens.
struct EvaluationRow {
  RetentionSetting setting;
  int64_t answer_tokens = 0;     // Of all reference answers.
  int64_t generated_tokens = 0;  // Of all greedy answers.
  double perplexity = 0;         // exp of the mean negative log-likelihood of the answer tokens.
  double rouge_l = 0;            // F of the greedy answer against that of the full cache.
  double kept_share = 1;         // Tokens kept of the prompt, all layers.
  double score_mass = 1;         // Share of the scores that those have.
  double agreement = 1;          // Share of answer tokens where the full cache's first choice is
                                 // this setting's too.
  std::vector<double> kept_by_layer;  // As kept_share; empty where nothing was selected.
};

struct Evaluation {
  EvaluationRow full;               // The full cache.
  std::vector<EvaluationRow> rows;  // As the settings.
};

// Measures all settings on samples 0 .. num_samples - 1 (at least one), sample by sample; none of
// `settings` is the full cache. `progress` gets the measurements done and in all. What comes out
// does not depend on the order in which measurements end. Errors: of `measurer`.
absl::StatusOr<Evaluation> Evaluate(size_t num_samples, absl::Span<const RetentionSetting> settings,
                                    Measurer* measurer,
                                    absl::FunctionRef<void(size_t done, size_t total)> progress);

}  // namespace prefixd

#endif  // PREFIXD_TOOLS_EVALUATION_H_
