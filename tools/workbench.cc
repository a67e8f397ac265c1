#include <cstdio>
#include <filesystem>

#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "base/status_macros.h"
#include "tools/commands.h"
#include "tools/progress.h"

namespace prefixd::tools {

absl::Status LoadWeights(Engine* engine, const Clock* clock) {
  constexpr int kMebibyte = 20;  // Bits.
  Progress progress = StderrProgress("weights, MiB,", clock);
  return engine->LoadWeights([&progress](uint64_t done, uint64_t total) {
    if (done < total) progress.Update(done >> kMebibyte, (total >> kMebibyte) + 1);
    return true;
  });
}

absl::StatusOr<std::unique_ptr<Workbench>> SetUp(const Options& options) {
  auto bench = std::make_unique<Workbench>();
  PREFIXD_ASSIGN_OR_RETURN(bench->data, LoadDataset(options.data));
  std::error_code error;
  std::filesystem::create_directories(options.out, error);
  if (error) {
    return absl::InvalidArgumentError(
        absl::StrCat(options.out, ": cannot make the directory: ", error.message()));
  }
  PREFIXD_ASSIGN_OR_RETURN(bench->engine, Engine::Open(options.engine, &bench->clock));
  PREFIXD_ASSIGN_OR_RETURN(bench->tokenizer, Tokenizer::Load(options.engine.model_path));
  PREFIXD_RETURN_IF_ERROR(LoadWeights(bench->engine.get(), &bench->clock));
  bench->measurer = std::make_unique<EngineMeasurer>(
      bench->engine.get(), bench->tokenizer.get(), bench->data.samples,
      EngineMeasurerOptions{.in_flight = options.in_flight,
                            .max_new_tokens = options.max_new_tokens,
                            .bypass_prefix_cache = !options.prefix_cache});
  PREFIXD_RETURN_IF_ERROR(bench->measurer->CheckSamples(options.command == Command::kEvaluate));
  return bench;
}

absl::Status WriteOutput(const Options& options, const std::string& name, const std::string& text) {
  const std::string path = (std::filesystem::path(options.out) / name).string();
  PREFIXD_RETURN_IF_ERROR(WriteFileAtomically(
      path, absl::MakeConstSpan(reinterpret_cast<const uint8_t*>(text.data()), text.size())));
  std::printf("%s\n", path.c_str());
  return absl::OkStatus();
}

}  // namespace prefixd::tools
