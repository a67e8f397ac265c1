// The values of weights that are stored in blocks. Layouts: docs/models.md, those of GGUF files.
//
// A value is computed in float32 in the order of the format's formula (d * q + m, d * scale * q -
// dmin * min, ...), the block's f16 numbers widened first. The products are exact in float32, so a
// value is rounded once at most, in the last addition: a fused multiply-add gives the same bits.
#ifndef PREFIXD_ENGINE_TENSOR_QUANTIZED_H_
#define PREFIXD_ENGINE_TENSOR_QUANTIZED_H_

#include <cstdint>

#include "engine/tensor/dtype.h"

namespace prefixd {

// Scale and minimum of a sub-block of Q4_K and Q5_K: 6 bits each.
struct SubScale {
  int scale = 0;
  int min = 0;
};

// Of sub-block `index` (0..7), from the block's 12 bytes of them.
SubScale SubScaleOf(const uint8_t* scales, int index);

// out[0..cols) = the values of a row. Requires: IsQuantized(dtype); cols a multiple of the block's
// elements; `blocks` holds RowBytes(dtype, cols) bytes of any alignment. Thread-safe.
void DequantizeRow(DType dtype, const uint8_t* blocks, int64_t cols, float* out);

}  // namespace prefixd

#endif  // PREFIXD_ENGINE_TENSOR_QUANTIZED_H_
