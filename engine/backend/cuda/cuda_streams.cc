#include "engine/backend/cuda/cuda_streams.h"

#include "base/status_macros.h"

namespace prefixd::cuda {

absl::StatusOr<CudaEvent> CudaEvent::Create(CudaHealth* health) {
  CudaEvent event;
  PREFIXD_RETURN_IF_ERROR(health->Check(
      cudaEventCreateWithFlags(&event.event_, cudaEventDisableTiming), "creating an event"));
  return event;
}

absl::StatusOr<std::unique_ptr<CudaStreams>> CudaStreams::Create(CudaHealth* health) {
  std::unique_ptr<CudaStreams> streams(new CudaStreams(health));
  for (cudaStream_t& stream : streams->streams_) {
    PREFIXD_RETURN_IF_ERROR(health->Check(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking),
                                          "creating a stream"));
  }
  return streams;
}

CudaStreams::~CudaStreams() {
  for (const cudaStream_t stream : streams_) {
    if (stream == nullptr) continue;
    cudaStreamSynchronize(stream);
    cudaStreamDestroy(stream);
  }
}

absl::Status CudaStreams::Order(cudaStream_t earlier, cudaStream_t later,
                                const CudaEvent& event) const {
  PREFIXD_RETURN_IF_ERROR(
      health_->Check(cudaEventRecord(event.get(), earlier), "recording an event"));
  return health_->Check(cudaStreamWaitEvent(later, event.get(), 0), "waiting for an event");
}

absl::Status CudaStreams::Synchronize() const {
  for (const cudaStream_t stream : streams_) {
    PREFIXD_RETURN_IF_ERROR(health_->Check(cudaStreamSynchronize(stream), "waiting for a stream"));
  }
  return absl::OkStatus();
}

}  // namespace prefixd::cuda
