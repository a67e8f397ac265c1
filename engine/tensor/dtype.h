// Element types of tensors and weights.
#ifndef PREFIXD_ENGINE_TENSOR_DTYPE_H_
#define PREFIXD_ENGINE_TENSOR_DTYPE_H_

#include <cstddef>
#include <cstdint>

#include "absl/strings/string_view.h"

namespace prefixd {

enum class DType : uint8_t {
  kF64,  // Activations and KV of the reference backend only.
  kF32,
  kF16,
  kBF16,
  // Weights in blocks along a row, as in GGUF files (docs/models.md). No tensor has these types.
  kQ8_0,
  kQ4_0,
  kQ4_1,
  kQ5_0,
  kQ5_1,
  kQ4_K,
  kQ5_K,
  kQ6_K,
};

// A row is a whole number of blocks; a plain type has blocks of one element.
struct DTypeBlock {
  int64_t elements = 1;
  int64_t bytes = 0;
};

constexpr DTypeBlock BlockOf(DType dtype) {
  switch (dtype) {
    case DType::kF64:
      return {1, 8};
    case DType::kF32:
      return {1, 4};
    case DType::kF16:
    case DType::kBF16:
      return {1, 2};
    case DType::kQ8_0:
      return {32, 34};
    case DType::kQ4_0:
      return {32, 18};
    case DType::kQ4_1:
      return {32, 20};
    case DType::kQ5_0:
      return {32, 22};
    case DType::kQ5_1:
      return {32, 24};
    case DType::kQ4_K:
      return {256, 144};
    case DType::kQ5_K:
      return {256, 176};
    case DType::kQ6_K:
      return {256, 210};
  }
  return {};
}

constexpr bool IsQuantized(DType dtype) { return BlockOf(dtype).elements > 1; }

// Bytes of an element. Requires: a plain type.
constexpr size_t DTypeSize(DType dtype) {
  return IsQuantized(dtype) ? 0 : static_cast<size_t>(BlockOf(dtype).bytes);
}

// Bytes of a row of `cols` elements. Requires: a whole number of blocks.
constexpr int64_t RowBytes(DType dtype, int64_t cols) {
  return cols / BlockOf(dtype).elements * BlockOf(dtype).bytes;
}

constexpr absl::string_view DTypeName(DType dtype) {
  switch (dtype) {
    case DType::kF64:
      return "f64";
    case DType::kF32:
      return "f32";
    case DType::kF16:
      return "f16";
    case DType::kBF16:
      return "bf16";
    case DType::kQ8_0:
      return "q8_0";
    case DType::kQ4_0:
      return "q4_0";
    case DType::kQ4_1:
      return "q4_1";
    case DType::kQ5_0:
      return "q5_0";
    case DType::kQ5_1:
      return "q5_1";
    case DType::kQ4_K:
      return "q4_k";
    case DType::kQ5_K:
      return "q5_k";
    case DType::kQ6_K:
      return "q6_k";
  }
  return "?";
}

}  // namespace prefixd

#endif  // PREFIXD_ENGINE_TENSOR_DTYPE_H_
