#include "tools/acceptance/stages.h"

#include <chrono>

#include "tools/acceptance/device_timer.h"
#include "tools/acceptance/stage_runner.h"

namespace prefixd::acceptance {
namespace {

using StageFunction = StageReport (*)(const StageSettings&);
constexpr std::pair<const char*, StageFunction> kStages[] = {
    {"env", RunEnv},           {"ceilings", RunCeilings}, {"kernels", RunKernels},
    {"sanitize", RunSanitize}, {"roofline", RunRoofline}, {"engine", RunEngineStage},
    {"e2e", RunE2e},           {"prefixkv", RunPrefixKv}, {"soak", RunSoak},
    {"profile", RunProfile},
};

}  // namespace

Ceilings CeilingsFor(const StageSettings& settings, StageReport* report) {
  const absl::StatusOr<StageReport> before = ReadReport({.out = settings.out}, "ceilings");
  if (before.ok() && before->outcome == Outcome::kPassed) {
    const auto copy = before->numbers.find("copy_bytes_per_second");
    const auto gemm = before->numbers.find("gemm_flops_per_second");
    if (copy != before->numbers.end() && gemm != before->numbers.end() && copy->second > 0 &&
        gemm->second > 0) {
      return {copy->second, gemm->second};
    }
  }
  report->facts.emplace_back("ceilings", "not measured here; 3.0 TB/s and 800 TFLOP/s assumed");
  return {3.0e12, 8.0e14};
}

StageReport RunStage(const std::string& stage, const StageSettings& settings) {
  const auto start = std::chrono::steady_clock::now();
  StageReport report;
  if (stage != "env") report.FailUnless(CheckDevice());
  if (report.outcome == Outcome::kPassed) {
    for (const auto& [name, function] : kStages) {
      if (stage == name) report = function(settings);
    }
  }
  report.stage = stage;
  report.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return report;
}

}  // namespace prefixd::acceptance
