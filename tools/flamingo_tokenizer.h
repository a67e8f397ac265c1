// The tokens that OpenFlamingo adds to its language model's tokenizer.
#ifndef PREFIXD_TOOLS_FLAMINGO_TOKENIZER_H_
#define PREFIXD_TOOLS_FLAMINGO_TOKENIZER_H_

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "tools/conversion.h"

namespace prefixd::tools {

struct FlamingoTokens {
  int32_t end_of_chunk = 0;  // <|endofchunk|>.
  int32_t image = 0;         // <image>.
  int32_t padding = 0;
  int32_t end_of_text = 0;  // <|endoftext|>, or the tokenizer's own end.
};

// Copies the tokenizer of `directory` and adds <|endofchunk|>, <image> and, if it has no padding
// token, <PAD>, in this order behind the last id, unless it has them already.
// Errors: what the tokenizer says; INVALID_ARGUMENT if in the end there are not `num_tokens` ids.
absl::StatusOr<FlamingoTokens> WriteFlamingoTokenizer(const std::string& directory,
                                                      int64_t num_tokens,
                                                      const OutputDirectory& out);

}  // namespace prefixd::tools

#endif  // PREFIXD_TOOLS_FLAMINGO_TOKENIZER_H_
