// Stage env: what the machine is. Nothing is changed.
#include <cuda_runtime.h>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "tools/acceptance/device_timer.h"
#include "tools/acceptance/process.h"
#include "tools/acceptance/stages.h"

namespace prefixd::acceptance {
namespace {

std::string Version(int version) { return absl::StrCat(version / 1000, ".", version % 1000 / 10); }

absl::Status DescribeCard(StageReport* report) {
  cudaDeviceProp card;
  if (const absl::Status status =
          CheckCuda(cudaGetDeviceProperties(&card, 0), "asking for the card's properties");
      !status.ok()) {
    return status;
  }
  auto& facts = report->facts;
  facts.emplace_back("card", card.name);
  facts.emplace_back("compute capability", absl::StrCat(card.major, ".", card.minor));
  facts.emplace_back("multiprocessors", absl::StrCat(card.multiProcessorCount));
  facts.emplace_back("memory", absl::StrFormat("%.1f GiB", card.totalGlobalMem / 1073741824.0));
  facts.emplace_back("L2 cache", absl::StrFormat("%.1f MiB", card.l2CacheSize / 1048576.0));
  facts.emplace_back("shared memory of a block",
                     absl::StrFormat("%d KiB", card.sharedMemPerBlockOptin >> 10));
  report->numbers["l2_bytes"] = card.l2CacheSize;
  if (card.major < 8) {
    return absl::FailedPreconditionError("compute capability 8.0 or later is needed");
  }
  return absl::OkStatus();
}

void DescribeClocks(StageReport* report) {
  const std::string text =
      OutputOf({"nvidia-smi",
                "--query-gpu=driver_version,clocks.sm,clocks.max.sm,clocks.mem,clocks.max.mem,"
                "power.limit,persistence_mode,mig.mode.current",
                "--format=csv,noheader"});
  if (text.empty()) {
    report->facts.emplace_back("nvidia-smi", "not there, or it fails");
    return;
  }
  report->facts.emplace_back(
      "driver, SM clock (most), memory clock (most), power limit, persistence, MIG",
      text.substr(0, text.find('\n')));
}

}  // namespace

StageReport RunEnv(const StageSettings& settings) {
  StageReport report;
  int driver = 0, runtime = 0;
  cudaDriverGetVersion(&driver);
  cudaRuntimeGetVersion(&runtime);
  report.facts.emplace_back("CUDA of the driver", driver == 0 ? "no driver" : Version(driver));
  report.facts.emplace_back("CUDA of the build", Version(runtime));
  const std::string nvcc = OutputOf({"nvcc", "--version"});
  if (!nvcc.empty()) {
    report.facts.emplace_back("nvcc", nvcc.substr(nvcc.rfind('\n') + 1));
  }
  const std::string revision = OutputOf({"git", "-C", settings.source, "rev-parse", "HEAD"});
  if (!revision.empty()) report.facts.emplace_back("revision", revision);
  report.FailUnless(CheckDevice());
  if (report.outcome == Outcome::kFailed) return report;
  report.FailUnless(DescribeCard(&report));
  DescribeClocks(&report);
  return report;
}

}  // namespace prefixd::acceptance
