// The options of `evaluate classification`.
#ifndef PREFIXD_TOOLS_CLASSIFICATION_OPTIONS_H_
#define PREFIXD_TOOLS_CLASSIFICATION_OPTIONS_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "engine/classification.h"

namespace CLI {
class App;
}

namespace prefixd::tools {

enum class ClassificationStyle {
  kPlain,         // What --question says.
  kImageNet,      // "Output:", as OpenFlamingo asks.
  kHatefulMemes,  // Its question about the text on a picture; names "no" and "yes".
};

struct ClassificationEvaluationOptions {
  std::string data;    // Directory or JSON lines.
  std::string images;  // Directory of the pictures of JSON lines; empty: the file's.
  std::string names;   // File; empty: those of the style, or the labels found.
  ClassificationStyle style = ClassificationStyle::kPlain;
  ClassPrompt prompt;  // With the style's question, where none was given.
  std::string label_prefix;
  std::string demonstrations;  // JSON lines; empty: none.
  int32_t shots = 0;           // 0: all demonstrations.
  bool rices = false;
  int32_t ensemble = 1;
  Normalization normalization = Normalization::kMean;
  std::string null_text;
  bool score_end = false;
  ScoringMode mode = ScoringMode::kPacked;
  size_t limit = 0;  // 0: all.
  uint64_t seed = 0;
  bool restart = false;

  std::vector<std::string> usual_names() const;  // Of the style; empty: it has none.
};

// `options` must outlive `app`.
void AddClassificationOptions(CLI::App* app, ClassificationEvaluationOptions* options);

// Fills in what the style says. Returns what is wrong, empty: nothing.
std::string CompleteClassificationOptions(ClassificationEvaluationOptions* options);

// As the command line has them.
std::string NameOf(Normalization normalization);
std::string NameOf(ScoringMode mode);

}  // namespace prefixd::tools

#endif  // PREFIXD_TOOLS_CLASSIFICATION_OPTIONS_H_
