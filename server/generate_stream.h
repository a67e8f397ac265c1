// One Generate call between the engine and gRPC: takes the engine's events, merges what waits,
// writes one message at a time and ends the call exactly once.
//
// The engine and the call each hold a reference. Thread-safe. gRPC and the engine are called
// without the mutex held, except for TryCancel, which only posts.
#ifndef PREFIXD_SERVER_GENERATE_STREAM_H_
#define PREFIXD_SERVER_GENERATE_STREAM_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include <grpcpp/server_context.h>
#include <grpcpp/support/server_callback.h>

#include "absl/base/thread_annotations.h"
#include "absl/time/time.h"
#include "base/mutex.h"
#include "engine/request.h"
#include "prefixd/v1/generation_service.pb.h"
#include "server/response_queue.h"
#include "server/serving_context.h"
#include "server/stream_watch.h"

namespace prefixd {

class GenerateStream final : public EventSink, public WatchedStream {
 public:
  using Reactor = grpc::ServerWriteReactor<v1::GenerateResponse>;

  // Limits on the memory of what waits to be written. Above the first the engine is asked to pause;
  // it goes on below the second. Above the third, which a well-behaved engine does not reach, the
  // call ends.
  static constexpr size_t kHighWatermarkBytes = 96 << 10;
  static constexpr size_t kLowWatermarkBytes = 32 << 10;
  static constexpr size_t kMaxPendingBytes = 256 << 10;

  // `reactor` and `call` live until OnDone has been called. `context` outlives the stream.
  GenerateStream(ServingContext* context, Reactor* reactor, grpc::CallbackServerContext* call,
                 std::string tenant, std::string request_id, absl::Time deadline);

  // --- From the engine ------------------------------------------------------------------------
  void OnEvent(Event event) override;
  bool Writable() const override;

  // --- From the call --------------------------------------------------------------------------
  // The engine took the request: from now on its end comes as an event.
  void Submitted();
  // Ends a call that the engine did not take.
  void Refuse(const absl::Status& status);
  void OnWriteDone(bool ok);
  void OnCancel();
  void OnDone();

  // --- From the watch -------------------------------------------------------------------------
  bool CheckStall(absl::Time now) override;

 private:
  enum class Action { kNone, kWrite, kFinish };

  // Decides what gRPC does next; the caller then calls Act without the mutex.
  Action Next() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Act(Action action) ABSL_LOCKS_EXCLUDED(mutex_);

  void Queue(Event event) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void QueueStarted(const StartedEvent& event) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void QueueFinished(const FinishedEvent& event) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void EndWith(absl::Status status) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  bool MustCancelEngine() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  bool EndedBySlowReader() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  size_t PendingBytes() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Tells the engine that nobody reads any more.
  void CancelEngine() ABSL_LOCKS_EXCLUDED(mutex_);
  void LogSummary() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  ServingContext& context_;
  const std::string tenant_;
  const std::string request_id_;  // Unique within the tenant.
  const absl::Time deadline_;
  const absl::Time arrival_;

  mutable Mutex mutex_;
  Reactor* reactor_ ABSL_GUARDED_BY(mutex_);                   // Null after OnDone.
  grpc::CallbackServerContext* call_ ABSL_GUARDED_BY(mutex_);  // Null after OnDone.
  ResponseQueue queue_ ABSL_GUARDED_BY(mutex_);
  bool submitted_ ABSL_GUARDED_BY(mutex_) = false;
  bool engine_done_ ABSL_GUARDED_BY(mutex_) = false;  // The terminal event came.
  bool broken_ ABSL_GUARDED_BY(mutex_) = false;       // The client is gone: nothing is written.
  bool paused_ ABSL_GUARDED_BY(mutex_) = false;       // The engine was asked to pause.
  bool headers_set_ ABSL_GUARDED_BY(mutex_) = false;
  bool writing_ ABSL_GUARDED_BY(mutex_) = false;
  bool finished_ ABSL_GUARDED_BY(mutex_) = false;  // Finish was decided.
  std::optional<absl::Status> end_ ABSL_GUARDED_BY(mutex_);
  absl::Time write_start_ ABSL_GUARDED_BY(mutex_);
  absl::Time finish_start_ ABSL_GUARDED_BY(mutex_);
  // Read by gRPC while a write or Finish is under way; then only the one that started it writes.
  v1::GenerateResponse current_;
  size_t current_bytes_ ABSL_GUARDED_BY(mutex_) = 0;

  // For the receipt and the summary.
  uint64_t seed_ ABSL_GUARDED_BY(mutex_) = 0;
  Usage usage_ ABSL_GUARDED_BY(mutex_);
  std::optional<Timings> timings_ ABSL_GUARDED_BY(mutex_);
  std::string reason_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace prefixd

#endif  // PREFIXD_SERVER_GENERATE_STREAM_H_
