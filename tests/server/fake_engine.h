// An engine that computes nothing: tests see what was submitted and send the events themselves.
// Thread-safe.
#ifndef PREFIXD_TESTS_SERVER_FAKE_ENGINE_H_
#define PREFIXD_TESTS_SERVER_FAKE_ENGINE_H_

#include <algorithm>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "base/error.h"
#include "base/mutex.h"
#include "engine/engine.h"
#include "engine/error_reasons.h"
#include "tests/server/fake_classifier.h"

namespace prefixd::testing {

inline EngineModelInfo FakeModel() {
  EngineModelInfo model;
  model.name = "fake";
  model.family = "llava";
  model.weights_dtype = "bf16";
  model.digest = "d1ge57";
  model.num_parameters = 1234;
  model.weight_bytes = 2468;
  model.context_length = 100;
  model.vocab_size = 50;
  model.supports_images = true;
  model.tokens_per_image = 9;
  model.image_token_id = 7;
  model.max_images = 2;
  model.chat_template = "demo";
  model.eos_token_ids = {2};
  model.sampling_defaults.temperature = 0.5f;
  model.sampling_defaults.top_p = 0.9f;
  model.sampling_defaults.top_k = 40;
  model.max_output_tokens = 64;
  model.num_layers = 2;
  model.policies = {"prefixkv", "h2o"};
  model.profiles = {"demo", "llava-v1.5-7b"};
  model.retention_defaults = {.scope = RetentionScope::kOff,
                              .budget = 0.5,
                              .policy = "prefixkv",
                              .profile = "",
                              .start_size = 1,
                              .protect = 1,
                              .distance = -25};
  return model;
}

class FakeEngine final : public Engine {
 public:
  explicit FakeEngine(EngineModelInfo model = FakeModel()) : model_(std::move(model)) {
    runtime_ = {.backend = "cpu",
                .level = "avx512",
                .device = "Fake Card",
                .threads = 2,
                .kv_dtype = "f32",
                .activation_dtype = "f32",
                .kv_memory_bytes = 4096};
    stats_.state = EngineState::kServing;
    stats_.total_pages = 10;
    stats_.free_pages = 7;
    stats_.reserved_pages = 1;
    stats_.page_bytes = 256;
    stats_.page_slots = 16;
  }

  // --- Engine -----------------------------------------------------------------------------------
  absl::Status LoadWeights(const std::function<bool(uint64_t, uint64_t)>& progress) override {
    while (true) {
      if (!progress(1, 2)) return absl::CancelledError("given up");
      MutexLock lock(&mutex_);
      if (!load_status_.ok()) return load_status_;
      if (!hold_loading_) break;
      mutex_.AwaitWithTimeout([this] { return released_loading_; }, absl::Milliseconds(5));
      if (released_loading_) break;
    }
    MutexLock lock(&mutex_);
    stats_.state = EngineState::kServing;
    return absl::OkStatus();
  }
  const EngineModelInfo& model_info() const override { return model_; }
  const EngineRuntimeInfo& runtime_info() const override { return runtime_; }

  absl::Status Submit(Request request, std::shared_ptr<EventSink> sink) override {
    MutexLock lock(&mutex_);
    ++num_submits_;
    if (draining_) {
      return MakeError(absl::StatusCode::kUnavailable, reason::kDraining, "draining");
    }
    if (!submit_status_.ok()) return submit_status_;
    const std::string id = KeyOf(request.tenant, request.id);
    if (sinks_.count(id) > 0) {
      return MakeError(absl::StatusCode::kAlreadyExists, reason::kRequestExists, "exists");
    }
    requests_.push_back(std::move(request));
    sinks_[id] = std::move(sink);
    return absl::OkStatus();
  }

  absl::Status Cancel(absl::string_view tenant, absl::string_view request_id) override {
    const std::string id = KeyOf(tenant, request_id);
    {
      MutexLock lock(&mutex_);
      cancelled_.push_back(id);
      if (sinks_.count(id) == 0) return absl::NotFoundError("no such request");
    }
    Send(id, FailedEvent{MakeError(absl::StatusCode::kCancelled, reason::kCancelled, "cancelled")});
    return absl::OkStatus();
  }

