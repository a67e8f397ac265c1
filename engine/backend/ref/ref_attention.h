// Attention in double precision, one query vector at a time.
#ifndef PREFIXD_ENGINE_BACKEND_REF_REF_ATTENTION_H_
#define PREFIXD_ENGINE_BACKEND_REF_REF_ATTENTION_H_

#include <functional>

#include "absl/types/span.h"

namespace prefixd::ref {

// y = sum_j softmax_j(scale * q . key(j) + bias(j)) value(j) over j in [0, count). q, y:
// [head_dim]. The probabilities are added to probabilities[0, count) unless that is null.
void AttendOne(absl::Span<const double> q, int count, double scale,
               const std::function<const double*(int)>& key,
               const std::function<const double*(int)>& value,
               const std::function<double(int)>& bias, double* y, double* probabilities);

}  // namespace prefixd::ref

#endif  // PREFIXD_ENGINE_BACKEND_REF_REF_ATTENTION_H_
