#include "engine/backend/cuda/cuda_queues.h"

#include "base/status_macros.h"
#include "engine/backend/cuda/cuda_bug.h"

namespace prefixd::cuda {

absl::StatusOr<std::unique_ptr<CudaQueues>> CudaQueues::Create(CudaHealth* health,
                                                               const CudaStreams* streams) {
  PREFIXD_ASSIGN_OR_RETURN(CudaEvent event, CudaEvent::Create(health));
  return std::unique_ptr<CudaQueues>(new CudaQueues(streams, std::move(event)));
}

absl::Status CudaQueues::Select(bool image) {
  if (image == is_image_) return absl::OkStatus();
  is_image_ = image;
  if (!image) return absl::OkStatus();
  ++image_turn_;
  return ImageWaitsForMain();
}

absl::Status CudaQueues::ImageWaitsForMain() {
  return streams_->Order(streams_->compute(), streams_->image(), event_);
}

absl::Status CudaQueues::MainWaitsForImage() {
  if (!PREFIXD_CUDA_BUG(kNoImageWait)) {
    PREFIXD_RETURN_IF_ERROR(streams_->Order(streams_->image(), streams_->compute(), event_));
  }
  // A turn that is not over yet may get more work.
  waited_turn_ = is_image_ ? image_turn_ - 1 : image_turn_;
  return absl::OkStatus();
}

}  // namespace prefixd::cuda
