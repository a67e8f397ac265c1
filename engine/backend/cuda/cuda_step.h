// The inputs of forward passes on the device. One staging block a step holds all of them; of the
// page tables it holds what changed. The inputs of a pass of decodes are copied on to fixed
// addresses, where a recording of the pass finds them.
//
// Threads: one caller at a time.
#ifndef PREFIXD_ENGINE_BACKEND_CUDA_CUDA_STEP_H_
#define PREFIXD_ENGINE_BACKEND_CUDA_CUDA_STEP_H_

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "engine/backend/backend.h"
#include "engine/backend/cuda/cuda_attention_plan.h"
#include "engine/backend/cuda/cuda_memory.h"
#include "engine/backend/cuda/cuda_staging.h"
#include "engine/backend/cuda/cuda_tables.h"
#include "engine/backend/cuda/kernels/split_attention.h"

namespace prefixd::cuda {

// The segments of one WriteKv or PagedAttention: the plan, and its arrays in device memory.
struct DeviceSegments {
  const AttentionPlan* plan = nullptr;
  AttentionRows rows;  // Of the whole call; max_visible may be more than the plan's.
  const int64_t* slots = nullptr;
  const RowTile* tiles = nullptr;
  RowGroups groups;
  const SummedRows* sums = nullptr;
  bool always_grouped = false;  // The launches are the same whether rows share pages or not.
};

// The most slots that the grids of a recorded pass cover, for rows that see `visible`.
int32_t VisibleBucket(int32_t visible);

class CudaStep {
 public:
  CudaStep(StagingRing* ring, DeviceMemory* memory, CudaHealth* health)
      : ring_(ring), memory_(memory), health_(health) {}

  // Brings the inputs of a pass to the device; they serve until End. Errors: RESOURCE_EXHAUSTED;
  // the pass has not begun then.
  absl::Status Begin(const ForwardInputs& inputs, const AttentionPlanOptions& options);
  absl::Status End();
  bool running() const { return running_; }
  // Of the running pass, if it is one of decodes.
  int32_t visible_bucket() const { return visible_bucket_; }

  // The device's copy of numbers that the pass was begun with; null: it was not. Ids are the pass's
  // token ids or equal to them, or its positions themselves.
  const int32_t* FindIds(absl::Span<const int32_t> ids) const;
  const int32_t* FindPositions(absl::Span<const int32_t> positions) const;
  // The same for the segments of a layer.
  const DeviceSegments* FindSegments(absl::Span<const KvSegment> segments) const;

  // Brings the segments of a call of its own to the device; they serve the work that is enqueued
  // before the next call of anything that sends.
  absl::StatusOr<const DeviceSegments*> SendSegments(absl::Span<const KvSegment> segments,
                                                     int64_t num_rows,
                                                     const AttentionPlanOptions& options);

 private:
  // Where the arrays of a plan lie in a pack.
  struct Offsets {
    size_t sequence, visible, position, slots, context, path_begin, paths, tiles, shared, leader,
        member_begin, member_count, members, sums;
  };
  static Offsets Add(const AttentionPlan& plan, HostPack* pack);
  static DeviceSegments At(const std::byte* base, const Offsets& offsets,
                           const AttentionPlan& plan);

  absl::Status SendInputs(const ForwardInputs& inputs, const AttentionPlanOptions& options);
  void Plan(const ForwardInputs& inputs, AttentionPlanOptions options);

  StagingRing* const ring_;
  DeviceMemory* const memory_;
  CudaHealth* const health_;
  PageTables tables_;
  TableDeltas deltas_;
  HostPack pack_;
  Scratch fixed_;  // The inputs of a pass of decodes.

  bool running_ = false;
  int32_t visible_bucket_ = 0;
  ForwardInputs inputs_;  // Of the running pass.
  const int32_t* token_ids_ = nullptr;
  const int32_t* positions_ = nullptr;
  std::vector<AttentionPlan> plans_;
  std::vector<Offsets> offsets_;
  std::vector<DeviceSegments> segments_;

  AttentionPlan call_plan_;  // Of SendSegments.
  DeviceSegments call_segments_;
  std::vector<int32_t> call_tables_;
};

}  // namespace prefixd::cuda

#endif  // PREFIXD_ENGINE_BACKEND_CUDA_CUDA_STEP_H_
