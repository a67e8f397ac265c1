// The stages of the GPU acceptance on the emulated device, at toy sizes: times mean nothing here,
// but every kernel is launched, every check is made, and every table is filled.
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>

#include "base/clock.h"
#include "engine/backend/cuda/cuda_backend.h"
#include "engine/backend/cuda/kernel_bug.h"
#include "engine/engine_parts.h"
#include "engine/open_backend.h"
#include "engine/threaded_engine.h"
#include "tests/cuda_emulation/emulator/emulated_device.h"
#include "tools/acceptance/stages.h"

namespace prefixd::acceptance {
namespace {

absl::StatusOr<std::unique_ptr<Backend>> NewBackend(const BackendChoice& choice) {
  return cuda::CreateCudaBackend({.device_name = "emulated",
                                  .activation_dtype = choice.activation_dtype,
                                  .deterministic = choice.deterministic,
                                  .graphs = choice.graphs,
                                  .workspace_bytes = 1 << 16});
}

// With backend "cuda" the parts of a CPU engine, on the emulated device.
absl::StatusOr<std::unique_ptr<Engine>> OpenEngine(const EngineOptions& options) {
  static const auto* const kClock = new MonotonicClock;
  if (options.backend != "cuda") return Engine::Open(options, kClock);
  EngineOptions host = options;
  host.backend = "ref";
  host.kv_dtype = host.activation_dtype = "auto";
  absl::StatusOr<EngineParts> parts = OpenEngineParts(host);
  if (!parts.ok()) return parts.status();
  BackendChoice choice = {.deterministic = options.cuda_deterministic};
  if (options.activation_dtype == "f32") choice.activation_dtype = DType::kF32;
  absl::StatusOr<std::unique_ptr<Backend>> backend = NewBackend(choice);
  if (!backend.ok()) return backend.status();
  parts->backend = *std::move(backend);
  parts->kv_shape.dtype = choice.activation_dtype;
  return std::make_unique<ThreadedEngine>(*std::move(parts), kClock);
}

class GpuAcceptanceTest : public ::testing::Test {
 protected:
  void SetUp() override {
    emu::ResetDevice();
    // Closing memory to the host around every launch takes most of the time; smaller tests do it.
    emu::SetDeviceOptions({.guard_from_host = false});
    std::string name = ::testing::TempDir() + "acceptance_XXXXXX";
    ASSERT_NE(mkdtemp(name.data()), nullptr);
    settings_.out = name;
    settings_.source = PREFIXD_SOURCE_DIR;
    settings_.binaries = name;
    settings_.quick = true;
    settings_.small = settings_.large = ToyModel();
    settings_.soak_seconds = 3;
    settings_.replays = 2;
    settings_.families = {"tiny-llama", "no-such-shape"};
    settings_.open_backend = NewBackend;
    settings_.open_engine = OpenEngine;
  }
  void TearDown() override { std::filesystem::remove_all(settings_.out); }

  // A stage that passes.
  StageReport Run(const std::string& stage) {
    StageReport report = RunStage(stage, settings_);
    EXPECT_EQ(report.outcome, Outcome::kPassed) << report.reason << "\n"
                                                << RenderReport({&report, 1});
    return report;
  }

  StageSettings settings_;
};

TEST_F(GpuAcceptanceTest, EnvDescribesTheDevice) {
  const StageReport report = Run("env");
  EXPECT_GT(report.facts.size(), 5u);
}

TEST_F(GpuAcceptanceTest, WithoutADeviceStagesFail) {
  emu::SetDeviceOptions({.device_count = 0});
  for (const char* const stage : {"env", "ceilings", "roofline", "engine", "kernels"}) {
    const StageReport report = RunStage(stage, settings_);
    EXPECT_EQ(report.outcome, Outcome::kFailed) << stage;
    EXPECT_EQ(report.reason.rfind("no CUDA device", 0), 0u) << report.reason;
  }
}

TEST_F(GpuAcceptanceTest, CeilingsAreMeasured) {
  const StageReport report = Run("ceilings");
  EXPECT_EQ(report.facts.size(), 7u);
}

TEST_F(GpuAcceptanceTest, TheRooflineMeasuresEveryCase) {
  const StageReport report = Run("roofline");
  ASSERT_EQ(report.tables.size(), 1u);
  EXPECT_EQ(report.tables[0].rows.size(), 35u);
}

TEST_F(GpuAcceptanceTest, TheEngineAnswersAsTheCpuDoes) {
  const StageReport report = Run("engine");
  EXPECT_EQ(report.facts.size(), 10u);
}

TEST_F(GpuAcceptanceTest, TheEngineStageFindsAWrongKernel) {
  cuda::planted_kernel_bug = cuda::KernelBug::kRotatesNeighbours;
  const StageReport report = RunStage("engine", settings_);
  cuda::planted_kernel_bug = cuda::KernelBug::kNone;
  EXPECT_EQ(report.outcome, Outcome::kFailed);
  EXPECT_EQ(report.reason.rfind("not so: log-probabilities are the CPU's", 0), 0u) << report.reason;
}

TEST_F(GpuAcceptanceTest, EndToEndFillsItsTables) {
  const StageReport report = Run("e2e");
  EXPECT_EQ(report.tables.size(), 2u);
}

TEST_F(GpuAcceptanceTest, PrefixKvFillsThePapersTable) {
  const StageReport report = Run("prefixkv");
  ASSERT_EQ(report.tables.size(), 1u);
  EXPECT_EQ(report.tables[0].rows.size(), 20u);
}

TEST_F(GpuAcceptanceTest, PrefixKvSaysWhatDoesNotFit) {
  // 2 sequences in 2 layers: of 48 slots 80 % are 3 + 2 pages each, 60 % are 3 + 1.
  settings_.most_pages = 9;
  const StageReport report = Run("prefixkv");
  ASSERT_EQ(report.tables[0].rows.size(), 20u);
  for (const auto& row : report.tables[0].rows) {
    const bool fits = row[3] != "80 %" && row[3] != "100 %";
    const std::string pages = row[3] == "80 %" ? "10" : "12";
    EXPECT_EQ(row[5] == "does not fit: needs " + pages + " pages, there are 9", !fits)
        << row[3] << row[5];
    EXPECT_EQ(row[9].empty(), !fits);
  }
}

TEST_F(GpuAcceptanceTest, PrefixKvSaysIfTheWeightsDoNotFit) {
  emu::SetDeviceOptions({.total_memory = size_t{1} << 20, .guard_from_host = false});
  const StageReport report = Run("prefixkv");
  EXPECT_TRUE(report.tables[0].rows.empty());
  int missing = 0;
  for (const auto& [name, fact] : report.facts) {
    missing += fact.rfind("the weights do not fit", 0) == 0;
  }
  EXPECT_EQ(missing, 2);
}

TEST_F(GpuAcceptanceTest, TheSoakLeavesNothingBehind) { Run("soak"); }

TEST_F(GpuAcceptanceTest, KernelsThatAreNotBuiltFail) {
  const StageReport report = RunStage("kernels", settings_);
  EXPECT_EQ(report.outcome, Outcome::kFailed);
  EXPECT_NE(report.reason.find("is not built"), std::string::npos);
}

}  // namespace
}  // namespace prefixd::acceptance
