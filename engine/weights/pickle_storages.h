// The storage types of torch that a checkpoint may name.
#ifndef PREFIXD_ENGINE_WEIGHTS_PICKLE_STORAGES_H_
#define PREFIXD_ENGINE_WEIGHTS_PICKLE_STORAGES_H_

#include <cstdint>

#include "absl/strings/string_view.h"

namespace prefixd {

struct PickleStorage {
  absl::string_view name;   // Of the class in the module torch.
  absl::string_view dtype;  // As in safetensors.
  uint64_t element_bytes;
};

inline constexpr PickleStorage kPickleStorages[] = {
    {"FloatStorage", "F32", 4},  {"HalfStorage", "F16", 2}, {"BFloat16Storage", "BF16", 2},
    {"DoubleStorage", "F64", 8}, {"LongStorage", "I64", 8}, {"IntStorage", "I32", 4},
    {"ShortStorage", "I16", 2},  {"CharStorage", "I8", 1},  {"ByteStorage", "U8", 1},
    {"BoolStorage", "BOOL", 1},
};

}  // namespace prefixd

#endif  // PREFIXD_ENGINE_WEIGHTS_PICKLE_STORAGES_H_
