// Level avx512bf16: avx512 plus BF16 and VNNI, for bf16 activations.
#include "engine/backend/cpu/block_layout.h"
#include "engine/backend/cpu/kernels.h"

#if defined(__x86_64__)

#include <immintrin.h>

namespace prefixd::cpu {
namespace {

#include "engine/backend/cpu/vector_avx512.inc"

#include "engine/backend/cpu/level_kernels.inc"

}  // namespace

const Kernels& Avx512Bf16Kernels() { return kTable; }

}  // namespace prefixd::cpu

#endif
