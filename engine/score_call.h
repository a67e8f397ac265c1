// One Classifier::Score on its way: a prompt, and texts behind it.
#ifndef PREFIXD_ENGINE_SCORE_CALL_H_
#define PREFIXD_ENGINE_SCORE_CALL_H_

#include <functional>
#include <memory>

#include "absl/status/statusor.h"
#include "engine/classifier.h"
#include "engine/context_sink.h"

namespace prefixd {

class ScoreCall final : public std::enable_shared_from_this<ScoreCall> {
 public:
  using Done = std::function<void(absl::StatusOr<ScoreResult>)>;

  ScoreCall(EngineClassifier* classifier, ScoreRequest request,
            std::shared_ptr<EngineClassifier::Live> live, Done done)
      : classifier_(*classifier),
        request_(std::move(request)),
        live_(std::move(live)),
        done_(std::move(done)) {}

  // On a prep thread.
  void Start(bool run);

 private:
  absl::Status Submit();
  ScoreResult ResultOf(ContextResult context) const;
  ScoredToken TokenOf(int32_t id, float log_prob) const;
  void End(absl::StatusOr<ScoreResult> result);

  EngineClassifier& classifier_;
  ScoreRequest request_;
  const std::shared_ptr<EngineClassifier::Live> live_;
  const Done done_;
  Candidates candidates_;
};

// How a mode reaches the engine.
void SetMode(ScoringMode mode, Request* request);
TokenTrie::Merge MergeOf(ScoringMode mode);

}  // namespace prefixd

#endif  // PREFIXD_ENGINE_SCORE_CALL_H_
