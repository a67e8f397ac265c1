// The answer to one Generate call, event by event, in the order of generation_service.proto.
#ifndef PREFIXD_CLIENT_GENERATE_STREAM_H_
#define PREFIXD_CLIENT_GENERATE_STREAM_H_

#include <functional>
#include <memory>

#include <grpcpp/client_context.h>
#include <grpcpp/support/sync_stream.h>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/time/time.h"
#include "base/mutex.h"
#include "client/image_offer.h"
#include "prefixd/v1/generation_service.grpc.pb.h"

namespace prefixd {

// Read and Finish belong to one thread; Cancel may be called by any. Keeps its channel alive.
// A call that the server refuses because it lacks an image that was sent as a digest is sent again
// with the bytes, within the same deadline, before any event: the reader sees one call.
class GenerateStream {
 public:
  using Reader = grpc::ClientReader<v1::GenerateResponse>;
  // Sends one attempt.
  using Start =
      std::function<std::unique_ptr<Reader>(grpc::ClientContext*, const v1::GenerateRequest&)>;

  // Sends the first attempt. What `start` needs lives as long as it.
  GenerateStream(std::unique_ptr<OfferedRequest<v1::GenerateRequest>> request, Start start,
                 absl::Duration timeout);
  // Cancels the call if Finish was not called.
  ~GenerateStream();

  GenerateStream(const GenerateStream&) = delete;
  GenerateStream& operator=(const GenerateStream&) = delete;

  // Waits for the next event. Returns false at the end; Finish then tells why.
  bool Read(v1::GenerateResponse* event);

  // The status of the call, with the detail of base/error.h. Drops events that were not read.
  // Requires: called once.
  absl::Status Finish();

  // Ends the call with CANCELLED; the server frees what it holds within one step.
  void Cancel();

 private:
  // Begins the next attempt; false if the call was cancelled.
  bool Send();

  const std::unique_ptr<OfferedRequest<v1::GenerateRequest>> request_;
  const Start start_;
  const absl::Time deadline_;

  Mutex mutex_;
  // Of the attempt under way. Before reader_, which it must outlive.
  std::unique_ptr<grpc::ClientContext> context_ ABSL_GUARDED_BY(mutex_);
  bool cancelled_ ABSL_GUARDED_BY(mutex_) = false;

  // Of the reading thread.
  std::unique_ptr<Reader> reader_;
  bool began_ = false;  // An event came.
  bool ended_ = false;
  absl::Status status_;  // Once ended.
  bool finished_ = false;
};

}  // namespace prefixd

#endif  // PREFIXD_CLIENT_GENERATE_STREAM_H_
