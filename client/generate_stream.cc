#include "client/generate_stream.h"

#include <utility>

#include "absl/time/clock.h"
#include "base/check.h"
#include "client/call_deadline.h"
#include "client/call_status.h"

namespace prefixd {

GenerateStream::GenerateStream(std::unique_ptr<OfferedRequest<v1::GenerateRequest>> request,
                               Start start, absl::Duration timeout)
    : request_(std::move(request)), start_(std::move(start)), deadline_(absl::Now() + timeout) {
  PREFIXD_CHECK(Send());
}

GenerateStream::~GenerateStream() {
  if (finished_) return;
  Cancel();
  static_cast<void>(Finish());
}

bool GenerateStream::Send() {
  reader_ = nullptr;
  grpc::ClientContext* context;
  {
    MutexLock lock(&mutex_);
    if (cancelled_) return false;
    context_ = std::make_unique<grpc::ClientContext>();
    context = context_.get();
  }
  SetTimeout(deadline_ - absl::Now(), context);
  // Without the lock: sending a picture takes its time, and a call may be cancelled before it
  // starts.
  reader_ = start_(context, request_->message());
  return true;
}

bool GenerateStream::Read(v1::GenerateResponse* event) {
  while (!ended_) {
    if (reader_->Read(event)) {
      if (!std::exchange(began_, true)) request_->offer().Taken();
      return true;
    }
    status_ = FromGrpcStatus(reader_->Finish());
    ended_ = began_ || !request_->offer().PutBack(status_) || !Send();
  }
  return false;
}

absl::Status GenerateStream::Finish() {
  PREFIXD_CHECK(!finished_);
  finished_ = true;
  // gRPC wants the stream read to its end before its status.
  v1::GenerateResponse rest;
  while (Read(&rest)) {
  }
  return status_;
}

void GenerateStream::Cancel() {
  MutexLock lock(&mutex_);
  cancelled_ = true;
  context_->TryCancel();
}

}  // namespace prefixd
