#include "engine/backend/cpu/level.h"

#if defined(__x86_64__)
#include <cpuid.h>
#endif
#include <sched.h>

#include <algorithm>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "engine/backend/registry.h"

namespace prefixd {
namespace cpu {
namespace {

struct LevelEntry {
  const char* name;
  bool (*supported)();
  const Kernels& (*kernels)();
};

bool HasPortable() { return true; }

#if defined(__x86_64__)
// __builtin_cpu_supports also asks whether the system saves the registers. clang 14 does not know
// "f16c" there.
bool HasAvx2() {
  unsigned a = 0, b = 0, c = 0, d = 0;
  const bool f16c = __get_cpuid(1, &a, &b, &c, &d) != 0 && (c & bit_F16C) != 0;
  return f16c && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
}

bool HasAvx512() {
  return HasAvx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
}

bool HasAvx512Bf16() {
  return HasAvx512() && __builtin_cpu_supports("avx512bf16") &&
         __builtin_cpu_supports("avx512vnni");
}
#endif

// Slowest first.
const LevelEntry kLevels[] = {
    {"portable", HasPortable, PortableKernels},
#if defined(__x86_64__)
    {"avx2", HasAvx2, Avx2Kernels},
    {"avx512", HasAvx512, Avx512Kernels},
    {"avx512bf16", HasAvx512Bf16, Avx512Bf16Kernels},
#endif
};

}  // namespace

absl::StatusOr<Level> SelectLevel(absl::string_view name) {
  const LevelEntry* best = nullptr;
  const LevelEntry* named = nullptr;
  for (const LevelEntry& entry : kLevels) {
    if (entry.supported()) best = &entry;
    if (name == entry.name) named = &entry;
  }
  if (name == "auto") named = best;
  if (named == nullptr) {
    return absl::InvalidArgumentError(absl::StrCat("unknown CPU level \"", name, "\""));
  }
  if (!named->supported()) {
    return absl::FailedPreconditionError(
        absl::StrCat("this CPU cannot run level ", name, "; the best it can is ", best->name));
  }
  return Level{named->name, &named->kernels()};
}

int NumUsableCpus() {
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof(set), &set) != 0) return 1;
  return std::max(1, CPU_COUNT(&set));
}

}  // namespace cpu

std::vector<std::string> SupportedCpuLevels() {
  std::vector<std::string> names;
  for (const cpu::LevelEntry& entry : cpu::kLevels) {
    if (entry.supported()) names.push_back(entry.name);
  }
  return names;
}

}  // namespace prefixd
