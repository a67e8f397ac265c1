#include "engine/backend/cuda/cuda_staging.h"

#include <bit>

#include "base/check.h"
#include "base/status_macros.h"
#include "engine/backend/cuda/cuda_bug.h"

namespace prefixd::cuda {

absl::StatusOr<std::unique_ptr<StagingRing>> StagingRing::Create(size_t block_bytes,
                                                                 CudaHealth* health,
                                                                 const CudaStreams* streams,
                                                                 const CudaQueues* queues,
                                                                 DeviceMemory* memory) {
  std::unique_ptr<StagingRing> ring(new StagingRing(health, streams, queues, memory));
  for (Block& block : ring->blocks_) {
    PREFIXD_ASSIGN_OR_RETURN(block.copied, CudaEvent::Create(health));
    PREFIXD_ASSIGN_OR_RETURN(block.read, CudaEvent::Create(health));
    PREFIXD_RETURN_IF_ERROR(ring->Grow(block_bytes, &block));
  }
  return ring;
}

absl::Status StagingRing::Grow(size_t size_bytes, Block* block) {
  block->device = Buffer();
  block->host = PinnedBuffer();
  const size_t rounded = std::bit_ceil(size_bytes);
  PREFIXD_ASSIGN_OR_RETURN(
      block->device, memory_->Allocate(rounded, DeviceMemory::Content::kUndefined, "staging"));
  auto host = PinnedBuffer::Create(rounded);
  if (!host.ok()) {
    block->device = Buffer();
    return host.status();
  }
  block->host = *std::move(host);
  // Memory comes from the compute stream.
  return health_->Check(cudaEventRecord(block->read.get(), streams_->compute()),
                        "recording an event");
}

absl::Status StagingRing::Seal(const Block& block) {
  return health_->Check(cudaEventRecord(block.read.get(), block.reader), "recording an event");
}

absl::StatusOr<int> StagingRing::NextBlock() {
  if (open_ >= 0) PREFIXD_RETURN_IF_ERROR(Seal(blocks_[open_]));
  open_ = -1;
  if (next_ == held_) next_ = (next_ + 1) % kBlocks;
  const int index = next_;
  next_ = (next_ + 1) % kBlocks;
  if (blocks_[index].used && !PREFIXD_CUDA_BUG(kReuseBeforeFence)) {
    PREFIXD_RETURN_IF_ERROR(health_->Check(cudaEventSynchronize(blocks_[index].copied.get()),
                                           "waiting for a staging block"));
  }
  return index;
}

absl::StatusOr<const std::byte*> StagingRing::Send(absl::Span<const std::byte> bytes, bool hold) {
  PREFIXD_RETURN_IF_ERROR(health_->status());
  PREFIXD_CHECK(!hold || held_ < 0);
  PREFIXD_ASSIGN_OR_RETURN(const int index, NextBlock());
  Block& block = blocks_[index];
  if (block.host.size_bytes() < bytes.size()) {
    PREFIXD_RETURN_IF_ERROR(Grow(bytes.size(), &block));
  }
  if (!bytes.empty()) std::memcpy(block.host.data(), bytes.data(), bytes.size());
  const cudaStream_t copy_in = streams_->copy_in();
  PREFIXD_RETURN_IF_ERROR(health_->Check(cudaStreamWaitEvent(copy_in, block.read.get(), 0),
                                         "waiting for a staging block"));
  if (!bytes.empty()) {
    PREFIXD_RETURN_IF_ERROR(
        health_->Check(cudaMemcpyAsync(block.device.data(), block.host.data(), bytes.size(),
                                       cudaMemcpyHostToDevice, copy_in),
                       "copying inputs"));
  }
  block.used = true;
  block.reader = queues_->current();
  PREFIXD_RETURN_IF_ERROR(streams_->Order(copy_in, block.reader, block.copied));
  (hold ? held_ : open_) = index;
  return block.device.data();
}

absl::Status StagingRing::Release() {
  if (held_ < 0) return absl::OkStatus();
  const int index = held_;
  held_ = -1;
  return Seal(blocks_[index]);
}

}  // namespace prefixd::cuda
