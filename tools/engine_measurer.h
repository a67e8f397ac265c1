// Measures by requests to an engine in this process. One run at a time; the calling thread waits.
#ifndef PREFIXD_TOOLS_ENGINE_MEASURER_H_
#define PREFIXD_TOOLS_ENGINE_MEASURER_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "engine/engine.h"
#include "engine/tokenizer/tokenizer.h"
#include "tools/dataset.h"
#include "tools/measurer.h"

namespace prefixd {

struct EngineMeasurerOptions {
  int32_t in_flight = 16;         // Requests at once, >= 1.
  int32_t max_new_tokens = 1024;  // Of a greedy answer.
  bool bypass_prefix_cache = false;
};

class EngineMeasurer final : public Measurer {
 public:
  // `engine` serves; it, the model's tokenizer and the samples must outlive this object.
  EngineMeasurer(Engine* engine, const Tokenizer* tokenizer, absl::Span<const Sample> samples,
                 const EngineMeasurerOptions& options);

  // Whether every prompt fits the model's context, with its answer if `with_answers`. Computes
  // nothing. Errors: those of the prompt, OUT_OF_RANGE with both numbers; they name the sample.
  absl::Status CheckSamples(bool with_answers);

  absl::Status Run(absl::Span<const MeasureTask> tasks, Done done) override;

 private:
  struct Flight;
  class Sink;

  // The answer as the evaluation feeds it: without BOS and EOS.
  absl::StatusOr<std::vector<int32_t>> AnswerIds(const Sample& sample) const;
  absl::StatusOr<Input> Prompt(const Sample& sample) const;
  absl::StatusOr<Request> BuildRequest(const MeasureTask& task, std::string id) const;
  absl::StatusOr<Measured> Finish(const MeasureTask& task, const Flight& flight) const;
  // The status with the task's name in front.
  absl::Status Named(const MeasureTask& task, const absl::Status& status) const;

  Engine& engine_;
  const Tokenizer& tokenizer_;
  const absl::Span<const Sample> samples_;
  const EngineMeasurerOptions options_;
  uint64_t next_id_ = 0;
};

}  // namespace prefixd

#endif  // PREFIXD_TOOLS_ENGINE_MEASURER_H_
