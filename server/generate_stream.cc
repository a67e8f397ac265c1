#include "server/generate_stream.h"

#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/error.h"
#include "engine/error_reasons.h"
#include "server/call_log.h"
#include "server/call_support.h"
#include "server/convert_retention.h"
#include "server/to_proto.h"

namespace prefixd {
namespace {

absl::string_view FinishReasonName(FinishReason reason) {
  switch (reason) {
    case FinishReason::kEos:
      return "eos";
    case FinishReason::kStopString:
      return "stop_string";
    case FinishReason::kStopToken:
      return "stop_token";
    case FinishReason::kMaxTokens:
      return "max_tokens";
    case FinishReason::kContextLength:
      return "context_length";
    case FinishReason::kTimeLimit:
      return "time_limit";
  }
  return "unknown";
}

}  // namespace

GenerateStream::GenerateStream(ServingContext* context, Reactor* reactor,
                               grpc::CallbackServerContext* call, std::string tenant,
                               std::string request_id, absl::Time deadline)
    : context_(*context),
      tenant_(std::move(tenant)),
      request_id_(std::move(request_id)),
      deadline_(deadline),
      arrival_(context->clock->Now()),
      reactor_(reactor),
      call_(call) {}

void GenerateStream::OnEvent(Event event) {
  Action action;
  {
    MutexLock lock(&mutex_);
    const bool terminal =
        std::holds_alternative<FinishedEvent>(event) || std::holds_alternative<FailedEvent>(event);
    if (terminal) engine_done_ = true;
    if (!end_) Queue(std::move(event));
    // The client is gone: the end is only noted, for gRPC to let go of the call.
    if (terminal && broken_ && !end_) EndWith(absl::CancelledError("the client left"));
    action = Next();
  }
  Act(action);
}

void GenerateStream::Queue(Event event) {
  if (auto* failed = std::get_if<FailedEvent>(&event)) return EndWith(std::move(failed->status));
  if (broken_) return;
  if (auto* started = std::get_if<StartedEvent>(&event)) {
    QueueStarted(*started);
  } else if (auto* delta = std::get_if<DeltaEvent>(&event)) {
    v1::GenerateResponse response;
    ToProto(std::move(*delta), response.mutable_delta());
    queue_.Push(std::move(response));
  } else if (auto* choice = std::get_if<ChoiceFinishedEvent>(&event)) {
    reason_ = std::string(FinishReasonName(choice->reason));
    v1::GenerateResponse response;
    ToProto(*choice, response.mutable_choice_finished());
    queue_.Push(std::move(response));
  } else {
    QueueFinished(std::get<FinishedEvent>(event));
  }
  if (PendingBytes() > kHighWatermarkBytes && !std::exchange(paused_, true)) {
    ++context_.stream_stalls;
  }
  if (PendingBytes() > kMaxPendingBytes) {
    EndWith(
        SlowReader(absl::StrCat(PendingBytes(), " bytes wait, the limit is ", kMaxPendingBytes)));
  }
}

void GenerateStream::QueueStarted(const StartedEvent& event) {
  seed_ = event.seed;
  usage_.prompt_tokens = event.prompt_tokens;
  usage_.cached_prompt_tokens = event.cached_prompt_tokens;
  usage_.image_tokens = event.image_tokens;
  v1::GenerateResponse response;
  ToProto(event, deadline_ - context_.clock->Now(), response.mutable_started());
  queue_.Push(std::move(response));
}

void GenerateStream::QueueFinished(const FinishedEvent& event) {
  usage_ = event.usage;
  timings_ = event.timings;
  v1::GenerateResponse response;
  v1::Finished* finished = response.mutable_finished();
  ToProto(event.usage, finished->mutable_usage());
  ToProto(event.timings, finished->mutable_timings());
  FillReceipt(context_.engine->model_info(), context_.engine->runtime_info(), seed_,
              finished->mutable_receipt());
  ToProto(event.retention, finished->mutable_receipt()->mutable_retention());
  ToProto(event.cache, finished->mutable_receipt()->mutable_cache());
  queue_.Push(std::move(response));
  end_ = absl::OkStatus();
}

void GenerateStream::EndWith(absl::Status status) {
  if (end_) return;
  end_ = std::move(status);
}

bool GenerateStream::Writable() const {
  MutexLock lock(&mutex_);
  return !paused_;
}

void GenerateStream::Submitted() {
  bool cancel = false;
  {
    MutexLock lock(&mutex_);
    submitted_ = true;
    cancel = broken_ && MustCancelEngine();
  }
  if (cancel) CancelEngine();
}

void GenerateStream::Refuse(const absl::Status& status) {
  Action action;
  {
    MutexLock lock(&mutex_);
    engine_done_ = true;
    EndWith(status);
    action = Next();
  }
  Act(action);
}

void GenerateStream::OnWriteDone(bool ok) {
  Action action;
  bool resume = false;
  {
    MutexLock lock(&mutex_);
    writing_ = false;
    current_bytes_ = 0;
    if (!ok) broken_ = true;
    if (broken_) queue_.Clear();
    action = Next();
    if (paused_ && PendingBytes() < kLowWatermarkBytes) {
      paused_ = false;
      resume = true;
    }
  }
  // Before Act: it may end the call, and the engine's owner waits for calls only.
  if (resume) context_.engine->Poke();
  Act(action);
}

void GenerateStream::OnCancel() {
  Action action;
  bool cancel = false;
  {
    MutexLock lock(&mutex_);
    broken_ = true;
    queue_.Clear();
    paused_ = false;
    cancel = MustCancelEngine();
    action = Next();
  }
  if (cancel) CancelEngine();
  Act(action);
}

void GenerateStream::OnDone() {
  bool cancel = false;
  {
    MutexLock lock(&mutex_);
    LogSummary();
    reactor_ = nullptr;
    call_ = nullptr;
    cancel = MustCancelEngine();  // The call ended on its own: its reader was too slow.
  }
  if (cancel) CancelEngine();
}

bool GenerateStream::CheckStall(absl::Time now) {
  Action action = Action::kNone;
  bool cancel = false;
  {
    MutexLock lock(&mutex_);
    if (reactor_ == nullptr) return false;
    if (finished_) {
      if (writing_ && now - finish_start_ > kSlowReaderGrace) call_->TryCancel();
      return true;
    }
    const absl::Duration limit = context_.options.slow_reader_timeout;
    if (writing_ && now - write_start_ > limit) {
      end_ = SlowReader(absl::StrCat("no message was taken for ", absl::FormatDuration(limit)));
    }
    if (writing_ && EndedBySlowReader()) {
      // The write under way may never end, so the status follows it at once.
      queue_.Clear();
      finished_ = true;
      finish_start_ = now;
      action = Action::kFinish;
      cancel = MustCancelEngine();
    }
  }
  if (cancel) CancelEngine();
  Act(action);
  return true;
}

GenerateStream::Action GenerateStream::Next() {
  if (reactor_ == nullptr || writing_ || finished_) return Action::kNone;
  if (EndedBySlowReader()) queue_.Clear();
  if (!queue_.empty() && !broken_) {
    current_ = queue_.Pop();
    current_bytes_ = MemoryOf(current_);
    write_start_ = context_.clock->Now();
    writing_ = true;
    return Action::kWrite;
  }
  if (!end_) return Action::kNone;
  finished_ = true;
  finish_start_ = context_.clock->Now();
  return Action::kFinish;
}

void GenerateStream::Act(Action action) {
  if (action == Action::kNone) return;
  // What was decided keeps the call alive: gRPC reports OnDone only after the write or Finish
  // that starts here.
  Reactor* reactor;
  grpc::CallbackServerContext* call;
  absl::Status end;
  bool first = false;
  {
    MutexLock lock(&mutex_);
    reactor = reactor_;
    call = call_;
    if (action == Action::kFinish) end = *end_;
    first = action == Action::kWrite && !std::exchange(headers_set_, true);
  }
  if (action == Action::kWrite) {
    if (first) call->AddInitialMetadata(kRequestIdKey, request_id_);
    reactor->StartWrite(&current_);
    return;
  }
  if (end.ok()) {
    reactor->Finish(grpc::Status::OK);
    return;
  }
  GrpcError error = PrepareError(end, request_id_, call);
  reactor->Finish(std::move(error.status));
}

void GenerateStream::CancelEngine() {
  (void)context_.engine->Cancel(tenant_, request_id_);  // NOT_FOUND: it ended meanwhile.
}

bool GenerateStream::MustCancelEngine() const { return submitted_ && !engine_done_; }

bool GenerateStream::EndedBySlowReader() const {
  if (!end_ || end_->ok()) return false;
  const std::optional<ErrorDetail> detail = GetErrorDetail(*end_);
  return detail && detail->reason == reason::kSlowReader;
}

size_t GenerateStream::PendingBytes() const { return queue_.bytes() + current_bytes_; }

void GenerateStream::LogSummary() {
  if (!end_) return;
  std::string details =
      absl::StrCat(" prompt=", usage_.prompt_tokens, " cached=", usage_.cached_prompt_tokens,
                   " image=", usage_.image_tokens);
  if (timings_) {
    absl::StrAppend(&details, " generated=", usage_.completion_tokens,
                    " queue_ms=", absl::ToInt64Milliseconds(timings_->queue),
                    " ttft_ms=", absl::ToInt64Milliseconds(timings_->first_token));
  }
  LogCall({.request_id = request_id_,
           .tenant = tenant_,
           .method = "",
           .status = *end_,
           .reason = reason_,
           .details = std::move(details),
           .total = context_.clock->Now() - arrival_});
}

}  // namespace prefixd
