#include "engine/classifier.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "base/status_macros.h"
#include "engine/classify_call.h"
#include "engine/error_reasons.h"
#include "engine/score_call.h"
#include "engine/step_loop_internal.h"

namespace prefixd {

EngineClassifier::EngineClassifier(ClassifierHost host, std::unique_ptr<ClassSets> sets)
    : host_(std::move(host)), sets_(std::move(sets)) {}

EngineClassifier::~EngineClassifier() = default;

// --- Calls ---------------------------------------------------------------------------------------

void EngineClassifier::Classify(ClassifyRequest request,
                                std::function<void(absl::StatusOr<ClassifyResult>)> done) {
  absl::StatusOr<std::shared_ptr<Live>> live = Enter(request.tenant, request.id);
  if (!live.ok()) return done(live.status());
  auto call =
      std::make_shared<ClassifyCall>(this, std::move(request), *std::move(live), std::move(done));
  host_.prepare([call](bool run) { call->Start(run); });
}

void EngineClassifier::Score(ScoreRequest request,
                             std::function<void(absl::StatusOr<ScoreResult>)> done) {
  absl::StatusOr<std::shared_ptr<Live>> live = Enter(request.tenant, request.id);
  if (!live.ok()) return done(live.status());
  auto call =
      std::make_shared<ScoreCall>(this, std::move(request), *std::move(live), std::move(done));
  host_.prepare([call](bool run) { call->Start(run); });
}

void EngineClassifier::Cancel(absl::string_view tenant, absl::string_view request_id) {
  std::vector<std::string> requests;
  {
    MutexLock lock(&mutex_);
    const auto found = live_.find({std::string(tenant), std::string(request_id)});
    if (found == live_.end()) return;
    found->second->cancelled = true;
    requests = found->second->requests;
  }
  for (const std::string& id : requests) (void)host_.engine->Cancel(tenant, id);
}

absl::StatusOr<std::shared_ptr<EngineClassifier::Live>> EngineClassifier::Enter(
    const std::string& tenant, const std::string& id) {
  PREFIXD_RETURN_IF_ERROR(host_.admit());
  auto live = std::make_shared<Live>();
  MutexLock lock(&mutex_);
  if (static_cast<int64_t>(live_.size()) >= host_.max_calls) {
    return MakeError(
        absl::StatusCode::kResourceExhausted,
        absl::StrCat(live_.size(), " calls are scored or wait, the limit is ", host_.max_calls),
        ErrorDetail{.reason = reason::kQueueFull,
                    .metadata = {{"waiting", absl::StrCat(live_.size())},
                                 {"limit", absl::StrCat(host_.max_calls)}},
                    .retry_after = kLeastRetryHint});
  }
  if (!live_.emplace(std::pair(tenant, id), live).second) {
    return MakeError(absl::StatusCode::kAlreadyExists, reason::kRequestExists,
                     absl::StrCat("a request with id ", id, " is running"), {{"request_id", id}});
  }
  return live;
}

void EngineClassifier::Leave(const std::string& tenant, const std::string& id) {
  MutexLock lock(&mutex_);
  live_.erase({tenant, id});
}

absl::Status EngineClassifier::Submit(Request request, std::shared_ptr<EventSink> sink,
                                      Live* live) {
  const std::string tenant = request.tenant;
  const std::string id = request.id;
  {
    MutexLock lock(&mutex_);
    live->requests.push_back(id);
  }
  if (live->cancelled) return Stopped(StopCause::kCancelled);
  PREFIXD_RETURN_IF_ERROR(host_.engine->Submit(std::move(request), std::move(sink)));
  // Who cancelled meanwhile may have come too early for the engine.
  if (live->cancelled) (void)host_.engine->Cancel(tenant, id);
  return absl::OkStatus();
}

// --- Candidates ----------------------------------------------------------------------------------

absl::StatusOr<std::shared_ptr<const Candidates>> EngineClassifier::CandidatesFor(
    absl::string_view field, absl::Span<const std::string> names, const CandidateOptions& options) {
  std::string digest = CandidatesDigest(names, options);
  {
    MutexLock lock(&mutex_);
    if (const auto* known = candidates_.Find(digest)) return *known;
  }
  PREFIXD_ASSIGN_OR_RETURN(Candidates made,
                           CandidatesOfNames(field, names, options, *host_.tokenizer));
  auto candidates = std::make_shared<const Candidates>(std::move(made));
  MutexLock lock(&mutex_);
  if (candidates_.Find(digest) == nullptr) candidates_.Insert(std::move(digest), candidates);
  return candidates;
}

absl::StatusOr<int32_t> EngineClassifier::EndToken() const {
  const std::vector<int32_t>& ends = host_.engine->model_info().eos_token_ids;
  if (!ends.empty()) return ends[0];
  return MakeError(absl::StatusCode::kFailedPrecondition, reason::kFeatureUnsupported,
                   "score_end: the model has no token that ends an answer",
                   {{"field", "score_end"}});
}

}  // namespace prefixd
