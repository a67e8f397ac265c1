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
};

constexpr size_t DTypeSize(DType dtype) {
  switch (dtype) {
    case DType::kF64:
      return 8;
    case DType::kF32:
      return 4;
    case DType::kF16:
    case DType::kBF16:
      return 2;
  }
  return 0;
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
  }
  return "?";
}

}  // namespace prefixd

#endif  // PREFIXD_ENGINE_TENSOR_DTYPE_H_
