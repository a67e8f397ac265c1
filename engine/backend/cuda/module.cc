// The module's entry: checks the options and the card, then makes the backend.
#include "engine/backend/cuda/module.h"

#include <cuda_runtime.h>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "engine/backend/cuda/cuda_backend.h"

namespace prefixd::cuda {
namespace {

constexpr int kMinMajor = 8;       // mma.sync on bf16, cp.async.
constexpr int kMinDriver = 13000;  // As cudaDriverGetVersion counts: 13.0.

absl::Status Unusable(absl::string_view what, cudaError_t error) {
  cudaGetLastError();
  return absl::FailedPreconditionError(absl::StrCat("cuda: ", what, ": ", cudaGetErrorName(error),
                                                    " (", cudaGetErrorString(error), ")"));
}

absl::StatusOr<std::string> CheckDevice(int device) {
  int driver = 0;
  if (const cudaError_t error = cudaDriverGetVersion(&driver); error != cudaSuccess) {
    return Unusable("asking for the driver's version", error);
  }
  if (driver < kMinDriver) {
    return absl::FailedPreconditionError(
        absl::StrCat("cuda: the driver is for CUDA ", driver / 1000, ".", driver % 1000 / 10,
                     ", expected ", kMinDriver / 1000, ".", kMinDriver % 1000 / 10, " or later"));
  }
  int count = 0;
  if (const cudaError_t error = cudaGetDeviceCount(&count); error != cudaSuccess) {
    return Unusable("counting devices", error);
  }
  if (device < 0 || device >= count) {
    return absl::FailedPreconditionError(
        absl::StrCat("cuda: there is no device ", device, "; ", count, " found"));
  }
  cudaDeviceProp properties;
  if (const cudaError_t error = cudaGetDeviceProperties(&properties, device);
      error != cudaSuccess) {
    return Unusable("asking for the device's properties", error);
  }
  std::string name = absl::StrCat(properties.name, ", compute capability ", properties.major, ".",
                                  properties.minor);
  if (properties.major < kMinMajor) {
    return absl::FailedPreconditionError(absl::StrCat("cuda: device ", device, " is ", name,
                                                      ", expected ", kMinMajor, ".0 or later"));
  }
  return name;
}

absl::StatusOr<std::unique_ptr<Backend>> CreateFromOptions(const BackendOptions& options) {
  const DType activation = options.activation_dtype.value_or(DType::kBF16);
  if (activation == DType::kF64) {
    return absl::InvalidArgumentError("backend cuda has no f64 activations, only f16, bf16, f32");
  }
  PREFIXD_ASSIGN_OR_RETURN(std::string name, CheckDevice(options.cuda_device));
  return CreateCudaBackend({.device = options.cuda_device,
                            .device_name = std::move(name),
                            .activation_dtype = activation,
                            .deterministic = options.deterministic});
}

constexpr ModuleEntry kEntry = {.abi = kModuleAbi, .create = CreateFromOptions};

}  // namespace
}  // namespace prefixd::cuda

extern "C" __attribute__((visibility("default"))) const prefixd::cuda::ModuleEntry*
prefixd_cuda_module_v1() {
  return &prefixd::cuda::kEntry;
}
