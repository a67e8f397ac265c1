#include "server/classify_batch.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "engine/error_reasons.h"
#include "server/call_log.h"
#include "server/call_support.h"
#include "server/classification_to_proto.h"
#include "server/convert_classification.h"

namespace prefixd {
namespace {

absl::Status Cancelled() {
  return MakeError(absl::StatusCode::kCancelled, reason::kCancelled, "the client left");
}

absl::Status TooManyRequests() {
  Violations violations;
  violations.CheckCount("requests", "requests", ClassifyBatch::kMaxRequests + 1,
                        ClassifyBatch::kMaxRequests);
  return violations.ToStatus();
}

absl::Status Idle() {
  return MakeError(
      absl::StatusCode::kDeadlineExceeded, reason::kDeadlineExceeded,
      absl::StrCat("no request came for ", absl::FormatDuration(ClassifyBatch::kIdleLimit)));
}

v1::ClassifyBatchResponse MakeAnswer(int64_t index, const std::string& id,
                                     absl::StatusOr<ClassifyResult> result) {
  v1::ClassifyBatchResponse answer;
  answer.set_index(index);
  if (result.ok()) {
    ToProto(*std::move(result), answer.mutable_response());
  } else {
    answer.mutable_error()->ParseFromString(
        ToGrpcError(result.status(), id).status.error_details());
  }
  return answer;
}

}  // namespace

ClassifyBatch::ClassifyBatch(ServingContext* context, Reactor* reactor,
                             grpc::CallbackServerContext* call, Principal caller,
                             std::string batch_id)
    : context_(*context),
      classifier_(context->engine->classifier()),
      caller_(std::move(caller)),
      batch_id_(std::move(batch_id)),
      arrival_(context->clock->Now()),
      reactor_(reactor),
      call_(call),
      last_move_(arrival_) {}

void ClassifyBatch::Start() {
  Actions actions;
  {
    MutexLock lock(&mutex_);
    actions = Next();
  }
  Act(std::move(actions));
}

void ClassifyBatch::Refuse(const absl::Status& status) {
  Actions actions;
  {
    MutexLock lock(&mutex_);
    EndWith(status);
    actions = Next();
  }
  Act(std::move(actions));
}

void ClassifyBatch::OnReadDone(bool ok) {
  v1::ClassifyBatchRequest message;
  if (ok) message.Swap(&request_);
  const uint64_t bytes = message.ByteSizeLong();
  // One place of the budget for each request. The call lives while gRPC is in here.
  const bool admitted = ok && context_.budget.Take(bytes);
  bool begin = false;
  int64_t index = 0;
  std::string id;
  absl::Time deadline;
  Actions actions;
  {
    MutexLock lock(&mutex_);
    reading_ = false;
    last_move_ = context_.clock->Now();
    index = first_index_ + static_cast<int64_t>(window_.size());
    if (!ok) {
      EndWith(absl::OkStatus());
    } else if (index >= kMaxRequests) {
      EndWith(TooManyRequests());
    }
    begin = !end_;
    if (begin) {
      const std::string& own = message.request().request_id();
      deadline = last_move_ + TimeLeft(*call_, context_.limits);
      id = IsRequestId(own) ? own : absl::StrCat(batch_id_, "/", index);
      window_.push_back({.id = id, .arrival = last_move_});
      if (admitted) window_.back().held_bytes = bytes;
    } else {
      if (admitted) context_.budget.Give(bytes);
      actions = Next();
    }
  }
  if (!begin) return Act(std::move(actions));
  if (!admitted) {
    Answer(index, id, BudgetUsedUp());
  } else {
    Begin(index, id, deadline, std::move(*message.mutable_request()));
  }
}

void ClassifyBatch::Begin(int64_t index, const std::string& id, absl::Time deadline,
                          v1::ClassifyRequest message) {
  absl::StatusOr<ClassifyRequest> request =
      ConvertClassifyRequest(std::move(message), context_.engine->model_info(), context_.limits);
  if (!request.ok()) return Answer(index, id, request.status());
  request->id = id;
  request->tenant = caller_.tenant;
  request->priority = std::min(request->priority, caller_.max_priority);
  request->deadline = deadline;
  classifier_->Classify(*std::move(request), [self = shared_from_this(), index,
                                              id](absl::StatusOr<ClassifyResult> result) {
    self->Answer(index, id, std::move(result));
  });
  Actions actions;
  {
    MutexLock lock(&mutex_);
    // Written meanwhile, or answered.
    const bool at_work = index >= first_index_ &&
                         !window_[static_cast<size_t>(index - first_index_)].answer.has_value();
    if (at_work && abandoned_) {
      actions.cancel.push_back(id);
    } else {
      if (at_work) window_[static_cast<size_t>(index - first_index_)].at_work = true;
      actions = Next();
    }
  }
  Act(std::move(actions));
}

void ClassifyBatch::Answer(int64_t index, const std::string& id,
                           absl::StatusOr<ClassifyResult> result) {
  const absl::Status status = result.status();
  v1::ClassifyBatchResponse answer = MakeAnswer(index, id, std::move(result));
  Actions actions;
  absl::Duration total;
  {
    MutexLock lock(&mutex_);
    if (reactor_ == nullptr || abandoned_) return;
    Item& item = window_[static_cast<size_t>(index - first_index_)];
    item.at_work = false;
    total = context_.clock->Now() - item.arrival;
    if (!status.ok()) ++failed_;
    if (item.held_bytes) {
      const uint64_t bytes = answer.ByteSizeLong();
      context_.budget.Grow(bytes);
      *item.held_bytes += bytes;
    }
    item.answer = std::move(answer);
    actions = Next();
  }
  LogCall({.request_id = id,
           .tenant = caller_.tenant,
           .method = "classify",
           .status = status,
           .reason = "",
           .details = "",
           .total = total},
          LogLevel::kDebug);
  Act(std::move(actions));
}

void ClassifyBatch::OnWriteDone(bool ok) {
  Actions actions;
  {
    MutexLock lock(&mutex_);
    writing_ = false;
    last_move_ = context_.clock->Now();
    if (current_held_bytes_) context_.budget.Give(*std::exchange(current_held_bytes_, {}));
    std::vector<std::string> cancel;
    if (!ok && !finished_) {
      end_ = Cancelled();
      cancel = Abandon();
    }
    actions = Next();
    actions.cancel = std::move(cancel);
  }
  Act(std::move(actions));
}

void ClassifyBatch::OnCancel() {
  Actions actions;
  {
    MutexLock lock(&mutex_);
    if (!finished_) end_ = Cancelled();
    std::vector<std::string> cancel = Abandon();
    actions = Next();
    actions.cancel = std::move(cancel);
  }
  Act(std::move(actions));
}

void ClassifyBatch::OnDone() {
  MutexLock lock(&mutex_);
  for (const Item& item : window_) {
    if (item.held_bytes) context_.budget.Give(*item.held_bytes);
  }
  if (current_held_bytes_) context_.budget.Give(*current_held_bytes_);
  const int64_t requests = first_index_ + static_cast<int64_t>(window_.size());
  LogCall({.request_id = batch_id_,
           .tenant = caller_.tenant,
           .method = "classify_batch",
           .status = end_.value_or(Cancelled()),
           .reason = "",
           .details = absl::StrCat(" requests=", requests, " failed=", failed_),
           .total = context_.clock->Now() - arrival_});
  reactor_ = nullptr;
  call_ = nullptr;
}

bool ClassifyBatch::CheckStall(absl::Time now) {
  Actions actions;
  {
    MutexLock lock(&mutex_);
    if (reactor_ == nullptr) return false;
    if (finished_) {
      if (writing_ && now - finish_start_ > kSlowReaderGrace) call_->TryCancel();
      return true;
    }
    if (starting_ > 0) return true;
    const absl::Duration limit = context_.options.slow_reader_timeout;
    if (writing_ && now - write_start_ > limit) {
      // The write under way may never end, so the status follows it at once.
      end_ = SlowReader(absl::StrCat("no answer was taken for ", absl::FormatDuration(limit)));
      finished_ = true;
      finish_start_ = now;
      actions.cancel = Abandon();
      actions.finish = true;
    } else if (!end_ && window_.empty() && !writing_ && now - last_move_ > kIdleLimit) {
      EndWith(Idle());
      actions = Next();
    }
  }
  Act(std::move(actions));
  return true;
}

void ClassifyBatch::EndWith(absl::Status status) {
  if (!end_) end_ = std::move(status);
}

std::vector<std::string> ClassifyBatch::Abandon() {
  abandoned_ = true;
  std::vector<std::string> at_work;
  for (Item& item : window_) {
    if (std::exchange(item.at_work, false)) at_work.push_back(item.id);
    item.answer.reset();
  }
  return at_work;
}

ClassifyBatch::Actions ClassifyBatch::Next() {
  Actions actions;
  if (reactor_ == nullptr || finished_) return actions;
  if (!abandoned_ && !writing_ && !window_.empty() && window_.front().answer) {
    current_ = *std::move(window_.front().answer);
    current_held_bytes_ = window_.front().held_bytes;
    window_.pop_front();
    ++first_index_;
    write_start_ = context_.clock->Now();
    writing_ = actions.write = true;
  }
  if (!end_ && !reading_ && window_.size() < kWindow) reading_ = actions.read = true;
  if (actions.read || actions.write) {
    ++starting_;
  } else if (end_ && !writing_ && starting_ == 0 && (abandoned_ || window_.empty())) {
    finished_ = actions.finish = true;
    finish_start_ = context_.clock->Now();
  }
  return actions;
}

void ClassifyBatch::Act(Actions actions) {
  while (true) {
    for (const std::string& id : actions.cancel) classifier_->Cancel(caller_.tenant, id);
    if (actions.finish) return Finish();
    if (!actions.read && !actions.write) return;
    // What was decided keeps the call alive: it is not finished while something starts.
    Reactor* reactor;
    grpc::CallbackServerContext* call;
    bool first;
    {
      MutexLock lock(&mutex_);
      reactor = reactor_;
      call = call_;
      first = actions.write && !std::exchange(headers_set_, true);
    }
    if (first) call->AddInitialMetadata(kRequestIdKey, batch_id_);
    if (actions.read) reactor->StartRead(&request_);
    if (actions.write) reactor->StartWrite(&current_);
    MutexLock lock(&mutex_);
    --starting_;
    actions = Next();
  }
}

void ClassifyBatch::Finish() {
  Reactor* reactor;
  grpc::CallbackServerContext* call;
  absl::Status end;
  {
    MutexLock lock(&mutex_);
    reactor = reactor_;
    call = call_;
    end = *end_;
  }
  if (end.ok()) return reactor->Finish(grpc::Status::OK);
  reactor->Finish(PrepareError(end, batch_id_, call).status);
}

namespace {

// gRPC's end of a ClassifyBatch call. Deletes itself in OnDone.
class ClassifyBatchReactor final : public ClassifyBatch::Reactor {
 public:
  ClassifyBatchReactor(ServingContext* context, grpc::CallbackServerContext* call, Principal caller,
                       std::string batch_id)
      : batch_(std::make_shared<ClassifyBatch>(context, this, call, std::move(caller),
                                               std::move(batch_id))) {}

