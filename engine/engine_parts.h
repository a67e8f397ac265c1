// What an engine is made of, and how it is opened: the checked model directory, the backend, the
// prompt builder, and the sizes that follow from the options.
#ifndef PREFIXD_ENGINE_ENGINE_PARTS_H_
#define PREFIXD_ENGINE_ENGINE_PARTS_H_

#include <cstdint>
#include <functional>
#include <memory>

#include "absl/status/statusor.h"
#include "base/clock.h"
#include "engine/backend/backend.h"
#include "engine/classify/class_sets.h"
#include "engine/engine.h"
#include "engine/models/model_loader.h"
#include "engine/options.h"
#include "engine/prefix_registry.h"
#include "engine/prompt/prompt_builder.h"
#include "engine/step_loop.h"
#include "engine/vision/image_store.h"

namespace prefixd {

struct EngineParts {
  EngineOptions options;
  std::unique_ptr<Backend> backend;
  std::unique_ptr<ModelFiles> model_files;
  std::unique_ptr<ImageStore> images;  // Outlives `prompts`.
  std::unique_ptr<const PromptBuilder> prompts;
  std::unique_ptr<PrefixRegistry> prefixes;
  std::unique_ptr<ClassSets> class_sets;
  std::shared_ptr<const RetentionCatalogue> retention;
  EngineModelInfo model_info;
  EngineRuntimeInfo runtime_info;
  KvPoolShape kv_shape;
  uint64_t page_bytes = 0;
  uint64_t image_bytes = 0;  // Pixels of one prepared image.
};

// Checks the options and the directory; reads no weight. Errors name the option or file.
absl::StatusOr<EngineParts> OpenEngineParts(const EngineOptions& options);

// Reads the weights and allocates the KV pool. The loop refers to `parts`.
absl::StatusOr<std::unique_ptr<StepLoop>> BuildStepLoop(EngineParts* parts,
                                                        const LoadProgress& progress,
                                                        const Clock* clock,
                                                        StepLoop::Listener listener);

}  // namespace prefixd

#endif  // PREFIXD_ENGINE_ENGINE_PARTS_H_
