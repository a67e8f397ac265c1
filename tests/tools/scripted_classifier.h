// A classifier without a model: names are ranked by a function of the query. Answers come from
// another thread, as those of the engine do.
#ifndef PREFIXD_TESTS_TOOLS_SCRIPTED_CLASSIFIER_H_
#define PREFIXD_TESTS_TOOLS_SCRIPTED_CLASSIFIER_H_

#include <algorithm>
#include <cmath>
#include <numeric>
#include <thread>
#include <utility>

#include "base/mutex.h"
#include "engine/classification.h"

namespace prefixd::testing {

class ScriptedClassifier final : public Classifier {
 public:
  // The scores of the names for a query.
  using Scores = std::function<absl::StatusOr<std::vector<double>>(const ClassQuery& query)>;

  explicit ScriptedClassifier(Scores scores) : scores_(std::move(scores)) {}
  ~ScriptedClassifier() override {
    for (std::thread& thread : threads_) thread.join();
  }

  void Classify(ClassifyRequest request,
                std::function<void(absl::StatusOr<ClassifyResult>)> done) override {
    requests_.push_back(request);
    {
      MutexLock lock(&mutex_);
      most_in_flight_ = std::max(most_in_flight_, ++in_flight_);
    }
    threads_.emplace_back([this, request = std::move(request), done = std::move(done)] {
      absl::StatusOr<ClassifyResult> result = Rank(request);
      {
        MutexLock lock(&mutex_);
        --in_flight_;
      }
      done(std::move(result));
    });
  }
  void CreateClassSet(ClassSetSpec spec,
                      std::function<void(absl::StatusOr<ClassSetInfo>)> done) override {
    spec_ = std::move(spec);
    ClassSetInfo info;
    info.name = "classSets/" + spec_.id;
    done(info);
  }
  void Score(ScoreRequest, std::function<void(absl::StatusOr<ScoreResult>)> done) override {
    done(absl::UnimplementedError("score"));
  }
  void Cancel(absl::string_view, absl::string_view request_id) override {
    cancelled_.emplace_back(request_id);
  }
  absl::StatusOr<ClassSetInfo> GetClassSet(absl::string_view, absl::string_view) override {
    return absl::UnimplementedError("get");
  }
  std::vector<ClassSetInfo> ListClassSets(absl::string_view) override { return {}; }
  absl::Status DeleteClassSet(absl::string_view, absl::string_view) override {
    return absl::UnimplementedError("delete");
  }

  const ClassSetSpec& spec() const { return spec_; }
  const std::vector<ClassifyRequest>& requests() const { return requests_; }
  const std::vector<std::string>& cancelled() const { return cancelled_; }
  int most_in_flight() {
    MutexLock lock(&mutex_);
    return most_in_flight_;
  }

 private:
  absl::StatusOr<ClassifyResult> Rank(const ClassifyRequest& request) const {
    absl::StatusOr<std::vector<double>> scores = scores_(std::get<ClassQuery>(request.context));
    if (!scores.ok()) return scores.status();
    ClassifyResult result;
    result.request_id = request.id;
    result.scores = *std::move(scores);
    double sum = 0;
    for (const double score : result.scores) sum += std::exp(score);
    for (const double score : result.scores) result.probabilities.push_back(std::exp(score) / sum);
    std::vector<int32_t> order(result.scores.size());
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(), [&result](int32_t a, int32_t b) {
      return result.scores[static_cast<size_t>(a)] > result.scores[static_cast<size_t>(b)];
    });
    order.resize(static_cast<size_t>(request.top_k));
    for (const int32_t index : order) {
      result.top.push_back({.index = index, .score = result.scores[static_cast<size_t>(index)]});
    }
    result.usage.prompt_tokens = 10;
    result.cache.hit_tokens = 4;
    result.cache.images_encoded = 1;
    result.scoring = {.candidates = 3,
                      .computed_rows = 5,
                      .saved_rows = 7,
                      .passes = 1,
                      .context_hits = 0,
                      .contexts = 1};
    result.timings.total = absl::Milliseconds(12);
    return result;
  }

  const Scores scores_;
  ClassSetSpec spec_;
  std::vector<ClassifyRequest> requests_;
  std::vector<std::string> cancelled_;
  std::vector<std::thread> threads_;
  Mutex mutex_;
  int in_flight_ ABSL_GUARDED_BY(mutex_) = 0;
  int most_in_flight_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace prefixd::testing

#endif  // PREFIXD_TESTS_TOOLS_SCRIPTED_CLASSIFIER_H_
