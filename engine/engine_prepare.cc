// What prep threads do: from a request to its prompt.
#include "engine/threaded_engine.h"

#include <exception>
#include <utility>

#include "base/error.h"
#include "base/status_macros.h"
#include "engine/error_reasons.h"
#include "engine/step_loop_internal.h"

namespace prefixd {

void ThreadedEngine::PrepareRequest(std::unique_ptr<ActiveRequest> request, bool run) {
  absl::Status status = BuildPrompt(request.get(), run);
  if (status.ok()) {
    MutexLock lock(&mutex_);
    if (!thread_gone_) {
      inbox_.push_back(std::move(request));
      wake_ = true;
      return;
    }
    status = EngineFailed();
  }
  Forget(*request);
  request->sink->OnEvent(FailedEvent{std::move(status)});
}

absl::Status ThreadedEngine::BuildPrompt(ActiveRequest* request, bool run) const {
  if (!run || request->handle->stop.load() == StopCause::kDraining) {
    return ShuttingDown();
  }
  if (request->handle->stop.load() == StopCause::kCancelled) {
    return Stopped(StopCause::kCancelled);
  }
  if (clock_->Now() >= request->request.deadline) {
    return MakeError(absl::StatusCode::kDeadlineExceeded, reason::kDeadlineExceeded,
                     "the deadline passed");
  }
  try {
    if (request->pins != nullptr) {
      PREFIXD_RETURN_IF_ERROR(BuildPinnedPrompt(request));
    } else {
      const Request& wanted = request->request;
      PREFIXD_ASSIGN_OR_RETURN(request->prompt,
                               parts_.prompts->Build({.input = wanted.input,
                                                      .tenant = wanted.tenant,
                                                      .cache_salt = wanted.cache_salt,
                                                      .share = !wanted.bypass_prefix_cache,
                                                      .kept = request->kept},
                                                     ImageWork::kDecode));
    }
  } catch (const std::exception&) {  // Out of memory in a library.
    return MakeError(absl::StatusCode::kResourceExhausted, reason::kEngineFailed,
                     "the prompt could not be prepared");
  }
  request->request.input = PromptInput{};  // The encoded bytes are not needed any more.
  return absl::OkStatus();
}

// Prepares a prefix, and completes its entry: its images are kept, and named by digest from now on.
absl::Status ThreadedEngine::BuildPinnedPrompt(ActiveRequest* request) const {
  PrefixEntry* const entry = request->pins.get();
  PREFIXD_ASSIGN_OR_RETURN(entry->kept, parts_.prompts->KeepImages(entry->tenant, &entry->input));
  PREFIXD_ASSIGN_OR_RETURN(request->prompt,
                           parts_.prompts->BuildPrefix({.input = entry->input,
                                                        .tenant = entry->tenant,
                                                        .cache_salt = entry->cache_salt,
                                                        .share = true,
                                                        .kept = entry->kept}));
  return absl::OkStatus();
}

// The id is free again, and the request no longer counts as waiting.
void ThreadedEngine::Forget(const ActiveRequest& request) {
  if (!request.started) {
    --num_waiting_;
    --tenant_waiting_[request.tenant];
  }
  image_bytes_ -= request.image_bytes;
  MutexLock lock(&mutex_);
  live_.erase(LiveKey(request.request.tenant, request.request.id));
}

}  // namespace prefixd