  void Poke() override {
    MutexLock lock(&mutex_);
    ++pokes_;
  }

  void CountTokens(Request request,
                   std::function<void(absl::StatusOr<TokenCounts>)> done) override {
    {
      MutexLock lock(&mutex_);
      counted_.push_back(std::move(request));
    }
    done(count_result_);
  }

  void CreatePrefix(PrefixSpec spec,
                    std::function<void(absl::StatusOr<PrefixInfo>)> done) override {
    PrefixInfo info{.name = absl::StrCat("prefixes/", spec.id.empty() ? "drawn" : spec.id),
                    .prompt_tokens = 40,
                    .pinned_tokens = 32,
                    .ttl = spec.ttl,
                    .expires_in = spec.ttl};
    absl::Status refusal;
    {
      MutexLock lock(&mutex_);
      if (hold_creates_) {
        created_.push_back(std::move(spec));
        held_creates_.emplace_back([done = std::move(done), info] { done(info); });
        return;
      }
      refusal = create_status_;
    }
    if (!refusal.ok()) return done(refusal);
    {
      MutexLock lock(&mutex_);
      const bool added = prefixes_.emplace(std::pair(spec.tenant, info.name), info).second;
      created_.push_back(std::move(spec));
      if (!added) {
        info.name.clear();
      }
    }
    if (info.name.empty()) {
      done(MakeError(absl::StatusCode::kAlreadyExists, reason::kPrefixExists, "exists"));
    } else {
      done(info);
    }
  }
  absl::StatusOr<PrefixInfo> GetPrefix(absl::string_view tenant, absl::string_view name) override {
    MutexLock lock(&mutex_);
    const auto found = prefixes_.find({std::string(tenant), std::string(name)});
    if (found == prefixes_.end()) return PrefixNotFound();
    return found->second;
  }
  std::vector<PrefixInfo> ListPrefixes(absl::string_view tenant) override {
    MutexLock lock(&mutex_);
    std::vector<PrefixInfo> list;
    for (const auto& [key, info] : prefixes_) {
      if (key.first == tenant) list.push_back(info);
    }
    return list;
  }
  absl::StatusOr<PrefixInfo> TouchPrefix(absl::string_view tenant, absl::string_view name,
                                         std::optional<absl::Duration> ttl) override {
    MutexLock lock(&mutex_);
    const auto found = prefixes_.find({std::string(tenant), std::string(name)});
    if (found == prefixes_.end()) return PrefixNotFound();
    if (ttl) found->second.ttl = *ttl;
    found->second.expires_in = found->second.ttl;
    return found->second;
  }
  absl::Status ReleasePrefix(absl::string_view tenant, absl::string_view name) override {
    MutexLock lock(&mutex_);
    const std::pair key{std::string(tenant), std::string(name)};
    return prefixes_.erase(key) > 0 ? absl::OkStatus() : PrefixNotFound();
  }
  FakeClassifier* classifier() override { return &classifier_; }
  void FlushCache(std::optional<std::string> tenant,
                  std::function<void(FlushResult)> done) override {
    {
      MutexLock lock(&mutex_);
      flushed_.push_back(std::move(tenant));
    }
    done({.pages = 3, .columns = 1, .feature_bytes = 5, .image_bytes = 7});
  }
  void GetPageMap(int32_t max_cells, std::function<void(PageMap)> done) override {
    PageMap map{.pages_per_cell = 5};
    map.cells.resize(static_cast<size_t>(std::min(max_cells, 2)));
    for (auto& cell : map.cells) cell = {1, 1, 1, 1, 1};
    done(std::move(map));
  }

  void Drain() override {
    MutexLock lock(&mutex_);
    draining_ = true;
    stats_.state = EngineState::kDraining;
  }

