// The parts of the shapes of GPT-2, MPT and GPT-NeoX that other shapes share. Free functions.
#ifndef PREFIXD_TOOLS_RANDOM_PLAIN_H_
#define PREFIXD_TOOLS_RANDOM_PLAIN_H_

#include <array>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "absl/status/status.h"
#include "tools/random_model.h"
#include "tools/random_model_files.h"

namespace prefixd {

// Ids of the tokenizer that MPT and GPT-NeoX share, numbered as in the other tiny shapes: five
// special tokens, then the bytes.
inline constexpr int kNeoxEndOfText = 0, kNeoxPadding = 1, kNeoxFirstByte = 5;

// tokenizer.json, tokenizer_config.json and generation_config.json. `names` are the tokens 2 to 4.
absl::Status WriteNeoxTokenizer(const std::array<const char*, 3>& names,
                                const std::string& directory);

// MPT without biases, with ALiBi.
void AddMptTensors(const RandomModelShape& shape, const std::string& prefix,
                   std::vector<TensorToWrite>* out);
nlohmann::json MptConfigJson(const RandomModelShape& shape);

}  // namespace prefixd

#endif  // PREFIXD_TOOLS_RANDOM_PLAIN_H_
