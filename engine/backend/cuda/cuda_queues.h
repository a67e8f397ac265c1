// The two queues of ops: the main one runs on the compute stream, the image queue beside it. What
// one of them touched the other one waits for.
//
//   main    a ---- b ---------- f ------ g (reads what d wrote: waits)
//                  | (waits for b)
//   image          c -- d -- e
//
// Threads: one caller at a time.
#ifndef PREFIXD_ENGINE_BACKEND_CUDA_CUDA_QUEUES_H_
#define PREFIXD_ENGINE_BACKEND_CUDA_CUDA_QUEUES_H_

#include <cstdint>
#include <memory>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/backend/cuda/cuda_streams.h"

namespace prefixd::cuda {

class CudaQueues {
 public:
  static absl::StatusOr<std::unique_ptr<CudaQueues>> Create(CudaHealth* health,
                                                            const CudaStreams* streams);

  bool is_image() const { return is_image_; }
  cudaStream_t current() const { return is_image_ ? streams_->image() : streams_->compute(); }

  // Chooses the queue of the work that follows; work of the image queue waits for all earlier work.
  absl::Status Select(bool image);
  // Work that the main queue got since Select, as allocations are, the image queue waits for, too.
  absl::Status ImageWaitsForMain();
  // The main queue waits for all that the image queue has got.
  absl::Status MainWaitsForImage();

  // Counts the turns of the image queue. What a turn touched is safe for the main queue once it
  // waited for that turn.
  int64_t image_turn() const { return image_turn_; }
  bool MainWaitedFor(int64_t image_turn) const { return image_turn <= waited_turn_; }
  // Whether the main queue has waited for every turn.
  bool image_done() const { return waited_turn_ == image_turn_; }

 private:
  CudaQueues(const CudaStreams* streams, CudaEvent event)
      : streams_(streams), event_(std::move(event)) {}

  const CudaStreams* const streams_;
  CudaEvent event_;
  bool is_image_ = false;
  int64_t image_turn_ = 0;
  int64_t waited_turn_ = 0;
};

}  // namespace prefixd::cuda

#endif  // PREFIXD_ENGINE_BACKEND_CUDA_CUDA_QUEUES_H_