  int WaitDrained(absl::Duration timeout) override {
    std::vector<std::string> left;
    {
      MutexLock lock(&mutex_);
      const auto empty = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return sinks_.empty(); };
      mutex_.AwaitWithTimeout(empty, timeout);
      for (const auto& [id, sink] : sinks_) left.push_back(id);
    }
    for (const std::string& id : left) {
      Send(id, FailedEvent{MakeError(absl::StatusCode::kUnavailable, reason::kDraining, "cut")});
    }
    return static_cast<int>(left.size());
  }

  std::shared_ptr<const EngineStats> Stats() const override {
    MutexLock lock(&mutex_);
    return std::make_shared<EngineStats>(stats_);
  }

  // --- For tests --------------------------------------------------------------------------------
  // What the calls below name a request by: its id; TENANT/ID if it has a tenant.
  static std::string KeyOf(absl::string_view tenant, absl::string_view id) {
    return tenant.empty() ? std::string(id) : absl::StrCat(tenant, "/", id);
  }
  // Sends an event as the engine thread would. Terminal events drop the sink. Returns false if the
  // request does not live.
  bool Send(const std::string& id, Event event) {
    const bool terminal =
        std::holds_alternative<FinishedEvent>(event) || std::holds_alternative<FailedEvent>(event);
    std::shared_ptr<EventSink> sink;
    {
      MutexLock lock(&mutex_);
      const auto found = sinks_.find(id);
      if (found == sinks_.end()) return false;
      sink = found->second;
      if (terminal) sinks_.erase(found);
    }
    sink->OnEvent(std::move(event));
    return true;
  }

  // Returns the sink of a live request, or null.
  std::shared_ptr<EventSink> sink(const std::string& id) {
    MutexLock lock(&mutex_);
    const auto found = sinks_.find(id);
    return found == sinks_.end() ? nullptr : found->second;
  }

  // Waits until the nth request (from 0) was submitted.
  Request WaitRequest(size_t n = 0) {
    MutexLock lock(&mutex_);
    const auto there = [&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return requests_.size() > n; };
    mutex_.AwaitWithTimeout(there, absl::Seconds(10));
    return requests_.size() > n ? requests_[n] : Request();
  }

  // Waits until a request was cancelled; empty after 10 s.
  std::string WaitCancelled() {
    MutexLock lock(&mutex_);
    const auto there = [&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return !cancelled_.empty(); };
    mutex_.AwaitWithTimeout(there, absl::Seconds(10));
    return cancelled_.empty() ? "" : cancelled_[0];
  }

  // Waits until no request lives; false after 10 s.
  bool WaitIdle() {
    MutexLock lock(&mutex_);
    const auto idle = [&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return sinks_.empty(); };
    return mutex_.AwaitWithTimeout(idle, absl::Seconds(10));
  }

  int pokes() const {
    MutexLock lock(&mutex_);
    return pokes_;
  }

  // Waits until Poke was called more than `before` times; false after 10 s.
  bool WaitPoke(int before) {
    MutexLock lock(&mutex_);
    const auto there = [&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return pokes_ > before; };
    return mutex_.AwaitWithTimeout(there, absl::Seconds(10));
  }

