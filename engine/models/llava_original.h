// What is particular to LLaVA's original layout (haotian-liu/LLaVA): names, the tower that its
// weights may lack, the form of conversations.
#ifndef PREFIXD_ENGINE_MODELS_LLAVA_ORIGINAL_H_
#define PREFIXD_ENGINE_MODELS_LLAVA_ORIGINAL_H_

#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "engine/models/llava_config.h"
#include "engine/weights/checkpoint.h"

namespace prefixd {

// One spelling of the tensors: text.*, vision.*, mm_projector.*, lm_head.weight. The file has those
// of a Llama model, and the rest behind "model." too. A WeightNames::Canonical.
std::string OriginalLlavaName(absl::string_view name);

// Errors: UNIMPLEMENTED if the weights lack the tower, saying how to put it in.
absl::Status CheckHasTower(const LlavaConfig& config, const std::string& directory,
                           const Checkpoint& checkpoint);

// The built-in template that the reference chooses by the model's name, here the directory's.
std::string OriginalChatTemplate(const std::string& directory);

}  // namespace prefixd

#endif  // PREFIXD_ENGINE_MODELS_LLAVA_ORIGINAL_H_
