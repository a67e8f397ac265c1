// From a checkpoint to a Model, in two phases: everything small is checked first (config,
// tensor names, shapes and ranges), so that a daemon can refuse a bad one before it listens;
// the weights are read afterwards, with progress.
#ifndef PREFIXD_ENGINE_MODELS_MODEL_LOADER_H_
#define PREFIXD_ENGINE_MODELS_MODEL_LOADER_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/backend/backend.h"
#include "engine/models/model.h"

namespace prefixd {

// Called with bytes read so far and in all; returns false to give up (CANCELLED).
using LoadProgress = std::function<bool(uint64_t bytes_done, uint64_t bytes_total)>;

// A checked checkpoint whose weights are not read yet. Not thread-safe.
class ModelFiles {
 public:
  virtual ~ModelFiles() = default;

  virtual const ModelSpec& spec() const = 0;

  // Reads the weights into `backend`, which must outlive the model. Called once.
  // Errors: a file that changed or ends early (ABORTED, OUT_OF_RANGE), RESOURCE_EXHAUSTED with
  // needed and available bytes.
  virtual absl::StatusOr<std::unique_ptr<Model>> Load(Backend* backend, const ModelLimits& limits,
                                                      const LoadProgress& progress) = 0;
};

// Reads config.json, generation_config.json and the headers of the weights of a Hugging Face
// directory; or the header of a GGUF file, which may be the only one of a directory. Errors:
// INVALID_ARGUMENT that names file and key or tensor, with both values; UNIMPLEMENTED for a family
// or feature that changes results and is not supported.
absl::StatusOr<std::unique_ptr<ModelFiles>> OpenModelFiles(const std::string& model_path);

// The values of config.json's model_type that OpenModelFiles knows.
std::vector<std::string> RegisteredModelTypes();

}  // namespace prefixd

#endif  // PREFIXD_ENGINE_MODELS_MODEL_LOADER_H_
