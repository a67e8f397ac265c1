// The classifier behind classification.h: it makes contexts of class sets and queries, lets the
// engine score the names behind each, and ranks them. Its parts are in classifier.cc (calls),
// classifier_sets.cc (class sets and their pictures) and classify_call.* (one call's way).
//
// Every context is a request of its own to the engine: cancelled, limited and accounted for as any
// other. Thread-safe.
#ifndef PREFIXD_ENGINE_CLASSIFIER_H_
#define PREFIXD_ENGINE_CLASSIFIER_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "base/clock.h"
#include "base/mutex.h"
#include "engine/candidates.h"
#include "engine/classification.h"
#include "engine/classify/class_sets.h"
#include "engine/engine.h"
#include "engine/recent_map.h"
#include "engine/tokenizer/tokenizer.h"

namespace prefixd {

// What the classifier uses of the engine. All must outlive it.
struct ClassifierHost {
  Engine* engine = nullptr;
  const Tokenizer* tokenizer = nullptr;
  const Clock* clock = nullptr;
  ClassificationOptions options;
  bool prefix_cache = true;
  bool pins_prefixes = true;  // The model has prefixes that can be pinned.
  int32_t max_calls = 1024;   // Prepared or waiting at a time.
  // Whether the engine takes requests. Errors: those of Engine::Submit.
  std::function<absl::Status()> admit;
  // Runs a job on a prep thread; with `false` if the engine ends before.
  std::function<void(std::function<void(bool run)>)> prepare;
};

class EngineClassifier final : public Classifier {
 public:
  EngineClassifier(ClassifierHost host, std::unique_ptr<ClassSets> sets);
  ~EngineClassifier() override;

  void Classify(ClassifyRequest request,
                std::function<void(absl::StatusOr<ClassifyResult>)> done) override;
  void Score(ScoreRequest request, std::function<void(absl::StatusOr<ScoreResult>)> done) override;
  void Cancel(absl::string_view tenant, absl::string_view request_id) override;
  void CreateClassSet(ClassSetSpec spec,
                      std::function<void(absl::StatusOr<ClassSetInfo>)> done) override;
  absl::StatusOr<ClassSetInfo> GetClassSet(absl::string_view tenant,
                                           absl::string_view name) override;
  std::vector<ClassSetInfo> ListClassSets(absl::string_view tenant) override;
  absl::Status DeleteClassSet(absl::string_view tenant, absl::string_view name) override;

  int32_t num_sets() const { return sets_->size(); }

 private:
  friend class ClassifyCall;
  friend class ScoreCall;

  using Embeddings = std::vector<std::vector<float>>;
  using SetEntry = std::shared_ptr<const ClassSetEntry>;

  // What is known of one set beside what is stored: the pinned prefix of its demonstrations, and
  // their embeddings where they were computed after it was loaded.
  struct SetState {
    enum class Pin { kNone, kAsked, kThere };
    Pin pin = Pin::kNone;
    std::string prefix;  // Its name, when there.
    std::shared_ptr<const Embeddings> embeddings;
  };

  // A call that can be cancelled. Gives its place back when destroyed.
  struct Live {
    std::atomic<bool> cancelled{false};
    std::vector<std::string> requests;  // Ids at the engine; guarded by the classifier's mutex_.
  };

  bool uses_chat(const ClassPrompt& prompt) const {
    return !prompt.plain && !host_.engine->model_info().chat_template.empty();
  }

  // Counts a call in, under its id. Errors: those of Engine::Submit; ALREADY_EXISTS.
  absl::StatusOr<std::shared_ptr<Live>> Enter(const std::string& tenant, const std::string& id);
  void Leave(const std::string& tenant, const std::string& id);
  // Submits one request of a call. Errors: those of Engine::Submit; CANCELLED.
  absl::Status Submit(Request request, std::shared_ptr<EventSink> sink, Live* live);

  absl::StatusOr<std::shared_ptr<const Candidates>> CandidatesFor(
      absl::string_view field, absl::Span<const std::string> names,
      const CandidateOptions& options);
  absl::StatusOr<int32_t> EndToken() const;

  // Classifier sets.
  ClassSetInfo InfoOf(const ClassSetEntry& entry, bool with_names);
  // The unit vector of each picture, by as many requests as it takes. `done` is called once, by any
  // thread, and must not block.
  void Embed(const std::string& tenant, const std::string& id, std::vector<ImagePart> images,
             absl::Time deadline, std::shared_ptr<Live> live,
             std::function<void(absl::StatusOr<Embeddings>)> done);
  // Those of a set's demonstrations, computed now if another model made those that are stored.
  void EmbeddingsOf(const SetEntry& entry, const std::string& id, absl::Time deadline,
                    std::shared_ptr<Live> live,
                    std::function<void(absl::StatusOr<std::shared_ptr<const Embeddings>>)> done);
  // The name of the pinned prefix of a set's demonstrations; empty: there is none yet, and it was
  // asked for if there can be one.
  std::string PinnedPrefix(const SetEntry& entry);
  void Pin(const SetEntry& entry, std::function<void()> done);
  void ForgetIfDeleted(const SetEntry& entry);
  void CommitSet(StoredClassSet set, std::function<void(absl::StatusOr<ClassSetInfo>)> done);

  const ClassifierHost host_;
  const std::unique_ptr<ClassSets> sets_;
  Mutex mutex_;
  std::map<std::pair<std::string, std::string>, std::shared_ptr<Live>> live_
      ABSL_GUARDED_BY(mutex_);                                   // Tenant, id.
  std::map<uint64_t, SetState> states_ ABSL_GUARDED_BY(mutex_);  // By serial.
  RecentMap<std::shared_ptr<const Candidates>> candidates_ ABSL_GUARDED_BY(mutex_){16};
  RecentMap<std::shared_ptr<const std::vector<double>>> null_sums_ ABSL_GUARDED_BY(mutex_){64};
};

}  // namespace prefixd

#endif  // PREFIXD_ENGINE_CLASSIFIER_H_
