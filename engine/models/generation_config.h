// generation_config.json: sampling defaults and the ids that end a generation.
#ifndef PREFIXD_ENGINE_MODELS_GENERATION_CONFIG_H_
#define PREFIXD_ENGINE_MODELS_GENERATION_CONFIG_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "engine/models/config_reader.h"
#include "engine/models/model.h"

namespace prefixd {

// Most ids that may end a generation.
inline constexpr size_t kMaxEosTokens = 64;

// Reads the file of `directory`. Where it is absent or names no end, the ids come from the first of
// `configs` that does; where none does, the end is `default_eos` (2 is the Llama class default; -1:
// none) if the vocabulary has it. Errors name file and key: more than 64 ids, an id outside [0,
// vocab_size), a value out of range.
absl::StatusOr<GenerationDefaults> ReadGenerationDefaults(const std::string& directory,
                                                          absl::Span<const ConfigReader> configs,
                                                          int32_t vocab_size,
                                                          int32_t default_eos = 2);

// As above, of a model without that file.
absl::StatusOr<GenerationDefaults> GenerationDefaultsOf(absl::Span<const ConfigReader> configs,
                                                        int32_t vocab_size);

}  // namespace prefixd

#endif  // PREFIXD_ENGINE_MODELS_GENERATION_CONFIG_H_
