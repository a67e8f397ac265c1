// The queues of a device. Work on one stream runs in order; streams run side by side and are
// ordered by events.
#ifndef PREFIXD_ENGINE_BACKEND_CUDA_CUDA_STREAMS_H_
#define PREFIXD_ENGINE_BACKEND_CUDA_CUDA_STREAMS_H_

#include <cuda_runtime.h>

#include <memory>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/backend/cuda/cuda_health.h"

namespace prefixd::cuda {

// Owns one event without timing. Move-only.
class CudaEvent {
 public:
  static absl::StatusOr<CudaEvent> Create(CudaHealth* health);

  CudaEvent() = default;
  CudaEvent(CudaEvent&& other) noexcept : event_(std::exchange(other.event_, nullptr)) {}
  CudaEvent& operator=(CudaEvent&& other) noexcept {
    std::swap(event_, other.event_);
    return *this;
  }
  ~CudaEvent() {
    if (event_ != nullptr) cudaEventDestroy(event_);
  }

  cudaEvent_t get() const { return event_; }

 private:
  cudaEvent_t event_ = nullptr;
};

class CudaStreams {
 public:
  // `health` must outlive the streams.
  static absl::StatusOr<std::unique_ptr<CudaStreams>> Create(CudaHealth* health);
  // Waits for all work.
  ~CudaStreams();

  cudaStream_t compute() const { return streams_[0]; }   // Decoder, draws, memory.
  cudaStream_t copy_in() const { return streams_[1]; }   // Inputs of steps.
  cudaStream_t copy_out() const { return streams_[2]; }  // Drawn tokens.
  cudaStream_t image() const { return streams_[3]; }     // Image towers.

  // Work that `later` gets from now on waits for what `earlier` has got so far. `event` is recorded
  // anew; an event may be used again at once.
  absl::Status Order(cudaStream_t earlier, cudaStream_t later, const CudaEvent& event) const;

  // Waits until all streams are idle.
  absl::Status Synchronize() const;

 private:
  explicit CudaStreams(CudaHealth* health) : health_(health) {}

  CudaHealth* const health_;
  cudaStream_t streams_[4] = {};
};

}  // namespace prefixd::cuda

#endif  // PREFIXD_ENGINE_BACKEND_CUDA_CUDA_STREAMS_H_
