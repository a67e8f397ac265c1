// What the small files of random checkpoints are made of. Free functions.
#ifndef PREFIXD_TOOLS_RANDOM_MODEL_FILES_H_
#define PREFIXD_TOOLS_RANDOM_MODEL_FILES_H_

#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "absl/status/status.h"
#include "engine/tensor/dtype.h"

namespace prefixd {

struct RandomAddedToken {
  int id = 0;
  std::string content;
  bool special = false;
};

// A tokenizer.json without merges: every byte is a token, from `first_byte` on.
nlohmann::json ByteLevelTokenizer(const std::vector<RandomAddedToken>& added, int first_byte,
                                  const nlohmann::json& post_processor);

// "bfloat16" and so on.
std::string DTypeInConfig(DType dtype);

absl::Status WriteJson(const std::string& directory, const char* name, const nlohmann::json& value);

}  // namespace prefixd

#endif  // PREFIXD_TOOLS_RANDOM_MODEL_FILES_H_
