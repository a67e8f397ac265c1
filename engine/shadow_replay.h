// Computes a request again at full KV, beside the output that it was served, and compares: the
// replays of the quality guard (docs/retention.md). Runs only while the engine is idle, a piece at
// a time, and gives its KV back when work arrives. Reads and feeds no cache of KV; nothing it
// computes is ever shared. Because a row's bits do not depend on how rows are cut into steps, it
// sees exactly what a run with full KV would have seen. Engine thread only.
#ifndef PREFIXD_ENGINE_SHADOW_REPLAY_H_
#define PREFIXD_ENGINE_SHADOW_REPLAY_H_

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "cache/kv_cache.h"
#include "engine/backend/backend.h"
#include "engine/models/model.h"
#include "engine/prompt/prompt.h"
#include "engine/quality_guard.h"

namespace prefixd {

// What was served at one place of the output.
struct ServedToken {
  int32_t token = 0;
  float logprob = 0;        // Of the token.
  int32_t most_likely = 0;  // The token ranked first.
};

struct ServedOutput {
  int32_t tenant = 0;
  Prompt prompt;
  std::vector<ServedToken> tokens;  // Not empty.
};

class ShadowReplay {
 public:
  static constexpr size_t kMaxQueued = 16;  // More are dropped: the guard only samples.

  // All must outlive it. `limits`: those that the model was loaded with.
  ShadowReplay(Backend* backend, Model* model, KvPool* pool, KvCache* cache,
               const ModelLimits& limits)
      : backend_(*backend), model_(*model), pool_(*pool), cache_(*cache), limits_(limits) {}

  // Returns false if the queue is full.
  bool Add(ServedOutput output);
  bool has_work() const { return !queue_.empty(); }
  // Drops what is queued. Returns the number.
  size_t Clear();

  // Computes one more piece: a few tower steps or rows. Returns the comparison when a replay is
  // complete, nullopt before. Errors: the replay is given up; also for want of pages.
  absl::StatusOr<std::optional<GuardComparison>> Step();

  // Gives its KV back; the replay at hand begins again.
  void Yield();

 private:
  int32_t num_rows() const;
  absl::Status EncodeSome(size_t image);
  absl::Status ComputeRows(int32_t count);
  absl::Status Compare(int32_t first_row, int32_t num_logits);
  void Finish();

  Backend& backend_;
  Model& model_;
  KvPool& pool_;
  KvCache& cache_;
  const ModelLimits limits_;
  std::deque<ServedOutput> queue_;

  // Of the front of the queue.
  std::optional<KvSequence> kv_;
  std::vector<OwnedTensor> features_;  // Of its first images.
  std::unique_ptr<ImageEncoding> encoding_;
  GuardComparison comparison_;

  OwnedTensor logits_;
  std::vector<float> host_logits_;
};

}  // namespace prefixd

#endif  // PREFIXD_ENGINE_SHADOW_REPLAY_H_
