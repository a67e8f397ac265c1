// The conformance suite's backends: the reference, and the CPU backend on every level that this
// machine can run.
#include "tests/backend/op_harness.h"

namespace prefixd {

std::vector<BackendUnderTest> AllBackends() {
  std::vector<BackendUnderTest> all = {{.name = "ref"}};
  for (const std::string& level : SupportedCpuLevels()) {
    all.push_back({.name = "cpu", .level = level});
    if (level == "avx512bf16") {
      all.push_back({.name = "cpu", .level = level, .activation_dtype = DType::kBF16});
    }
  }
  return all;
}

}  // namespace prefixd
