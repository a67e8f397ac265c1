// Draws of tokens on the device. The drawn tokens stay there, where the next step reads them; what
// the host is told comes back beside the next step.
//
// Threads: one caller at a time.
#ifndef PREFIXD_ENGINE_BACKEND_CUDA_CUDA_DRAWS_H_
#define PREFIXD_ENGINE_BACKEND_CUDA_CUDA_DRAWS_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "engine/backend/cuda/cuda_memory.h"
#include "engine/backend/cuda/cuda_staging.h"
#include "engine/backend/cuda/kernels/draw_tokens.h"
#include "engine/backend/token_draw.h"

namespace prefixd::cuda {

class CudaDraws {
 public:
  static constexpr int kInFlight = 2;

  static absl::StatusOr<std::unique_ptr<CudaDraws>> Create(CudaHealth* health,
                                                           const CudaStreams* streams,
                                                           DeviceMemory* memory, StagingRing* ring);

  // Backend::DrawTokens and TakeDraws. Errors: RESOURCE_EXHAUSTED; nothing is drawn then.
  absl::StatusOr<uint64_t> Draw(const DeviceMatrix& logits, absl::Span<const TokenDraw> draws);
  absl::Status Take(uint64_t ticket, std::vector<DrawnToken>* drawn);

  // The tokens of the latest Draw, in device memory.
  const int32_t* tokens() const { return reinterpret_cast<const int32_t*>(tokens_.data()); }
  int32_t num_tokens() const { return num_tokens_; }

 private:
  // What is read back of one ticket.
  struct Out {
    Scratch device;
    PinnedBuffer host;
    CudaEvent drawn, copied;
    std::vector<int32_t> num_ranked;  // Of every draw; -1: nothing is reported.
    bool pending = false;
  };

  CudaDraws(CudaHealth* health, const CudaStreams* streams, DeviceMemory* memory, StagingRing* ring)
      : health_(health), streams_(streams), memory_(memory), ring_(ring) {}

  absl::Status Reserve(const DeviceMatrix& logits, size_t num_draws, Out* out);
  void Pack(absl::Span<const TokenDraw> draws);

  CudaHealth* const health_;
  const CudaStreams* const streams_;
  DeviceMemory* const memory_;
  StagingRing* const ring_;
  Buffer tokens_;
  int32_t num_tokens_ = 0;
  Scratch scratch_;
  Out outs_[kInFlight];
  uint64_t last_ticket_ = 0;
  uint64_t last_taken_ = 0;

  // Of Pack.
  HostPack pack_;
  size_t rows_ = 0, bias_ids_ = 0, bias_values_ = 0, count_ids_ = 0, count_generated_ = 0,
         suppressed_ = 0;
};

}  // namespace prefixd::cuda

#endif  // PREFIXD_ENGINE_BACKEND_CUDA_CUDA_DRAWS_H_
