// Found in place of the toolkit's header by tests: the CUDA language as C++ on the emulator.
#ifndef PREFIXD_TESTS_CUDA_EMULATION_SHIM_CUDA_RUNTIME_H_
#define PREFIXD_TESTS_CUDA_EMULATION_SHIM_CUDA_RUNTIME_H_

#include <math.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>

#define __global__
#define __device__
#define __host__
#define __constant__
#define __managed__
#define __grid_constant__
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)
#define __align__(bytes) __attribute__((aligned(bytes)))

// Blocks run one after another, so what is static is shared by one block. A section of their own
// lets the emulator poison these variables and watch them; AddressSanitizer guards no variables in
// named sections, so there they are ordinary ones.
#if defined(__SANITIZE_ADDRESS__)
#define __shared__ static
#else
#define __shared__ static __attribute__((section("prefixd_shared")))
#endif

#include "shim/runtime_api.h"
#include "shim/vectors.h"
#include "tests/cuda_emulation/emulator/async_copy.h"
#include "tests/cuda_emulation/emulator/grid.h"
#include "tests/cuda_emulation/emulator/launch.h"
#include "tests/cuda_emulation/emulator/matrix_ops.h"

#define threadIdx (::prefixd::emu::current_thread->index)
#define blockIdx (::prefixd::emu::block_index)
#define blockDim (::prefixd::emu::block_size)
#define gridDim (::prefixd::emu::grid_size)
#define warpSize 32

using std::max;
using std::min;

#include "shim/arithmetic.h"
#include "shim/atomics.h"
#include "shim/warp.h"

#endif  // PREFIXD_TESTS_CUDA_EMULATION_SHIM_CUDA_RUNTIME_H_
