// The driver of tools/gpu_acceptance: runs each stage as a process of its own.
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <iostream>

#include "CLI/CLI.hpp"
#include "absl/strings/str_cat.h"
#include "base/clock.h"
#include "base/file.h"
#include "engine/backend/cuda/cuda_backend.h"
#include "tools/acceptance/device_timer.h"
#include "tools/acceptance/process.h"
#include "tools/acceptance/stage_runner.h"
#include "tools/acceptance/stages.h"

namespace prefixd::acceptance {
namespace {

constexpr int kUsage = 101;  // Beyond any number of failures.

StageReport RunInChild(const RunOptions& options, const std::vector<std::string>& common,
                       const std::string& stage) {
  const std::string log = absl::StrCat(options.out, "/", stage, ".log");
  std::error_code none;
  std::filesystem::remove(ReportPath(options, stage), none);
  std::vector<std::string> argv = {std::filesystem::read_symlink("/proc/self/exe").string(),
                                   "--run-stage", stage};
  argv.insert(argv.end(), common.begin(), common.end());
  StageReport report;
  const absl::StatusOr<ProcessResult> run = RunProcess(argv, log, kStageSeconds);
  report.FailUnless(run.status());
  if (!run.ok()) return report;
  absl::StatusOr<StageReport> written = ReadReport(options, stage);
  if (run->ok() && written.ok()) return *std::move(written);
  report.Fail(absl::StrCat("the stage ", run->Describe(), "; see ", log));
  report.seconds = run->seconds;
  return report;
}

StageSettings CardSettings() {
  StageSettings settings;
  settings.open_backend = [](const BackendChoice& choice) {
    return cuda::CreateCudaBackend({.device_name = "card 0",
                                    .activation_dtype = choice.activation_dtype,
                                    .deterministic = choice.deterministic,
                                    .graphs = choice.graphs});
  };
  settings.open_engine = [](const EngineOptions& options) {
    static const auto* const kClock = new MonotonicClock;
    return Engine::Open(options, kClock);
  };
  return settings;
}

int Main(int argc, char** argv) {
  RunOptions options = {.out = "gpu_acceptance"};
  StageSettings settings = CardSettings();
  std::string run_stage;
  CLI::App app(
      "Accepts an NVIDIA card: stages env, ceilings, kernels, sanitize, roofline, engine, "
      "e2e, prefixkv, soak, profile. The exit status is the number that failed.");
  app.add_option("--stage", options.stage, "all, or the name of one stage");
  app.add_flag("--quick", options.quick, "fewer shapes, shorter runs, small models");
  app.add_flag("--fresh", options.fresh, "run stages again that have passed");
  app.add_option("--weights", settings.weights, "a model directory for e2e; else random weights");
  app.add_option("--out", options.out, "where reports, logs and random models go");
  app.add_option("--source", settings.source, "the checkout")->required();
  app.add_option("--binaries", settings.binaries, "the build folder")->required();
  app.add_option("--revision", options.revision, "of the sources");
  app.add_option("--run-stage", run_stage, "")->group("");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : kUsage;
  }
  settings.quick = options.quick;
  settings.out = options.out;
  std::error_code error;
  std::filesystem::create_directories(options.out, error);
  if (!run_stage.empty()) {
    StageReport report = RunStage(run_stage, settings);
    const absl::Status written = WriteReport(options, report);
    if (!written.ok()) std::fprintf(stderr, "%s\n", std::string(written.message()).c_str());
    return written.ok() ? 0 : 1;
  }
  std::vector<std::string> common = {"--out",         options.out,  "--source",
                                     settings.source, "--binaries", settings.binaries};
  if (options.quick) common.push_back("--quick");
  if (!settings.weights.empty()) common.insert(common.end(), {"--weights", settings.weights});
  const absl::StatusOr<int> failures = RunStages(
      options, [&](const std::string& stage) { return RunInChild(options, common, stage); });
  if (!failures.ok()) {
    std::fprintf(stderr, "%s\n", std::string(failures.status().message()).c_str());
    return kUsage;
  }
  std::printf("%d failed; the report: %s/report.md\n", *failures, options.out.c_str());
  return *failures;
}

}  // namespace
}  // namespace prefixd::acceptance

int main(int argc, char** argv) { return prefixd::acceptance::Main(argc, argv); }
