// Random weights that are the same bytes on every machine: a value is a pure function of seed,
// tensor name and index, computed with integers and exact float operations only.
#ifndef PREFIXD_TOOLS_RANDOM_VALUES_H_
#define PREFIXD_TOOLS_RANDOM_VALUES_H_

#include <cstdint>

#include "absl/strings/string_view.h"

namespace prefixd {

// Returns the key of a tensor's values.
uint64_t TensorKey(uint64_t seed, absl::string_view name);

// Returns value `index`: mean 0, variance 1, nearly normal (the sum of four uniform values), within
// [-3.47, 3.47].
float RandomValue(uint64_t tensor_key, uint64_t index);

}  // namespace prefixd

#endif  // PREFIXD_TOOLS_RANDOM_VALUES_H_
