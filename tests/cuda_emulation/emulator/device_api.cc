// Devices, versions and errors of the runtime API.
#include <cstdio>
#include <cstring>

#include "tests/cuda_emulation/emulator/device_state.h"
#include "tests/cuda_emulation/emulator/launch.h"
#include "tests/cuda_emulation/emulator/memory_arena.h"
#include "tests/cuda_emulation/emulator/stream.h"

using prefixd::emu::ApiCall;
using prefixd::emu::DeviceState;

namespace {

constexpr int kSharedPerBlock = 48 << 10;
constexpr int kSharedOptIn = 227 << 10;
constexpr int kSharedPerMultiprocessor = 228 << 10;
constexpr int kL2Bytes = 50 << 20;

bool IsDeviceNumber(int device) {
  return device >= 0 && device < DeviceState::Get().options.device_count;
}

struct ErrorText {
  cudaError_t error;
  const char* name;
  const char* text;
};
#define PREFIXD_EMU_ERROR(error, text) \
  { error, #error, text }
constexpr ErrorText kErrorTexts[] = {
    PREFIXD_EMU_ERROR(cudaSuccess, "no error"),
    PREFIXD_EMU_ERROR(cudaErrorInvalidValue, "invalid argument"),
    PREFIXD_EMU_ERROR(cudaErrorMemoryAllocation, "out of memory"),
    PREFIXD_EMU_ERROR(cudaErrorInvalidConfiguration, "invalid configuration argument"),
    PREFIXD_EMU_ERROR(cudaErrorInvalidPitchValue, "invalid pitch argument"),
    PREFIXD_EMU_ERROR(cudaErrorInsufficientDriver,
                      "CUDA driver version is insufficient for CUDA runtime version"),
    PREFIXD_EMU_ERROR(cudaErrorNoDevice, "no CUDA-capable device is detected"),
    PREFIXD_EMU_ERROR(cudaErrorInvalidDevice, "invalid device ordinal"),
    PREFIXD_EMU_ERROR(cudaErrorInvalidResourceHandle, "invalid resource handle"),
    PREFIXD_EMU_ERROR(cudaErrorIllegalState,
                      "the operation cannot be performed in the present state"),
    PREFIXD_EMU_ERROR(cudaErrorNotReady, "device not ready"),
    PREFIXD_EMU_ERROR(cudaErrorIllegalAddress, "an illegal memory access was encountered"),
    PREFIXD_EMU_ERROR(cudaErrorLaunchTimeout, "the launch timed out and was terminated"),
    PREFIXD_EMU_ERROR(cudaErrorLaunchFailure, "unspecified launch failure"),
    PREFIXD_EMU_ERROR(cudaErrorNotPermitted, "operation not permitted"),
    PREFIXD_EMU_ERROR(cudaErrorNotSupported, "operation not supported"),
    PREFIXD_EMU_ERROR(cudaErrorStreamCaptureUnsupported,
                      "operation not permitted when stream is capturing"),
    PREFIXD_EMU_ERROR(cudaErrorStreamCaptureInvalidated,
                      "operation failed due to a previous error during capture"),
    PREFIXD_EMU_ERROR(cudaErrorStreamCaptureMerge,
                      "operation would result in a merge of separate capture sequences"),
    PREFIXD_EMU_ERROR(cudaErrorStreamCaptureUnjoined, "capturing stream has unjoined work"),
    PREFIXD_EMU_ERROR(cudaErrorStreamCaptureIsolation,
                      "dependency created on uncaptured work in another stream"),
    PREFIXD_EMU_ERROR(cudaErrorStreamCaptureImplicit,
                      "operation would make the legacy stream depend on a capturing stream"),
    PREFIXD_EMU_ERROR(cudaErrorCapturedEvent,
                      "operation not permitted on an event last recorded in a capturing stream"),
};
#undef PREFIXD_EMU_ERROR

}  // namespace

const char* cudaGetErrorName(cudaError_t error) {
  for (const ErrorText& one : kErrorTexts) {
    if (one.error == error) return one.name;
  }
  return "unrecognized error code";
}

const char* cudaGetErrorString(cudaError_t error) {
  for (const ErrorText& one : kErrorTexts) {
    if (one.error == error) return one.text;
  }
  return "unrecognized error code";
}

cudaError_t cudaGetLastError() {
  ApiCall call("cudaGetLastError", ApiCall::kOnLostDevice);
  DeviceState& state = DeviceState::Get();
  const cudaError_t error = state.last_error;
  state.last_error = state.lost;  // A sticky error stays.
  return error;
}

cudaError_t cudaPeekAtLastError() {
  ApiCall call("cudaPeekAtLastError", ApiCall::kOnLostDevice);
  return DeviceState::Get().last_error;
}

cudaError_t cudaDriverGetVersion(int* version) {
  ApiCall call("cudaDriverGetVersion", ApiCall::kOnLostDevice);
  *version = DeviceState::Get().options.driver_version;
  return cudaSuccess;
}

cudaError_t cudaRuntimeGetVersion(int* version) {
  *version = CUDART_VERSION;
  return cudaSuccess;
}

cudaError_t cudaGetDeviceCount(int* count) {
  ApiCall call("cudaGetDeviceCount");
  if (call.refusal() != cudaSuccess) return call.Return(call.refusal());
  const auto& options = DeviceState::Get().options;
  *count = 0;
  if (options.driver_version < CUDART_VERSION) return call.Return(cudaErrorInsufficientDriver);
  if (options.device_count == 0) return call.Return(cudaErrorNoDevice);
  *count = options.device_count;
  return cudaSuccess;
}

cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int device) {
  ApiCall call("cudaGetDeviceProperties");
  if (call.refusal() != cudaSuccess) return call.Return(call.refusal());
  if (!IsDeviceNumber(device)) return call.Return(cudaErrorInvalidDevice);
  const auto& options = DeviceState::Get().options;
  std::memset(properties, 0, sizeof(*properties));
  std::snprintf(properties->name, sizeof(properties->name), "Emulated device");
  properties->totalGlobalMem = options.total_memory;
  properties->sharedMemPerBlock = kSharedPerBlock;
  properties->regsPerBlock = 65536;
  properties->warpSize = 32;
  properties->maxThreadsPerBlock = 1024;
  properties->major = options.compute_major;
  properties->minor = options.compute_minor;
  properties->multiProcessorCount = options.multiprocessors;
  properties->asyncEngineCount = 3;
  properties->unifiedAddressing = 1;
  properties->memoryBusWidth = 5120;
  properties->l2CacheSize = kL2Bytes;
  properties->maxThreadsPerMultiProcessor = 2048;
  properties->sharedMemPerMultiprocessor = kSharedPerMultiprocessor;
  properties->sharedMemPerBlockOptin = kSharedOptIn;
  properties->memoryPoolsSupported = 1;
  return cudaSuccess;
}

cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int device) {
  ApiCall call("cudaDeviceGetAttribute");
  if (call.refusal() != cudaSuccess) return call.Return(call.refusal());
  if (!IsDeviceNumber(device)) return call.Return(cudaErrorInvalidDevice);
  const auto& options = DeviceState::Get().options;
  switch (attribute) {
    case cudaDevAttrMaxThreadsPerBlock:
      *value = 1024;
      return cudaSuccess;
    case cudaDevAttrMaxSharedMemoryPerBlock:
      *value = kSharedPerBlock;
      return cudaSuccess;
    case cudaDevAttrWarpSize:
      *value = 32;
      return cudaSuccess;
    case cudaDevAttrMultiProcessorCount:
      *value = options.multiprocessors;
      return cudaSuccess;
    case cudaDevAttrIntegrated:
    case cudaDevAttrComputeMode:
      *value = 0;
      return cudaSuccess;
    case cudaDevAttrL2CacheSize:
      *value = kL2Bytes;
      return cudaSuccess;
    case cudaDevAttrUnifiedAddressing:
    case cudaDevAttrMemoryPoolsSupported:
      *value = 1;
      return cudaSuccess;
    case cudaDevAttrComputeCapabilityMajor:
      *value = options.compute_major;
      return cudaSuccess;
    case cudaDevAttrComputeCapabilityMinor:
      *value = options.compute_minor;
      return cudaSuccess;
    case cudaDevAttrMaxSharedMemoryPerMultiprocessor:
      *value = kSharedPerMultiprocessor;
      return cudaSuccess;
    case cudaDevAttrMaxSharedMemoryPerBlockOptin:
      *value = kSharedOptIn;
      return cudaSuccess;
  }
  return call.Misuse(cudaErrorInvalidValue, "an attribute that is not emulated");
}

cudaError_t cudaGetDevice(int* device) {
  *device = 0;
  return cudaSuccess;
}

cudaError_t cudaSetDevice(int device) {
  ApiCall call("cudaSetDevice");
  if (call.refusal() != cudaSuccess) return call.Return(call.refusal());
  if (!IsDeviceNumber(device)) return call.Return(cudaErrorInvalidDevice);
  if (device != 0) return call.Misuse(cudaErrorInvalidDevice, "only device 0 is emulated");
  return cudaSuccess;
}

cudaError_t cudaDeviceSynchronize() {
  ApiCall call("cudaDeviceSynchronize", ApiCall::kNotInCapture);
  if (call.refusal() != cudaSuccess) return call.Return(call.refusal());
  return call.Return(prefixd::emu::SynchronizeAll(call.lock()));
}

cudaError_t cudaDeviceReset() {
  ApiCall call("cudaDeviceReset", ApiCall::kOnLostDevice);
  DeviceState& state = DeviceState::Get();
  prefixd::emu::DropPending();
  prefixd::emu::ForgetGraphs();
  prefixd::emu::ForgetWorkspaces();
  prefixd::emu::ForgetStreams();
  prefixd::emu::MemoryArena::Get().FreeAll();
  state.lost = state.last_error = cudaSuccess;
  return cudaSuccess;
}

cudaError_t cudaFuncSetAttribute(const void* kernel, cudaFuncAttribute attribute, int value) {
  ApiCall call("cudaFuncSetAttribute");
  if (call.refusal() != cudaSuccess) return call.Return(call.refusal());
  if (attribute == cudaFuncAttributePreferredSharedMemoryCarveout) return cudaSuccess;
  if (value < 0 || value > kSharedOptIn) return call.Return(cudaErrorInvalidValue);
  prefixd::emu::AllowSharedMemory(kernel, static_cast<size_t>(value));
  return cudaSuccess;
}
