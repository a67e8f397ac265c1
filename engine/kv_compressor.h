// Carries out what a retention policy decides: reads scores from the backend, moves the kept slots
// into private pages layer by layer, and hands old slots to new tokens. Engine thread only.
#ifndef PREFIXD_ENGINE_KV_COMPRESSOR_H_
#define PREFIXD_ENGINE_KV_COMPRESSOR_H_

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "cache/kv_cache.h"
#include "cache/retention/policy.h"
#include "engine/backend/backend.h"
#include "engine/retention_state.h"

namespace prefixd {

class KvCompressor {
 public:
  // All must outlive it.
  KvCompressor(Backend* backend, KvPool* pool, KvCache* cache)
      : backend_(*backend), pool_(*pool), cache_(*cache) {}

  // Zeroed scores of `slots` slots. Errors: RESOURCE_EXHAUSTED.
  absl::StatusOr<SlotScores> NewScores(int32_t slots) const;
  // [num_layers][slots], host memory. Waits.
  absl::StatusOr<std::vector<float>> Read(const SlotScores& scores, int32_t slots) const;
  // Overwrites the first slots: values [num_layers][slots].
  absl::Status Write(const std::vector<float>& values, int32_t slots, SlotScores* scores) const;

  // Leaves of every layer what `selection` keeps. Afterwards the sequence is compressed and stands
  // outside the index. Requires: the pages are reserved, no copy is pending.
  absl::Status Compress(const std::vector<LayerSelection>& selection, KvSequence* sequence);

  // After a decode step: hands on what is over budget. Returns the number of slots.
  // kLowestScore: `scores` are the sequence's.
  absl::StatusOr<int32_t> Drop(const RetentionRecipe& recipe, const SlotScores& scores,
                               KvSequence* sequence);

 private:
  absl::Status CompressLayer(int layer, const LayerSelection& selection, KvSequence* sequence);
  absl::StatusOr<int32_t> LowestSlot(const RetentionRecipe& recipe, const SlotScores& scores,
                                     const KvSequence& sequence) const;

  Backend& backend_;
  KvPool& pool_;
  KvCache& cache_;
  std::vector<int32_t> sources_, first_source_;  // Scratch.
};

}  // namespace prefixd

#endif  // PREFIXD_ENGINE_KV_COMPRESSOR_H_
