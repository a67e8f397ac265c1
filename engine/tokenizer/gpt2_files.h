// The older pair of files of a GPT-2 tokenizer: vocab.json and merges.txt.
#ifndef PREFIXD_ENGINE_TOKENIZER_GPT2_FILES_H_
#define PREFIXD_ENGINE_TOKENIZER_GPT2_FILES_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "engine/tokenizer/tokenizer.h"
#include "engine/tokenizer/tokenizer_config.h"

namespace prefixd {

// Byte-level BPE with GPT-2's words. `<|endoftext|>`, if it is in the vocabulary, is special, and
// BOS and EOS where `config` names none; no BOS is added without a word in `config`.
// Errors: as ReadVocab and AddMerge, naming the file and for merges.txt the line.
absl::StatusOr<std::unique_ptr<const Tokenizer>> TokenizerFromGpt2Files(
    const std::string& vocab_path, const std::string& merges_path, TokenizerConfig config);

}  // namespace prefixd

#endif  // PREFIXD_ENGINE_TOKENIZER_GPT2_FILES_H_
