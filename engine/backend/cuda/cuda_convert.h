// Conversion of elements on the host, rounded to nearest even.
#ifndef PREFIXD_ENGINE_BACKEND_CUDA_CUDA_CONVERT_H_
#define PREFIXD_ENGINE_BACKEND_CUDA_CUDA_CONVERT_H_

#include <cstddef>
#include <cstdint>

#include "engine/tensor/dtype.h"

namespace prefixd::cuda {

// `count` little-endian elements, possibly unaligned; types f32, f16, bf16.
void ConvertElements(DType from_type, const void* from, DType to_type, void* to, int64_t count);

}  // namespace prefixd::cuda

#endif  // PREFIXD_ENGINE_BACKEND_CUDA_CUDA_CONVERT_H_
