// Operands for benchmarks of ops: fixed seeds, values near 1.
#ifndef PREFIXD_BENCH_RANDOM_OPERANDS_H_
#define PREFIXD_BENCH_RANDOM_OPERANDS_H_

#include <cstdint>
#include <memory>

#include "engine/backend/backend.h"

namespace prefixd {

OwnedTensor RandomTensor(Backend* backend, int64_t rows, int64_t cols);

// Of blocks the codes are random and the scales small.
std::unique_ptr<Matrix> RandomMatrix(Backend* backend, DType dtype, int64_t rows, int64_t cols);

}  // namespace prefixd

#endif  // PREFIXD_BENCH_RANDOM_OPERANDS_H_
