// The CUDA backend on the emulator, as the tests of the whole engine use it.
#ifndef PREFIXD_TESTS_CUDA_EMULATION_EMULATED_BACKEND_H_
#define PREFIXD_TESTS_CUDA_EMULATION_EMULATED_BACKEND_H_

#include <memory>

#include "engine/backend/cuda/cuda_backend.h"
#include "tests/cuda_emulation/emulator/emulated_device.h"

namespace prefixd::testing {

// On late streams, so that a missing wait shows. Memory stays open to the host: closing it around
// every launch takes most of the time, and smaller tests do it.
inline std::unique_ptr<Backend> EmulatedBackend(DType activation_dtype, bool deterministic = true) {
  emu::SetDeviceOptions({.mode = emu::StreamMode::kLate, .seed = 17, .guard_from_host = false});
  return cuda::CreateCudaBackend({.device_name = "emulated",
                                  .activation_dtype = activation_dtype,
                                  .deterministic = deterministic})
      .value();
}

}  // namespace prefixd::testing

#endif  // PREFIXD_TESTS_CUDA_EMULATION_EMULATED_BACKEND_H_
