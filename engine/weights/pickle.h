// The tensors that a pickle of torch.save names (data.pkl, protocols 2 to 5). A small machine runs
// the opcodes that such files hold and knows of a dozen globals by name; anything else is refused,
// so no code is ever found or called. Pure functions; safe from any thread.
// Source: pickletools of CPython, torch/_utils.py of PyTorch.
#ifndef PREFIXD_ENGINE_WEIGHTS_PICKLE_H_
#define PREFIXD_ENGINE_WEIGHTS_PICKLE_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace prefixd {

inline constexpr size_t kMaxPickleBytes = size_t{32} << 20;
inline constexpr size_t kMaxPickleValues = size_t{1} << 20;  // About 100 bytes each.
inline constexpr size_t kMaxPickledTensors = 100'000;
inline constexpr size_t kMaxPickleDepth = 16;  // Of dictionaries and lists around a tensor.

struct PickledTensor {
  std::string name;     // The keys from the outermost dictionary on, joined by dots.
  std::string dtype;    // As in safetensors: "BF16".
  std::string storage;  // Name of the storage in the archive.
  uint64_t storage_elements = 0;
  uint64_t offset = 0;            // In the storage, elements.
  std::vector<int64_t> shape;     // Not negative.
  std::vector<uint64_t> strides;  // Elements; as many as dimensions.
};

// Bytes of an element, 0 for a type that no pickled tensor has.
uint64_t PickledElementBytes(absl::string_view dtype);

// Returns the tensors in the order of the file. Whether a tensor fits its storage is not checked.
// Errors: INVALID_ARGUMENT for a broken pickle or one beyond the limits, UNIMPLEMENTED for an
// opcode or a global that is not known, naming it and the byte where it stands.
absl::StatusOr<std::vector<PickledTensor>> ReadPickledTensors(absl::string_view pickle);

}  // namespace prefixd

#endif  // PREFIXD_ENGINE_WEIGHTS_PICKLE_H_
