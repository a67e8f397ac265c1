// Rows of weights in blocks, into a panel of the layout of block_layout.h and back.
#ifndef PREFIXD_ENGINE_BACKEND_CPU_BLOCK_PANEL_H_
#define PREFIXD_ENGINE_BACKEND_CPU_BLOCK_PANEL_H_

#include <cstddef>
#include <cstdint>

#include "engine/backend/cpu/kernels.h"
#include "engine/tensor/dtype.h"

namespace prefixd::cpu {

// The type of panels that hold `dtype`. Requires: not kF64.
ElementType ElementTypeOf(DType dtype);

// Writes `count` dense rows of blocks to columns [column, column + count) of a panel that was
// zeroed or has been written before.
void PackBlocks(DType dtype, const uint8_t* rows, int64_t count, int64_t cols, int64_t column,
                std::byte* panel);

// y[0..cols) = a column's values, bit for bit those of DequantizeRow.
void ReadBlocks(DType dtype, const std::byte* panel, int64_t cols, int64_t column, float* y);

}  // namespace prefixd::cpu

#endif  // PREFIXD_ENGINE_BACKEND_CPU_BLOCK_PANEL_H_
