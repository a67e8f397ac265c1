// The header of a safetensors file, read strictly: every tensor's range is proven to lie inside the
// file, to have the size that its shape and type say, and to touch its neighbours without hole or
// overlap. No tensor byte is read. Pure functions; safe from any thread.
//
//   offset 0      8 bytes, little-endian: N
//   offset 8      N bytes of JSON, padded with spaces
//   offset 8 + N  the tensors' bytes, row-major, little-endian
#ifndef PREFIXD_ENGINE_WEIGHTS_SAFETENSORS_H_
#define PREFIXD_ENGINE_WEIGHTS_SAFETENSORS_H_

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/file.h"
#include "engine/weights/tensor_info.h"

namespace prefixd {

inline constexpr uint64_t kMaxSafetensorsHeaderBytes = uint64_t{32} << 20;
inline constexpr size_t kMaxSafetensorsTensors = 100'000;
inline constexpr size_t kMaxTensorNameBytes = 512;
inline constexpr size_t kMaxTensorRank = 8;

// Parses the JSON of a header in front of `data_bytes` bytes of tensors. Returns the tensors in the
// order of their bytes, with `begin` counted from the start of the data and `file` 0.
// Errors: INVALID_ARGUMENT that names the tensor and both values.
absl::StatusOr<std::vector<TensorInfo>> ParseSafetensorsHeader(absl::string_view json,
                                                               uint64_t data_bytes);

// Reads the header of `file`; `begin` counts from the start of the file. Errors name the file.
absl::StatusOr<std::vector<TensorInfo>> ReadSafetensorsHeader(const File& file);

}  // namespace prefixd

#endif  // PREFIXD_ENGINE_WEIGHTS_SAFETENSORS_H_
