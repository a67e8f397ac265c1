// The reference backend as a backend with 16-bit activations sees the world: inputs and weights are
// rounded to that type, all that is computed is not.
#ifndef PREFIXD_TESTS_BACKEND_ROUNDED_REFERENCE_H_
#define PREFIXD_TESTS_BACKEND_ROUNDED_REFERENCE_H_

#include <memory>

#include "engine/backend/backend.h"

namespace prefixd {

// Scores and angles are not rounded.
std::unique_ptr<Backend> MakeRoundedReference(DType dtype, std::unique_ptr<Backend> reference);

}  // namespace prefixd

#endif  // PREFIXD_TESTS_BACKEND_ROUNDED_REFERENCE_H_
