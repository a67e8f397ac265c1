#include "engine/models/generation_config.h"

#include "base/status_macros.h"
#include "engine/weights/checkpoint.h"

namespace prefixd {
namespace {

void ReadEosTokens(const ConfigReader& config, int32_t vocab_size, GenerationDefaults* defaults) {
  if (!defaults->eos_token_ids.empty()) return;
  config.IntOrList("eos_token_id", 0, vocab_size - 1, kMaxEosTokens, &defaults->eos_token_ids);
}

absl::Status ReadFile(const std::string& path, int32_t vocab_size, GenerationDefaults* defaults) {
  PREFIXD_ASSIGN_OR_RETURN(const ConfigReader config, ConfigReader::Open(path));
  config.Bool("do_sample", &defaults->do_sample);
  config.Float("temperature", 0, 100, &defaults->temperature);
  config.Int("top_k", 0, 1 << 22, &defaults->top_k);
  config.Float("top_p", 0, 1, &defaults->top_p);
  config.Float("repetition_penalty", 1e-3, 1e3, &defaults->repetition_penalty);
  ReadEosTokens(config, vocab_size, defaults);
  return config.status();
}

// Fills the ends in where they are not known yet.
absl::Status Complete(absl::Span<const ConfigReader> configs, int32_t vocab_size,
                      int32_t default_eos, GenerationDefaults* defaults) {
  for (const ConfigReader& config : configs) {
    ReadEosTokens(config, vocab_size, defaults);
    PREFIXD_RETURN_IF_ERROR(config.status());
  }
  if (defaults->eos_token_ids.empty() && default_eos >= 0 && default_eos < vocab_size) {
    defaults->eos_token_ids = {default_eos};
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<GenerationDefaults> ReadGenerationDefaults(const std::string& directory,
                                                          absl::Span<const ConfigReader> configs,
                                                          int32_t vocab_size, int32_t default_eos) {
  GenerationDefaults defaults;
  const absl::StatusOr<std::string> path = ResolveInDirectory(directory, "generation_config.json");
  if (path.ok()) {
    PREFIXD_RETURN_IF_ERROR(ReadFile(*path, vocab_size, &defaults));
  } else if (!absl::IsNotFound(path.status())) {
    return path.status();
  }
  PREFIXD_RETURN_IF_ERROR(Complete(configs, vocab_size, default_eos, &defaults));
  return defaults;
}

absl::StatusOr<GenerationDefaults> GenerationDefaultsOf(absl::Span<const ConfigReader> configs,
                                                        int32_t vocab_size) {
  constexpr int32_t kLlamaEos = 2;
  GenerationDefaults defaults;
  PREFIXD_RETURN_IF_ERROR(Complete(configs, vocab_size, kLlamaEos, &defaults));
  return defaults;
}

}  // namespace prefixd
