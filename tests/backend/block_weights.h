// Random weights in blocks for tests of ops.
#ifndef PREFIXD_TESTS_BACKEND_BLOCK_WEIGHTS_H_
#define PREFIXD_TESTS_BACKEND_BLOCK_WEIGHTS_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "engine/backend/backend.h"
#include "tests/backend/op_harness.h"

namespace prefixd {

inline constexpr DType kBlockTypes[] = {DType::kQ8_0, DType::kQ4_0, DType::kQ4_1, DType::kQ5_0,
                                        DType::kQ5_1, DType::kQ4_K, DType::kQ5_K, DType::kQ6_K};

struct BlockWeights {
  DType dtype = DType::kQ8_0;
  std::vector<uint8_t> bytes;  // Row-major blocks.
  HostMatrix values;           // Those of DequantizeRow.
};

// All codes and sub-scales random, scales of both signs; values within about [-3, 3].
BlockWeights RandomBlocks(uint32_t seed, DType dtype, int64_t rows, int64_t cols);

// The matrix of a backend, written in two unaligned pieces.
std::unique_ptr<Matrix> MakeBlockWeight(Backend* backend, const BlockWeights& weights);

}  // namespace prefixd

#endif  // PREFIXD_TESTS_BACKEND_BLOCK_WEIGHTS_H_