  const std::shared_ptr<ClassifyBatch>& batch() const { return batch_; }

  void OnReadDone(bool ok) override { batch_->OnReadDone(ok); }
  void OnWriteDone(bool ok) override { batch_->OnWriteDone(ok); }
  void OnCancel() override { batch_->OnCancel(); }
  void OnDone() override {
    batch_->OnDone();
    delete this;
  }

 private:
  const std::shared_ptr<ClassifyBatch> batch_;
};

}  // namespace

ClassifyBatch::Reactor* StartClassifyBatch(ServingContext* context, StreamWatch* watch,
                                           grpc::CallbackServerContext* call) {
  absl::StatusOr<std::string> id = ChooseRequestId("", *call);
  if (id.ok() && id->size() > ClassifyBatch::kMaxBatchIdBytes) {
    Violations violations;
    violations.CheckCount(kRequestIdKey, "characters in the id of a batch", id->size(),
                          ClassifyBatch::kMaxBatchIdBytes);
    id = violations.ToStatus();
  }
  absl::StatusOr<Principal> caller = context->auth.TenantOf(*call);
  const absl::Status refusal = caller.ok() ? id.status() : caller.status();
  auto* reactor = new ClassifyBatchReactor(context, call, std::move(caller).value_or(Principal()),
                                           id.ok() ? *id : DrawRequestId());
  // Held beside: the call may be over before this returns.
  const std::shared_ptr<ClassifyBatch> batch = reactor->batch();
  watch->Add(batch);
  if (refusal.ok()) {
    batch->Start();
  } else {
    batch->Refuse(refusal);
  }
  return reactor;
}

}  // namespace prefixd
