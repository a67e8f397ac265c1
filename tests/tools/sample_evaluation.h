// An evaluation with numbers that are easy to find again.
#ifndef PREFIXD_TESTS_TOOLS_SAMPLE_EVALUATION_H_
#define PREFIXD_TESTS_TOOLS_SAMPLE_EVALUATION_H_

#include "tools/evaluation.h"

namespace prefixd::testing {

// Policies "local" and "prefixkv@cats" at 10 and 50 %, worse the smaller the budget.
inline Evaluation SampleEvaluation() {
  Evaluation evaluation;
  evaluation.full = {.answer_tokens = 400,
                     .generated_tokens = 380,
                     .perplexity = 3.2,
                     .rouge_l = 0.999999995,
                     .kept_share = 1};
  for (const bool prefixkv : {false, true}) {
    for (const double budget : {0.5, 0.1}) {
      EvaluationRow row{.answer_tokens = 400, .generated_tokens = 377};
      row.setting = {.policy = prefixkv ? "prefixkv" : "local",
                     .profile = prefixkv ? "cats" : "",
                     .budget = budget};
      row.perplexity = prefixkv ? 3.3 + budget : 66.125 / budget;
      row.rouge_l = prefixkv ? 0.6 : 0.2;
      row.kept_share = budget + 0.001;
      row.score_mass = 0.75;
      row.agreement = 0.875;
      row.kept_by_layer = {budget, budget + 0.002};
      evaluation.rows.push_back(row);
    }
  }
  return evaluation;
}

}  // namespace prefixd::testing

#endif  // PREFIXD_TESTS_TOOLS_SAMPLE_EVALUATION_H_
