// What evaluation and calibration want to know of a model, one sample under one setting of
// retention at a time. The engine answers (engine_measurer.h); tests have an answerer of their own.
#ifndef PREFIXD_TOOLS_MEASURER_H_
#define PREFIXD_TOOLS_MEASURER_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/types/span.h"

namespace prefixd {

struct RetentionSetting {
  std::string policy;   // Empty: the full cache.
  std::string profile;  // An offline profile; empty: counts from the prompt's own scores.
  double budget = 1.0;  // Share kept, (0, 1].

  bool full() const { return policy.empty(); }
};

enum class MeasureKind {
  kForced,  // The reference answer is fed token by token, and scored.
  kGreedy,  // The model answers by itself.
  kPrompt,  // Only what is kept of the prompt.
};

struct MeasureTask {
  size_t sample = 0;  // Index.
  MeasureKind kind = MeasureKind::kForced;
  const RetentionSetting* setting = nullptr;  // Lives until the measurement is done.
};

struct Measured {
  int32_t prompt_tokens = 0;
  // Of the output; of kForced the reference answer.
  std::vector<int32_t> token_ids;
  // kForced, one a token: natural log of its probability, and the token that was most likely there.
  std::vector<double> logprobs;
  std::vector<int32_t> most_likely;
  // kGreedy: with the end token's text where the model ended by itself ("A cat.</s>").
  std::string text;
  // What was kept of the prompt; 0 and empty where nothing was selected.
  int32_t selected_from = 0;
  std::vector<int32_t> kept_tokens;  // By layer.
  double score_mass = 1.0;           // Share of the scores that is left.
};

class Measurer {
 public:
  // Gets the index of a task and what came of it. An error ends the run.
  using Done = absl::FunctionRef<absl::Status(size_t task, Measured measured)>;

  virtual ~Measurer() = default;

  // Measures all tasks, many at once, begun in order. `done` is called in the calling thread, once
  // a task, in any order. Errors: the first of a task, naming sample and setting, or of `done`.
  virtual absl::Status Run(absl::Span<const MeasureTask> tasks, Done done) = 0;
};

// "prefixkv@cats at 20 %", "the full cache".
std::string SettingName(const RetentionSetting& setting);

}  // namespace prefixd

#endif  // PREFIXD_TOOLS_MEASURER_H_
