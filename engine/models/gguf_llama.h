// A Llama decoder in one GGUF file: its metadata as the configuration of a Hugging Face directory,
// its tensors under that directory's names, and the rows of q and k in that directory's order, so
// that everything behind (llama.h) knows one layout only.
#ifndef PREFIXD_ENGINE_MODELS_GGUF_LLAMA_H_
#define PREFIXD_ENGINE_MODELS_GGUF_LLAMA_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "engine/models/model_loader.h"
#include "engine/weights/gguf.h"

namespace prefixd {

// Returns the text of a config.json that says what the metadata and the tensors' names say, the ids
// that end a generation included. Errors: INVALID_ARGUMENT naming file and key; UNIMPLEMENTED for
// another architecture, for rotation of a part of a head, for scaling other than none and linear,
// and for any key of the architecture that is not known here.
absl::StatusOr<std::string> GgufLlamaConfig(const GgufHeader& header);

// "blk.3.attn_q.weight" -> "model.layers.3.self_attn.q_proj.weight". Names of no weight of a Llama
// decoder stay as they are.
std::string GgufLlamaName(absl::string_view name);

// Checks the whole header. Errors as OpenModelFiles.
absl::StatusOr<std::unique_ptr<ModelFiles>> OpenGgufModel(const std::string& path);

}  // namespace prefixd

#endif  // PREFIXD_ENGINE_MODELS_GGUF_LLAMA_H_
