// The element types of GGUF tensors. Constants.
#ifndef PREFIXD_ENGINE_WEIGHTS_GGUF_TYPES_H_
#define PREFIXD_ENGINE_WEIGHTS_GGUF_TYPES_H_

#include <cstdint>

#include "absl/strings/string_view.h"
#include "engine/tensor/dtype.h"

namespace prefixd {

struct GgufTensorType {
  uint32_t id = 0;
  absl::string_view name;
  DTypeBlock block;  // bytes 0: the layout is not known here.
};

// Returns the type with this id, or nullptr.
const GgufTensorType* FindGgufTensorType(uint32_t id);

}  // namespace prefixd

#endif  // PREFIXD_ENGINE_WEIGHTS_GGUF_TYPES_H_
