// Products with weights in blocks beside those of the same shape in f32 and bf16.
#ifndef PREFIXD_BENCH_BLOCK_PRODUCTS_H_
#define PREFIXD_BENCH_BLOCK_PRODUCTS_H_

#include "engine/backend/backend.h"

namespace prefixd {

// One row and 256 rows against every type on two shapes, the types in turn in every repetition.
// Prints a line for each: CPU time of a thread, GB/s of weights, and the speed relative to f32 and
// bf16 in the same repetition (medians).
void BenchBlockProducts(Backend* backend, int repetitions);

}  // namespace prefixd

#endif  // PREFIXD_BENCH_BLOCK_PRODUCTS_H_
