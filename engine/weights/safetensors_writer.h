// Writes safetensors files: tensors in the customary order (wider types first, then by name), the
// data area aligned to 8 bytes, through a temporary file that is renamed at the end.
#ifndef PREFIXD_ENGINE_WEIGHTS_SAFETENSORS_WRITER_H_
#define PREFIXD_ENGINE_WEIGHTS_SAFETENSORS_WRITER_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "engine/tensor/dtype.h"

namespace prefixd {

struct TensorToWrite {
  std::string name;
  DType dtype = DType::kF32;
  std::vector<int64_t> shape;
};

// Fills `out` with the elements of tensors[index] from element `first` on, little-endian.
using FillTensor = std::function<void(size_t index, uint64_t first, absl::Span<uint8_t> out)>;

// Requires: distinct names and shapes whose sizes fit. Errors: a file that cannot be written.
absl::Status WriteSafetensors(const std::string& path, absl::Span<const TensorToWrite> tensors,
                              const FillTensor& fill);

}  // namespace prefixd

#endif  // PREFIXD_ENGINE_WEIGHTS_SAFETENSORS_WRITER_H_
