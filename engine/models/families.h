// What the loader hands to a family, and the entries of all families. A family checks its part of
// the directory (configuration, tensor names and shapes) and returns its ModelFiles.
#ifndef PREFIXD_ENGINE_MODELS_FAMILIES_H_
#define PREFIXD_ENGINE_MODELS_FAMILIES_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "engine/backend/backend.h"
#include "engine/models/config_reader.h"
#include "engine/models/model_loader.h"
#include "engine/weights/checkpoint.h"

namespace prefixd {

absl::StatusOr<std::unique_ptr<ModelFiles>> OpenGpt2(const std::string& directory,
                                                     const ConfigReader& config);
absl::StatusOr<std::unique_ptr<ModelFiles>> OpenGptNeox(const std::string& directory,
                                                        const ConfigReader& config);
absl::StatusOr<std::unique_ptr<ModelFiles>> OpenLlama(const std::string& directory,
                                                      const ConfigReader& config);
absl::StatusOr<std::unique_ptr<ModelFiles>> OpenLlava(const std::string& directory,
                                                      const ConfigReader& config);
absl::StatusOr<std::unique_ptr<ModelFiles>> OpenMosaicGpt(const std::string& directory,
                                                          const ConfigReader& config);
absl::StatusOr<std::unique_ptr<ModelFiles>> OpenMpt(const std::string& directory,
                                                    const ConfigReader& config);
absl::StatusOr<std::unique_ptr<ModelFiles>> OpenOpenFlamingo(const std::string& directory,
                                                             const ConfigReader& config);
absl::StatusOr<std::unique_ptr<ModelFiles>> OpenPaliGemma(const std::string& directory,
                                                          const ConfigReader& config);

// Records an error in `config` for features that no family supports: quantised weights, experts,
// sliding windows, an unknown element type.
void RefuseUnsupported(const ConfigReader& config);

// Records an error if `config` names another model_type than `expected`; none is fine.
void RefuseOtherModelType(const ConfigReader& config, absl::string_view expected);

// Reads the activation `key` (for example hidden_act). Errors go to `config`.
void ReadActivation(const ConfigReader& config, const char* key, Activation* activation);

}  // namespace prefixd

#endif  // PREFIXD_ENGINE_MODELS_FAMILIES_H_