  std::vector<std::string> cancelled() const {
    MutexLock lock(&mutex_);
    return cancelled_;
  }
  std::vector<Request> counted() const {
    MutexLock lock(&mutex_);
    return counted_;
  }
  std::vector<PrefixSpec> created() const {
    MutexLock lock(&mutex_);
    return created_;
  }
  std::vector<std::optional<std::string>> flushed() const {
    MutexLock lock(&mutex_);
    return flushed_;
  }
  // What CreatePrefix answers from now on, without creating anything.
  void SetCreateStatus(absl::Status status) {
    MutexLock lock(&mutex_);
    create_status_ = std::move(status);
  }
  // From now on CreatePrefix does not answer before its held answer is taken and called.
  void HoldCreates() {
    MutexLock lock(&mutex_);
    hold_creates_ = true;
  }
  // Waits until an answer is held and takes it; null after 10 s.
  std::function<void()> TakeHeldCreate() {
    MutexLock lock(&mutex_);
    const auto there = [&]()
                           ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return !held_creates_.empty(); };
    mutex_.AwaitWithTimeout(there, absl::Seconds(10));
    if (held_creates_.empty()) return nullptr;
    std::function<void()> answer = std::move(held_creates_.back());
    held_creates_.pop_back();
    return answer;
  }
  // Changes what Stats returns.
  void EditStats(const std::function<void(EngineStats*)>& edit) {
    MutexLock lock(&mutex_);
    edit(&stats_);
  }
  int num_submits() const {
    MutexLock lock(&mutex_);
    return num_submits_;
  }
  size_t num_live() const {
    MutexLock lock(&mutex_);
    return sinks_.size();
  }
  bool draining() const {
    MutexLock lock(&mutex_);
    return draining_;
  }
  void SetSubmitStatus(absl::Status status) {
    MutexLock lock(&mutex_);
    submit_status_ = std::move(status);
  }
  void SetCountResult(absl::StatusOr<TokenCounts> result) { count_result_ = std::move(result); }
  void SetLoadStatus(absl::Status status) {
    MutexLock lock(&mutex_);
    load_status_ = std::move(status);
  }
  void HoldLoading() {
    MutexLock lock(&mutex_);
    hold_loading_ = true;
    stats_.state = EngineState::kLoading;
  }
  void ReleaseLoading() {
    MutexLock lock(&mutex_);
    released_loading_ = true;
  }
  void SetState(EngineState state) {
    MutexLock lock(&mutex_);
    stats_.state = state;
  }
  void AddListed(RequestInfo request) {
    MutexLock lock(&mutex_);
    stats_.requests.push_back(std::move(request));
    ++stats_.waiting;
  }

 private:
  static absl::Status PrefixNotFound() {
    return MakeError(absl::StatusCode::kNotFound, reason::kPrefixNotFound, "no such prefix");
  }

  const EngineModelInfo model_;
  EngineRuntimeInfo runtime_;
  absl::StatusOr<TokenCounts> count_result_ = TokenCounts{};
  FakeClassifier classifier_;

  mutable Mutex mutex_;
  EngineStats stats_ ABSL_GUARDED_BY(mutex_);
  absl::Status submit_status_ ABSL_GUARDED_BY(mutex_);
  absl::Status load_status_ ABSL_GUARDED_BY(mutex_);
  bool hold_loading_ ABSL_GUARDED_BY(mutex_) = false;
  bool released_loading_ ABSL_GUARDED_BY(mutex_) = false;
  bool draining_ ABSL_GUARDED_BY(mutex_) = false;
  int num_submits_ ABSL_GUARDED_BY(mutex_) = 0;
  int pokes_ ABSL_GUARDED_BY(mutex_) = 0;
  std::vector<Request> requests_ ABSL_GUARDED_BY(mutex_);
  std::map<std::string, std::shared_ptr<EventSink>> sinks_ ABSL_GUARDED_BY(mutex_);
  std::vector<Request> counted_ ABSL_GUARDED_BY(mutex_);
  std::vector<std::string> cancelled_ ABSL_GUARDED_BY(mutex_);
  std::map<std::pair<std::string, std::string>, PrefixInfo> prefixes_ ABSL_GUARDED_BY(mutex_);
  std::vector<PrefixSpec> created_ ABSL_GUARDED_BY(mutex_);
  absl::Status create_status_ ABSL_GUARDED_BY(mutex_);
  bool hold_creates_ ABSL_GUARDED_BY(mutex_) = false;
  std::vector<std::function<void()>> held_creates_ ABSL_GUARDED_BY(mutex_);
  std::vector<std::optional<std::string>> flushed_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace prefixd::testing

#endif  // PREFIXD_TESTS_SERVER_FAKE_ENGINE_H_
