// The answer to one Generate call, event by event, in the order of generation_service.proto.
#ifndef PREFIXD_CLIENT_GENERATE_STREAM_H_
#define PREFIXD_CLIENT_GENERATE_STREAM_H_

#include <memory>

#include <grpcpp/client_context.h>
#include <grpcpp/support/sync_stream.h>

#include "absl/status/status.h"
#include "prefixd/v1/generation_service.grpc.pb.h"

namespace prefixd {

// Read and Finish belong to one thread; Cancel may be called by any. Keeps its channel alive.
class GenerateStream {
 public:
  GenerateStream(std::unique_ptr<grpc::ClientContext> context,
                 std::unique_ptr<grpc::ClientReader<v1::GenerateResponse>> reader);
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
  const std::unique_ptr<grpc::ClientContext> context_;
  const std::unique_ptr<grpc::ClientReader<v1::GenerateResponse>> reader_;
  bool finished_ = false;
};

}  // namespace prefixd

#endif  // PREFIXD_CLIENT_GENERATE_STREAM_H_
