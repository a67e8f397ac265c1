// The converters of prefixd-tools. Pickles are read by a restricted machine
// (engine/weights/pickle.h); nothing in a checkpoint is run.
#ifndef PREFIXD_TOOLS_CONVERT_H_
#define PREFIXD_TOOLS_CONVERT_H_

#include <string>

#include "absl/status/status.h"

namespace prefixd::tools {

struct ConvertLlavaOptions {
  std::string model;         // Directory in the original layout.
  std::string vision_tower;  // Directory or file; empty: the model holds it.
  std::string out;           // Directory that does not exist yet.
  int vision_heads = 0;      // 0: as the tower's configuration says.
};

// Writes the directory of an original LLaVA that the daemon serves: original names, the tower put
// in, its shape in config.json.
absl::Status ConvertLlava(const ConvertLlavaOptions& options);

struct ConvertOpenFlamingoOptions {
  std::string checkpoint;      // checkpoint.pt.
  std::string language_model;  // Directory.
  std::string vision_tower;    // Directory or file, of transformers or open_clip.
  std::string out;             // Directory that does not exist yet.
  int vision_heads = 0;        // 0: as the tower's configuration says.
  int attention_heads = 8;     // Of the perceiver and the gated blocks.
};

// Writes the directory of docs/models.md. Checks that every expected tensor is there with its
// shape, that there are as many embedding rows as tokens, that gated blocks stand before every n-th
// layer and that their gates are finite and small.
absl::Status ConvertOpenFlamingo(const ConvertOpenFlamingoOptions& options);

}  // namespace prefixd::tools

#endif  // PREFIXD_TOOLS_CONVERT_H_
