// A text family that is a plain decoder (plain_text.h) and nothing else: GPT-2, MPT, GPT-NeoX.
#ifndef PREFIXD_ENGINE_MODELS_PLAIN_FAMILY_H_
#define PREFIXD_ENGINE_MODELS_PLAIN_FAMILY_H_

#include <functional>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "engine/models/config_reader.h"
#include "engine/models/model_loader.h"
#include "engine/models/plain_text.h"
#include "engine/models/weight_names.h"

namespace prefixd {

struct PlainFamily {
  absl::string_view name;
  std::function<absl::StatusOr<PlainTextTensors>(WeightNames*)> find;
  WeightNames::Canonical canonical;
  bool (*is_known_unused)(absl::string_view canonical);
};

// Opens a directory of the family; `text` was read from `config`, whose errors come first.
absl::StatusOr<std::unique_ptr<ModelFiles>> OpenPlainFamily(const std::string& directory,
                                                            const ConfigReader& config,
                                                            const PlainTextConfig& text,
                                                            const PlainFamily& family);

}  // namespace prefixd

#endif  // PREFIXD_ENGINE_MODELS_PLAIN_FAMILY_H_
