// The conformance suite's backends on a card: through the loader and the module, as a daemon gets
// them, with activations of every type, in the fast and in the deterministic mode.
#include <cstdio>
#include <cstdlib>

#include "engine/backend/registry.h"
#include "tests/backend/op_harness.h"

namespace prefixd {
namespace {

BackendUnderTest Cuda(DType dtype, bool deterministic) {
  BackendUnderTest tested = {
      .name = "cuda",
      .label = std::string(DTypeName(dtype)) + (deterministic ? "exact" : ""),
      .tensor_dtype = dtype,
      .kv_dtypes = {dtype},
      .tolerance = dtype == DType::kF32 ? 1e-5 : 5e-3,
      .exact = deterministic};
  if (dtype == DType::kF32) tested.kv_dtypes.push_back(DType::kBF16);
  tested.create = [=] {
    absl::StatusOr<std::unique_ptr<Backend>> backend =
        CreateBackend({.name = "cuda", .activation_dtype = dtype, .deterministic = deterministic});
    if (!backend.ok()) {
      std::fprintf(stderr, "%s\n", std::string(backend.status().message()).c_str());
      std::exit(3);
    }
    return *std::move(backend);
  };
  return tested;
}

}  // namespace

std::vector<BackendUnderTest> AllBackends() {
  return {Cuda(DType::kF32, true),  Cuda(DType::kBF16, true),  Cuda(DType::kF16, true),
          Cuda(DType::kF32, false), Cuda(DType::kBF16, false), Cuda(DType::kF16, false)};
}

}  // namespace prefixd
