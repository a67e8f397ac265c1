// Copies matrices between the host and the device through pinned chunks of bounded size, converting
// on the host.
//
// Threads: one caller at a time.
#ifndef PREFIXD_ENGINE_BACKEND_CUDA_CUDA_TRANSFER_H_
#define PREFIXD_ENGINE_BACKEND_CUDA_CUDA_TRANSFER_H_

#include <cstddef>
#include <cstdint>
#include <memory>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/backend/cuda/cuda_memory.h"

namespace prefixd::cuda {

// A matrix in device memory, as bytes.
struct DeviceRows {
  std::byte* data = nullptr;
  int64_t rows = 0;
  int64_t cols = 0;
  int64_t element_bytes = 0;
  int64_t stride_bytes = 0;
};

class Transfers {
 public:
  static absl::StatusOr<std::unique_ptr<Transfers>> Create(size_t chunk_bytes, CudaHealth* health,
                                                           const CudaQueues* queues);

  // A part of a row and its elements in host memory.
  using Convert =
      absl::FunctionRef<void(int64_t row, int64_t col, int64_t num_cols, std::byte* elements)>;

  // `write` fills all parts before this returns; the current queue copies them to `to`.
  absl::Status In(const DeviceRows& to, Convert write);
  // Waits for the current queue; `read` gets all parts.
  absl::Status Out(const DeviceRows& from, Convert read);

 private:
  // A chunk is filled piece by piece; it is filled anew once its copies are made.
  struct Chunk {
    PinnedBuffer host;
    CudaEvent copied;
    cudaStream_t stream = nullptr;
    size_t used_bytes = 0;
  };
  // Rows [row, row + num_rows), columns [col, col + num_cols).
  struct Piece {
    int64_t row = 0, num_rows = 0, col = 0, num_cols = 0;
  };

  Transfers(CudaHealth* health, const CudaQueues* queues) : health_(health), queues_(queues) {}

  // Cuts the matrix into pieces that fit in a chunk.
  absl::Status ForPieces(const DeviceRows& rows,
                         absl::FunctionRef<absl::Status(const Piece&)> body) const;
  // Room for `size_bytes` in a chunk of the current queue; waits until there is some.
  absl::StatusOr<std::byte*> Take(size_t size_bytes);

  static constexpr int kChunks = 3;
  CudaHealth* const health_;
  const CudaQueues* const queues_;
  size_t chunk_bytes_ = 0;
  Chunk chunks_[kChunks];
  int current_ = 0;
};

}  // namespace prefixd::cuda

#endif  // PREFIXD_ENGINE_BACKEND_CUDA_CUDA_TRANSFER_H_
