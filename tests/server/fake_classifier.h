// A classifier that computes nothing: tests see what was asked and answer themselves. Class sets
// are kept in memory. Thread-safe.
#ifndef PREFIXD_TESTS_SERVER_FAKE_CLASSIFIER_H_
#define PREFIXD_TESTS_SERVER_FAKE_CLASSIFIER_H_

#include <algorithm>
#include <functional>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "base/mutex.h"
#include "engine/classification.h"
#include "engine/error_reasons.h"

namespace prefixd::testing {

class FakeClassifier final : public Classifier {
 public:
  using ClassifyDone = std::function<void(absl::StatusOr<ClassifyResult>)>;
  using ScoreDone = std::function<void(absl::StatusOr<ScoreResult>)>;
  using CreateDone = std::function<void(absl::StatusOr<ClassSetInfo>)>;

  // --- Classifier -----------------------------------------------------------------------------
  void Classify(ClassifyRequest request, ClassifyDone done) override {
    const std::string key = KeyOf(request.tenant, request.id);
    bool exists = false, echo = false;
    {
      MutexLock lock(&mutex_);
      ++num_classified_;
      echo = echo_;
      if (!echo) {
        exists = live_.count(key) > 0;
        if (!exists) {
          live_[key] = std::move(done);
          max_live_ = std::max(max_live_, live_.size());
        }
        requests_.push_back(std::move(request));
      }
    }
    if (echo) return done(Ranked(request.id));
    if (exists) done(MakeError(absl::StatusCode::kAlreadyExists, reason::kRequestExists, "exists"));
  }
  void Score(ScoreRequest request, ScoreDone done) override {
    MutexLock lock(&mutex_);
    live_scores_[KeyOf(request.tenant, request.id)] = std::move(done);
    scores_.push_back(std::move(request));
  }
  void Cancel(absl::string_view tenant, absl::string_view request_id) override {
    const std::string key = KeyOf(tenant, request_id);
    {
      MutexLock lock(&mutex_);
      cancelled_.push_back(key);
      if (late_) return;
    }
    const absl::Status status =
        MakeError(absl::StatusCode::kCancelled, reason::kCancelled, "cancelled");
    if (!Send(key, status)) SendScore(key, status);
  }
  void CreateClassSet(ClassSetSpec spec, CreateDone done) override {
    ClassSetInfo info{.name = absl::StrCat("classSets/", spec.id),
                      .num_names = static_cast<int32_t>(spec.names.size()),
                      .num_tokens = 70,
                      .internal_nodes = 30,
                      .num_demonstrations = static_cast<int32_t>(spec.demonstrations.size()),
                      .num_shots = spec.num_shots,
                      .stored_bytes = 500,
                      .label_prefix = spec.label_prefix,
                      .prompt = spec.prompt,
                      .names = spec.names,
                      .created = absl::FromUnixSeconds(1'700'000'000),
                      .requests = 9};
    absl::Status status;
    {
      MutexLock lock(&mutex_);
      status = create_status_;
      if (status.ok() && !sets_.emplace(std::pair(spec.tenant, info.name), info).second) {
        status = MakeError(absl::StatusCode::kAlreadyExists, reason::kClassSetExists, "exists");
      }
      created_.push_back(std::move(spec));
      if (hold_creates_) {
        held_create_ = [done = std::move(done), info] { done(info); };
        return;
      }
    }
    if (!status.ok()) return done(status);
    done(info);
  }
  absl::StatusOr<ClassSetInfo> GetClassSet(absl::string_view tenant,
                                           absl::string_view name) override {
    MutexLock lock(&mutex_);
    const auto found = sets_.find({std::string(tenant), std::string(name)});
    if (found == sets_.end()) return NotFound(tenant);
    return found->second;
  }
  std::vector<ClassSetInfo> ListClassSets(absl::string_view tenant) override {
    MutexLock lock(&mutex_);
    std::vector<ClassSetInfo> list;
    for (const auto& [key, info] : sets_) {
      if (key.first == tenant) list.push_back(info);
    }
    return list;
  }
  absl::Status DeleteClassSet(absl::string_view tenant, absl::string_view name) override {
    MutexLock lock(&mutex_);
    const bool erased = sets_.erase({std::string(tenant), std::string(name)}) > 0;
    return erased ? absl::OkStatus() : NotFound(tenant);
  }

  // --- For tests ------------------------------------------------------------------------------
  // What the calls below name a request by: its id; TENANT/ID if it has a tenant.
  static std::string KeyOf(absl::string_view tenant, absl::string_view id) {
    return tenant.empty() ? std::string(id) : absl::StrCat(tenant, "/", id);
  }
  static ClassifyResult Ranked(const std::string& id) {
    return {.request_id = id,
            .model = "fake",
            .top = {{.index = 1,
                     .name = "dog",
                     .score = -0.5,
                     .log_prob = -1.5,
                     .num_tokens = 3,
                     .probability = 0.75}},
            .usage = {.prompt_tokens = 5, .cached_prompt_tokens = 4}};
  }
  // Answers as the engine would. Returns false if the request does not live.
  bool Send(const std::string& key, absl::StatusOr<ClassifyResult> result) {
    const ClassifyDone done = Take(&live_, key);
    if (done == nullptr) return false;
    done(std::move(result));
    return true;
  }
  // The callback of a live request, as the engine would keep it; null if there is none.
  ClassifyDone TakeDone(const std::string& key) { return Take(&live_, key); }
  bool SendScore(const std::string& key, absl::StatusOr<ScoreResult> result) {
    const ScoreDone done = Take(&live_scores_, key);
    if (done == nullptr) return false;
    done(std::move(result));
    return true;
  }
  // From now on Classify answers at once, with Ranked, and keeps no requests.
  void AnswerAtOnce() {
    MutexLock lock(&mutex_);
    echo_ = true;
  }
  // From now on Cancel is only noted.
  void IgnoreCancels() {
    MutexLock lock(&mutex_);
    late_ = true;
  }
  // Waits until so many requests were classified, in all; false after 10 s.
  bool WaitClassified(size_t count) {
    MutexLock lock(&mutex_);
    const auto there = [&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
      return num_classified_ >= count;
    };
    return mutex_.AwaitWithTimeout(there, absl::Seconds(10));
  }
  // Waits until the nth request (from 0) was asked.
  ClassifyRequest WaitRequest(size_t n = 0) { return Wait(&requests_, n); }
  ScoreRequest WaitScore(size_t n = 0) { return Wait(&scores_, n); }
  // Waits until so many were cancelled; what was, after 10 s at the latest.
  std::vector<std::string> WaitCancelled(size_t count = 1) {
    MutexLock lock(&mutex_);
    const auto there = [&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
      return cancelled_.size() >= count;
    };
    mutex_.AwaitWithTimeout(there, absl::Seconds(10));
    return cancelled_;
  }
  std::vector<std::string> live() const {
    MutexLock lock(&mutex_);
    std::vector<std::string> keys;
    for (const auto& [key, done] : live_) keys.push_back(key);
    return keys;
  }
  size_t max_live() const {
    MutexLock lock(&mutex_);
    return max_live_;
  }
  size_t num_classified() const {
    MutexLock lock(&mutex_);
    return num_classified_;
  }
  std::vector<ClassSetSpec> created() const {
    MutexLock lock(&mutex_);
    return created_;
  }
  // What CreateClassSet answers from now on, without creating anything.
  void SetCreateStatus(absl::Status status) {
    MutexLock lock(&mutex_);
    create_status_ = std::move(status);
  }
  // From now on CreateClassSet does not answer before its held answer is taken and called.
  void HoldCreates() {
    MutexLock lock(&mutex_);
    hold_creates_ = true;
  }
  // Waits until an answer is held and takes it; null after 10 s.
  std::function<void()> TakeHeldCreate() {
    MutexLock lock(&mutex_);
    const auto there = [&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
      return held_create_ != nullptr;
    };
    mutex_.AwaitWithTimeout(there, absl::Seconds(10));
    return std::exchange(held_create_, nullptr);
  }

 private:
  // Says more than callers may learn.
  static absl::Status NotFound(absl::string_view tenant) {
    return MakeError(absl::StatusCode::kNotFound, reason::kClassSetNotFound,
                     absl::StrCat("tenant ", tenant, " has none"));
  }
  template <typename Live>
  typename Live::mapped_type Take(Live* live, const std::string& key) {
    MutexLock lock(&mutex_);
    const auto found = live->find(key);
    if (found == live->end()) return nullptr;
    typename Live::mapped_type done = std::move(found->second);
    live->erase(found);
    return done;
  }
  template <typename Request>
  Request Wait(const std::vector<Request>* requests, size_t n) {
    MutexLock lock(&mutex_);
    const auto there = [&]() { return requests->size() > n; };
    mutex_.AwaitWithTimeout(there, absl::Seconds(10));
    return requests->size() > n ? (*requests)[n] : Request();
  }

  mutable Mutex mutex_;
  bool echo_ ABSL_GUARDED_BY(mutex_) = false;
  bool late_ ABSL_GUARDED_BY(mutex_) = false;
  size_t num_classified_ ABSL_GUARDED_BY(mutex_) = 0;
  size_t max_live_ ABSL_GUARDED_BY(mutex_) = 0;
  // Guarded by mutex_ too; Take and Wait reach them by pointer.
  std::vector<ClassifyRequest> requests_;
  std::map<std::string, ClassifyDone> live_;
  std::vector<ScoreRequest> scores_;
  std::map<std::string, ScoreDone> live_scores_;
  std::vector<std::string> cancelled_ ABSL_GUARDED_BY(mutex_);
  std::map<std::pair<std::string, std::string>, ClassSetInfo> sets_ ABSL_GUARDED_BY(mutex_);
  std::vector<ClassSetSpec> created_ ABSL_GUARDED_BY(mutex_);
  absl::Status create_status_ ABSL_GUARDED_BY(mutex_);
  bool hold_creates_ ABSL_GUARDED_BY(mutex_) = false;
  std::function<void()> held_create_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace prefixd::testing

#endif  // PREFIXD_TESTS_SERVER_FAKE_CLASSIFIER_H_
