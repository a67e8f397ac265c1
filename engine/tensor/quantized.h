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

// out[0..cols) = the values of a row. Requires: IsQuantized(dtype); cols a multiple of the block's
// elements; `blocks` holds RowBytes(dtype, cols) bytes of any alignment. Thread-safe.
void DequantizeRow(DType dtype, const uint8_t* blocks, int64_t cols, float* out);

// The fields of one block, for backends with a layout of their own.
struct BlockFields {
  uint16_t d = 0;      // f16.
  uint16_t m = 0;      // f16: the minimum; of Q4_K and Q5_K the factor of the minima.
  uint8_t scales[16];  // Q4_K, Q5_K: 8 of 32 elements each; Q6_K: 16 signed ones of 16 elements.
  uint8_t mins[8];     // Q4_K, Q5_K.
  uint8_t codes[256];  // As stored, of BlockOf(dtype).elements elements; signed for Q8_0.
};

void UnpackBlock(DType dtype, const uint8_t* block, BlockFields* fields);

// out[0..BlockOf(dtype).elements) = the block's values.
void DequantizeFields(DType dtype, const BlockFields& fields, float* out);

}  // namespace prefixd

#endif  // PREFIXD_ENGINE_TENSOR_QUANTIZED_H_
