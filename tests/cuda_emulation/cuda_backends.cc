// The conformance suite's backends: CUDA on the emulated device, with activations of every type, in
// the fast and in the deterministic mode, each with threads in another order. PREFIXD_CUDA_ORDER
// ("ascending", "descending" or a seed) sets one order for all.
#include <cstdlib>
#include <string>

#include "engine/backend/cuda/cuda_backend.h"
#include "tests/backend/op_harness.h"
#include "tests/cuda_emulation/emulator/emulated_device.h"
#include "tests/cuda_emulation/emulator/grid.h"

namespace prefixd {
namespace {

emu::Config OrderOr(const emu::Config& usual) {
  const char* const text = std::getenv("PREFIXD_CUDA_ORDER");
  if (text == nullptr) return usual;
  const std::string order = text;
  if (order == "ascending") return {emu::Order::kAscending, 1};
  if (order == "descending") return {emu::Order::kDescending, 1};
  return {emu::Order::kRandom, std::strtoull(text, nullptr, 10)};
}

BackendUnderTest Cuda(DType dtype, bool deterministic, const emu::Config& usual) {
  const emu::Config order = OrderOr(usual);
  BackendUnderTest tested = {
      .name = "cuda",
      .label = std::string(DTypeName(dtype)) + (deterministic ? "exact" : ""),
      .tensor_dtype = dtype,
      .kv_dtypes = {dtype},
      .tolerance = dtype == DType::kF32 ? 1e-5 : 5e-3,
      .exact = deterministic,
      .slow = true};
  if (dtype == DType::kF32) tested.kv_dtypes.push_back(DType::kBF16);
  tested.create = [=] {
    emu::SetConfig(order);
    emu::DeviceOptions device = emu::GetDeviceOptions();
    device.guard_from_host = false;  // Takes most of the time; cuda_backend_test has it.
    emu::SetDeviceOptions(device);
    return cuda::CreateCudaBackend({.device_name = "emulated",
                                    .activation_dtype = dtype,
                                    .deterministic = deterministic,
                                    .staging_bytes = 1 << 10,
                                    .transfer_bytes = 1 << 14,
                                    .workspace_bytes = 1 << 16})
        .value();
  };
  return tested;
}

}  // namespace

std::vector<BackendUnderTest> AllBackends() {
  const emu::Config ascending = {emu::Order::kAscending, 1},
                    descending = {emu::Order::kDescending, 1};
  const auto random = [](uint64_t seed) { return emu::Config{emu::Order::kRandom, seed}; };
  return {Cuda(DType::kF32, true, ascending),   Cuda(DType::kBF16, true, descending),
          Cuda(DType::kF16, true, random(1)),   Cuda(DType::kF32, false, random(2)),
          Cuda(DType::kBF16, false, random(3)), Cuda(DType::kF16, false, descending)};
}

}  // namespace prefixd
