#include "engine/backend/cuda/cuda_transfer.h"

#include <algorithm>

#include "base/check.h"
#include "base/status_macros.h"

namespace prefixd::cuda {

absl::StatusOr<std::unique_ptr<Transfers>> Transfers::Create(size_t chunk_bytes, CudaHealth* health,
                                                             const CudaQueues* queues) {
  std::unique_ptr<Transfers> transfers(new Transfers(health, queues));
  transfers->chunk_bytes_ = chunk_bytes;
  for (Chunk& chunk : transfers->chunks_) {
    PREFIXD_ASSIGN_OR_RETURN(chunk.host, PinnedBuffer::Create(chunk_bytes));
    PREFIXD_ASSIGN_OR_RETURN(chunk.copied, CudaEvent::Create(health));
  }
  return transfers;
}

absl::Status Transfers::ForPieces(const DeviceRows& rows,
                                  absl::FunctionRef<absl::Status(const Piece&)> body) const {
  if (rows.rows == 0 || rows.cols == 0) return absl::OkStatus();
  const int64_t chunk_elements = static_cast<int64_t>(chunk_bytes_) / rows.element_bytes;
  const int64_t num_cols = std::min(rows.cols, chunk_elements);
  const int64_t num_rows = std::max<int64_t>(1, chunk_elements / rows.cols);
  for (int64_t row = 0; row < rows.rows; row += num_rows) {
    for (int64_t col = 0; col < rows.cols; col += num_cols) {
      PREFIXD_RETURN_IF_ERROR(body({.row = row,
                                    .num_rows = std::min(num_rows, rows.rows - row),
                                    .col = col,
                                    .num_cols = std::min(num_cols, rows.cols - col)}));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<std::byte*> Transfers::Take(size_t size_bytes) {
  PREFIXD_CHECK(size_bytes <= chunk_bytes_);
  const cudaStream_t stream = queues_->current();
  Chunk* chunk = &chunks_[current_];
  const bool fits = chunk->used_bytes + size_bytes <= chunk_bytes_ &&
                    (chunk->used_bytes == 0 || chunk->stream == stream);
  if (!fits) {
    PREFIXD_RETURN_IF_ERROR(
        health_->Check(cudaEventRecord(chunk->copied.get(), chunk->stream), "recording an event"));
    current_ = (current_ + 1) % kChunks;
    chunk = &chunks_[current_];
    if (chunk->used_bytes > 0) {
      PREFIXD_RETURN_IF_ERROR(
          health_->Check(cudaEventSynchronize(chunk->copied.get()), "waiting for a copy"));
    }
    chunk->used_bytes = 0;
  }
  std::byte* const data = chunk->host.data() + chunk->used_bytes;
  chunk->used_bytes += (size_bytes + 63) / 64 * 64;
  chunk->stream = stream;
  return data;
}

absl::Status Transfers::In(const DeviceRows& to, Convert write) {
  PREFIXD_RETURN_IF_ERROR(health_->status());
  return ForPieces(to, [&](const Piece& piece) {
    const int64_t width = piece.num_cols * to.element_bytes;
    PREFIXD_ASSIGN_OR_RETURN(std::byte* const host, Take(width * piece.num_rows));
    for (int64_t r = 0; r < piece.num_rows; ++r) {
      write(piece.row + r, piece.col, piece.num_cols, host + r * width);
    }
    std::byte* const device = to.data + piece.row * to.stride_bytes + piece.col * to.element_bytes;
    return health_->Check(
        cudaMemcpy2DAsync(device, to.stride_bytes, host, width, width, piece.num_rows,
                          cudaMemcpyHostToDevice, queues_->current()),
        "copying to the device");
  });
}

absl::Status Transfers::Out(const DeviceRows& from, Convert read) {
  PREFIXD_RETURN_IF_ERROR(health_->status());
  return ForPieces(from, [&](const Piece& piece) {
    const int64_t width = piece.num_cols * from.element_bytes;
    PREFIXD_ASSIGN_OR_RETURN(std::byte* const host, Take(width * piece.num_rows));
    const std::byte* const device =
        from.data + piece.row * from.stride_bytes + piece.col * from.element_bytes;
    PREFIXD_RETURN_IF_ERROR(health_->Check(
        cudaMemcpy2DAsync(host, width, device, from.stride_bytes, width, piece.num_rows,
                          cudaMemcpyDeviceToHost, queues_->current()),
        "copying from the device"));
    PREFIXD_RETURN_IF_ERROR(
        health_->Check(cudaStreamSynchronize(queues_->current()), "waiting for the device"));
    for (int64_t r = 0; r < piece.num_rows; ++r) {
      read(piece.row + r, piece.col, piece.num_cols, host + r * width);
    }
    return absl::OkStatus();
  });
}

}  // namespace prefixd::cuda
