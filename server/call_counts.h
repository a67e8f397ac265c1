// Counts how calls end: by method and code, and by reason for those that failed. One interceptor
// sees every call of every service, so no service counts by itself. It also sees what no service
// does: a call whose message cannot be parsed ends with INVALID_ARGUMENT, INPUT_INVALID (in a
// stream from the client gRPC tells such a message from none in no way). Thread-safe.
#ifndef PREFIXD_SERVER_CALL_COUNTS_H_
#define PREFIXD_SERVER_CALL_COUNTS_H_

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <utility>

#include <grpcpp/server_builder.h>
#include <grpcpp/support/status.h>

#include "absl/base/thread_annotations.h"
#include "absl/strings/string_view.h"
#include "base/mutex.h"

namespace prefixd {

class CallCounts {
 public:
  // Beyond so many methods or reasons the rest counts as kOther: a metric's labels stay bounded.
  static constexpr size_t kMaxNames = 64;
  static constexpr char kOther[] = "_OTHER";

  struct Snapshot {
    std::map<std::pair<std::string, grpc::StatusCode>, uint64_t> by_method;
    std::map<std::string, uint64_t> by_reason;  // google.rpc.ErrorInfo.reason.
  };

  // `method`: "prefixd.v1.GenerationService/Generate". Details of `status` that carry no reason
  // count as kOther.
  void Add(absl::string_view method, const grpc::Status& status);

  Snapshot Read() const;

 private:
  mutable Mutex mutex_;
  Snapshot counts_ ABSL_GUARDED_BY(mutex_);
  std::map<std::string, int> methods_ ABSL_GUARDED_BY(mutex_);
};

// Makes the server that `builder` builds count its calls in `counts`, which outlives it.
void CountCalls(CallCounts* counts, grpc::ServerBuilder* builder);

// "OK", "INVALID_ARGUMENT", ...
absl::string_view StatusCodeName(grpc::StatusCode code);

}  // namespace prefixd

#endif  // PREFIXD_SERVER_CALL_COUNTS_H_
