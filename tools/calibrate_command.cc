#include <cstdio>
#include <filesystem>

#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "base/sha256.h"
#include "base/status_macros.h"
#include "tools/calibration.h"
#include "tools/calibration_state.h"
#include "tools/commands.h"
#include "tools/profile_files.h"
#include "tools/progress.h"

namespace prefixd::tools {
namespace {

constexpr size_t kMaxImageBytes = 16 << 20;

// Of pictures and questions, in order.
absl::StatusOr<std::string> SamplesDigest(const std::vector<Sample>& samples) {
  Sha256 hash;
  for (const Sample& sample : samples) {
    std::string image;
    if (!sample.image.empty()) {
      PREFIXD_ASSIGN_OR_RETURN(image, ReadFile(sample.image, kMaxImageBytes));
    }
    hash.Update(uint64_t{image.size()}).Update(image);
    hash.Update(uint64_t{sample.question.size()}).Update(sample.question);
  }
  return ToHex(hash.Finish());
}

CalibrationHeader Header(const Options& options, const Workbench& bench,
                         const std::string& samples_digest) {
  const EngineModelInfo& model = bench.engine->model_info();
  const EngineRuntimeInfo& runtime = bench.engine->runtime_info();
  return {{"model", model.name},
          {"model_digest", model.digest},
          {"model_layers", absl::StrCat(model.num_layers)},
          {"weights_dtype", model.weights_dtype},
          {"weight_bytes", absl::StrCat(model.weight_bytes)},
          {"chat_template", model.chat_template},
          {"backend", runtime.backend},
          {"kv_dtype", runtime.kv_dtype},
          {"samples", absl::StrCat(bench.data.samples.size())},
          {"samples_digest", samples_digest},
          {"start_size", absl::StrCat(options.engine.retention_start_size)},
          {"protect", absl::StrCat(options.engine.retention_protect)}};
}

}  // namespace

absl::Status RunCalibrate(const Options& options) {
  PREFIXD_ASSIGN_OR_RETURN(const std::unique_ptr<Workbench> bench, SetUp(options));
  const EngineModelInfo& model = bench->engine->model_info();
  const std::string name = options.name.empty() ? model.name : options.name;
  if (!IsProfileName(name)) {
    return absl::InvalidArgumentError(
        absl::StrCat("the model's name \"", name, "\" cannot name a profile; give --name"));
  }
  const size_t num_samples = bench->data.samples.size();
  PREFIXD_ASSIGN_OR_RETURN(const std::string samples_digest, SamplesDigest(bench->data.samples));
  const std::string path =
      (std::filesystem::path(options.out) / absl::StrCat("calibrate_", name, ".jsonl")).string();
  PREFIXD_ASSIGN_OR_RETURN(
      CalibrationState state,
      CalibrationState::Open(path, Header(options, *bench, samples_digest),
                             {.num_samples = num_samples, .num_layers = model.num_layers},
                             options.restart));
  if (state.num_cells() > 0) {
    std::fprintf(stderr, "calibrate: goes on from %zu measurements in %s\n", state.num_cells(),
                 path.c_str());
  }
  {
    Progress progress = StderrProgress("calibrate", &bench->clock);
    PREFIXD_RETURN_IF_ERROR(
        Calibrate(num_samples, model.num_layers, bench->measurer.get(), &state,
                  [&](size_t done, size_t total) { progress.Update(done, total); }));
  }
  PREFIXD_RETURN_IF_ERROR(
      WriteProfile(options.out, name, AverageProfile(state, num_samples, model.num_layers)));
  for (const int tenths : kCalibrationTenths) {
    std::printf("%s\n",
                (std::filesystem::path(options.out) / ProfileFileName(name, tenths)).c_str());
  }
  return state.Remove();
}

}  // namespace prefixd::tools
