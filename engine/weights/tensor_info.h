// Where one tensor of a checkpoint lies and what it claims to be. A value.
#ifndef PREFIXD_ENGINE_WEIGHTS_TENSOR_INFO_H_
#define PREFIXD_ENGINE_WEIGHTS_TENSOR_INFO_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "engine/tensor/dtype.h"

namespace prefixd {

struct TensorInfo {
  std::string name;            // As spelt in the file.
  std::string dtype;           // As spelt in the file: "BF16".
  std::vector<int64_t> shape;  // Slowest dimension first; empty: one element.
  uint64_t begin = 0;          // Offset of the first byte in its file.
  uint64_t size_bytes = 0;
  int file = 0;  // Index of the file in its checkpoint.
  // > 0: the file interleaves the two halves of each group of so many rows, as GGUF files do with
  // the heads of q and k: row i of half a lies at 2 i + a. WeightReader puts them back.
  int64_t interleaved_rows = 0;
};

// Returns the type that ops compute with, or nullopt for a stored type they do not know.
std::optional<DType> ComputableDType(absl::string_view stored);

// Returns the name in a file of a computable plain type. Requires: not kF64.
absl::string_view StoredDTypeName(DType dtype);

// Returns the product of `shape`. Requires: a shape that the header reader has accepted.
uint64_t NumElements(absl::Span<const int64_t> shape);

// "[576, 192]".
std::string ShapeString(absl::Span<const int64_t> shape);

}  // namespace prefixd

#endif  // PREFIXD_ENGINE_WEIGHTS_TENSOR_INFO_H_
