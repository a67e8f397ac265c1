// One ClassifyBatch call between the engine and gRPC: reads requests as long as fewer than kWindow
// of them are not yet answered, hands each to the classifier, and writes the answers in the order
// of the requests, one at a time. What waits is bounded: kWindow requests at work or answered, the
// answer that is being written and a request that is being read; all of it counts in
// ServingContext::budget.
//
// The classifier's callbacks, the watch and the call share it: an answer may come long after the
// call, its service and its server are gone. Thread-safe. gRPC and the classifier are called
// without the mutex held, except for TryCancel, which only posts.
#ifndef PREFIXD_SERVER_CLASSIFY_BATCH_H_
#define PREFIXD_SERVER_CLASSIFY_BATCH_H_

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <grpcpp/server_context.h>
#include <grpcpp/support/server_callback.h>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/mutex.h"
#include "engine/classification.h"
#include "prefixd/v1/classification_service.pb.h"
#include "server/serving_context.h"
#include "server/stream_watch.h"

namespace prefixd {

class ClassifyBatch final : public WatchedStream,
                            public std::enable_shared_from_this<ClassifyBatch> {
 public:
  using Reactor = grpc::ServerBidiReactor<v1::ClassifyBatchRequest, v1::ClassifyBatchResponse>;

  static constexpr size_t kWindow = 32;
  static constexpr int64_t kMaxRequests = 100'000;
  // A stream that has all its answers and sends nothing for so long ends.
  static constexpr absl::Duration kIdleLimit = absl::Seconds(60);
  // Of the batch's id, so that BATCH/INDEX is a request id too.
  static constexpr size_t kMaxBatchIdBytes = 122;

  // `reactor` and `call` live until OnDone has been called. `context` outlives the call.
  ClassifyBatch(ServingContext* context, Reactor* reactor, grpc::CallbackServerContext* call,
                Principal caller, std::string batch_id);

  // --- From the call
  void Start();  // Reads the first request.
  void Refuse(const absl::Status& status);
  void OnReadDone(bool ok);
  void OnWriteDone(bool ok);
  void OnCancel();
  void OnDone();

  // --- From the watch: ends a call whose reader takes nothing, or that is idle.
  bool CheckStall(absl::Time now) override;

 private:
  // A request that is not yet answered, or whose answer waits to be written.
  struct Item {
    std::string id;
    absl::Time arrival;
    bool at_work = false;  // The classifier has it and was not told that nobody waits.
    std::optional<uint64_t> held_bytes;  // Of the budget.
    std::optional<v1::ClassifyBatchResponse> answer;
  };
  // What is to be done without the mutex.
  struct Actions {
    bool read = false;
    bool write = false;
    bool finish = false;
    std::vector<std::string> cancel;  // Request ids.
  };

  Actions Next() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Act(Actions actions) ABSL_LOCKS_EXCLUDED(mutex_);
  void Finish() ABSL_LOCKS_EXCLUDED(mutex_);
  void EndWith(absl::Status status) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Nothing more is written; returns what the classifier is to forget.
  std::vector<std::string> Abandon() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  // Hands a request to the classifier, or answers it.
  void Begin(int64_t index, const std::string& id, absl::Time deadline, v1::ClassifyRequest message)
      ABSL_LOCKS_EXCLUDED(mutex_);
  void Answer(int64_t index, const std::string& id, absl::StatusOr<ClassifyResult> result)
      ABSL_LOCKS_EXCLUDED(mutex_);

  ServingContext& context_;
  Classifier* const classifier_;
  const Principal caller_;
  const std::string batch_id_;
  const absl::Time arrival_;

  Mutex mutex_;
  Reactor* reactor_ ABSL_GUARDED_BY(mutex_);                   // Null after OnDone.
  grpc::CallbackServerContext* call_ ABSL_GUARDED_BY(mutex_);  // Null after OnDone.
  std::deque<Item> window_ ABSL_GUARDED_BY(mutex_);            // At most kWindow.
  int64_t first_index_ ABSL_GUARDED_BY(mutex_) = 0;            // Of window_.front().
  int64_t failed_ ABSL_GUARDED_BY(mutex_) = 0;
  int starting_ ABSL_GUARDED_BY(mutex_) =
      0;  // Threads between the decision to read or write and it.
  bool reading_ ABSL_GUARDED_BY(mutex_) = false;
  bool writing_ ABSL_GUARDED_BY(mutex_) = false;
  bool headers_set_ ABSL_GUARDED_BY(mutex_) = false;
  bool abandoned_ ABSL_GUARDED_BY(mutex_) = false;  // Nobody takes answers any more.
  bool finished_ ABSL_GUARDED_BY(mutex_) = false;   // Finish was decided.
  // Set: nothing more is read; the call ends so when all is answered, or at once if abandoned.
  std::optional<absl::Status> end_ ABSL_GUARDED_BY(mutex_);
  absl::Time last_move_ ABSL_GUARDED_BY(mutex_);  // Of a request or an answer.
  absl::Time write_start_ ABSL_GUARDED_BY(mutex_);
  absl::Time finish_start_ ABSL_GUARDED_BY(mutex_);
  std::optional<uint64_t> current_held_bytes_ ABSL_GUARDED_BY(mutex_);
  // Each is touched by gRPC from the start of a read or write to its end, then by that one alone.
  v1::ClassifyBatchRequest request_;
  v1::ClassifyBatchResponse current_;
};

// Starts a call. The reactor deletes itself.
ClassifyBatch::Reactor* StartClassifyBatch(ServingContext* context, StreamWatch* watch,
                                           grpc::CallbackServerContext* call);

}  // namespace prefixd

#endif  // PREFIXD_SERVER_CLASSIFY_BATCH_H_
