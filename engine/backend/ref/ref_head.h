// Log-probabilities of a language model head in double precision, one row at a time.
#ifndef PREFIXD_ENGINE_BACKEND_REF_REF_HEAD_H_
#define PREFIXD_ENGINE_BACKEND_REF_REF_HEAD_H_

#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "engine/backend/ref/ref_storage.h"

namespace prefixd::ref {

// y[i] = min(0, log(softmax(x . weight^T)[columns[i]])), rounded once; NaN where the sum
// is. x: [weight.cols()]. *logits is scratch.
void HeadLogprobsOfRow(const double* x, const RefMatrix& weight, absl::Span<const int32_t> columns,
                       std::vector<double>* logits, absl::Span<float> y);

}  // namespace prefixd::ref

#endif  // PREFIXD_ENGINE_BACKEND_REF_REF_HEAD_H_
