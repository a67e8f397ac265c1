// One Classifier::Classify on its way: shots, contexts, the scores of each, the ranking. The steps
// run on prep threads and, where an answer of the engine starts them, on the engine thread; one at
// a time.
#ifndef PREFIXD_ENGINE_CLASSIFY_CALL_H_
#define PREFIXD_ENGINE_CLASSIFY_CALL_H_

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/mutex.h"
#include "engine/classifier.h"
#include "engine/classify/top_search.h"
#include "engine/context_sink.h"

namespace prefixd {

class ClassifyCall final : public std::enable_shared_from_this<ClassifyCall> {
 public:
  using Done = std::function<void(absl::StatusOr<ClassifyResult>)>;

  ClassifyCall(EngineClassifier* classifier, ClassifyRequest request,
               std::shared_ptr<EngineClassifier::Live> live, Done done)
      : classifier_(*classifier),
        request_(std::move(request)),
        live_(std::move(live)),
        done_(std::move(done)),
        begun_(classifier_.host_.clock->Now()) {}

  // On a prep thread.
  void Start(bool run);

 private:
  // The prompt in force, and its demonstrations.
  struct Asked {
    ClassPrompt prompt;
    absl::Span<const std::string> names;
    absl::Span<const Demonstration> demonstrations;
  };
  // A context to submit.
  struct Context {
    Input input;
    std::string prefix;  // Pinned, and not part of `input`.
  };

  absl::Status Prepare();
  absl::Status CheckCombination() const;
  absl::Status MakeCandidates();
  bool chooses_shots() const;
  void ChooseShots();

  // On a prep thread: the null context first, where its sums are not known, then all others.
  absl::Status SubmitContexts();
  absl::StatusOr<bool> NeedsNullContext();
  absl::Status SubmitNullContext();
  absl::Status MakeContexts(std::vector<Context>* contexts);
  Request RequestOf(Context context, size_t index) const;
  void TakeContext(size_t index, absl::StatusOr<ContextResult> result);

  ClassifyResult Rank();
  void AddUp(const ContextResult& context, ClassifyResult* result) const;
  // Runs a step on a prep thread; its failure ends the call.
  void Then(std::function<absl::Status()> step);
  void End(absl::StatusOr<ClassifyResult> result);

  EngineClassifier& classifier_;
  ClassifyRequest request_;
  const std::shared_ptr<EngineClassifier::Live> live_;
  const Done done_;
  const absl::Time begun_;

  EngineClassifier::SetEntry set_;  // Null: the names are the request's.
  Asked asked_;
  bool chat_ = false;
  CandidateOptions candidate_options_;
  std::shared_ptr<const Candidates> candidates_;
  std::vector<int32_t> shots_;  // Indices of demonstrations.
  std::string null_digest_;     // Of what null_sums_ depend on.
  std::vector<double> null_sums_;
  std::optional<ContextResult> null_context_;  // Computed for this call.
  TopSearch scale_;

  Mutex mutex_;
  std::vector<ContextResult> contexts_ ABSL_GUARDED_BY(mutex_);
  size_t outstanding_ ABSL_GUARDED_BY(mutex_) = 0;
  absl::Status failure_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace prefixd

#endif  // PREFIXD_ENGINE_CLASSIFY_CALL_H_
