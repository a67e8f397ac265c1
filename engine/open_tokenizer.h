// The tokenizer of a model path: files of a Hugging Face directory, or the metadata of a GGUF file.
// Free functions; safe from any thread.
#ifndef PREFIXD_ENGINE_OPEN_TOKENIZER_H_
#define PREFIXD_ENGINE_OPEN_TOKENIZER_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "engine/tokenizer/gguf_vocabulary.h"
#include "engine/tokenizer/tokenizer.h"
#include "engine/weights/gguf_metadata.h"

namespace prefixd {

// Errors name file and key: what Tokenizer::Load, ReadGgufHeader and TokenizerFromGguf say.
absl::StatusOr<std::unique_ptr<const Tokenizer>> OpenTokenizer(const std::string& model_path);

// What the keys tokenizer.* say. Errors: INVALID_ARGUMENT for a value of the wrong type, naming
// file and key, and for a file without tokens.
absl::StatusOr<GgufVocabulary> ReadGgufVocabulary(const GgufMetadata& metadata);

}  // namespace prefixd

#endif  // PREFIXD_ENGINE_OPEN_TOKENIZER_H_
