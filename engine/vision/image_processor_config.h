// Reads preprocessor_config.json in its old form (plain numbers) and its new one (objects).
#ifndef PREFIXD_ENGINE_VISION_IMAGE_PROCESSOR_CONFIG_H_
#define PREFIXD_ENGINE_VISION_IMAGE_PROCESSOR_CONFIG_H_

#include <string>

#include <nlohmann/json_fwd.hpp>

#include "absl/status/statusor.h"
#include "engine/vision/image_processor.h"

namespace prefixd {

// `where` names the file in errors. `image_size` is the side that the vision tower takes.
// Errors: INVALID_ARGUMENT for a value that is wrong, UNIMPLEMENTED for one that means a step that
// this daemon does not have; the message names the file and the key.
absl::StatusOr<ImageProcessorConfig> ParseImageProcessorConfig(const nlohmann::json& root,
                                                               const std::string& where,
                                                               int image_size);

}  // namespace prefixd

#endif  // PREFIXD_ENGINE_VISION_IMAGE_PROCESSOR_CONFIG_H_
