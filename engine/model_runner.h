// Executes one StepPlan: tower steps, page copies, one ragged forward over all sequences, sampling.
// Allocates nothing once warm. Engine thread only.
#ifndef PREFIXD_ENGINE_MODEL_RUNNER_H_
#define PREFIXD_ENGINE_MODEL_RUNNER_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "cache/kv_cache.h"
#include "engine/backend/backend.h"
#include "engine/models/model.h"
#include "engine/sampler.h"
#include "engine/scheduler.h"

namespace prefixd {

// One row of the sample buffer.
struct SampledToken {
  ActiveRequest* request = nullptr;
  Sequence* sequence = nullptr;
  int32_t token = -1;  // -1: the logits were not finite.
  std::optional<LogprobEntry> logprobs;
};

struct StepResult {
  std::vector<SampledToken> samples;
  std::vector<std::pair<ActiveRequest*, absl::Status>> failures;  // Of single requests.
  std::vector<std::pair<ActiveRequest*, Features>> features;      // Of encoding_image.
};

class ModelRunner {
 public:
  // All must outlive the runner. `never_sampled`: ids that no request may draw.
  static absl::StatusOr<std::unique_ptr<ModelRunner>> Create(Backend* backend, Model* model,
                                                             KvPool* pool, KvCache* cache,
                                                             const ModelLimits& limits,
                                                             std::vector<int32_t> never_sampled);

  // Runs `plan` to its end. Moves the requests on: encodings and KV.
  // Errors: the step failed as a whole; every planned request is lost.
  absl::Status Run(const StepPlan& plan, StepResult* result);

  // Steps whose work on the backend is done; pages released in step t may be reused from here on.
  uint64_t completed_steps() const { return completed_steps_; }

 private:
  // Where a sequence samples from after the forward.
  struct SampleSource {
    ActiveRequest* request;
    Sequence* sequence;
    int32_t logits_row;
  };

  ModelRunner(Backend* backend, Model* model, KvPool* pool, KvCache* cache,
              std::vector<int32_t> never_sampled);

  void RunImage(const ImagePiece& piece, StepResult* result);
  absl::Status StepImage(const ImagePiece& piece, StepResult* result);
  void BuildBatch(const StepPlan& plan);
  void AddDecode(const DecodeRow& decode);
  void AddPrefill(const PrefillPiece& piece);
  void AddFeatures(const PrefillPiece& piece, int32_t row_begin);
  // `scores`: where attention of the rows from `first_summed` on is added up; null: nowhere.
  void AddKv(KvSequence* kv, const SlotScores* scores, int32_t first_summed, int32_t row_begin,
             int32_t num_rows);
  // A slot that was handed on begins without score.
  absl::Status ClearScoreOfFreeSlot(const DecodeRow& decode);
  absl::Status CopyPages();
  absl::Status Forward();
  absl::Status SampleRows(StepResult* result);
  void SampleOne(const SampleSource& source, absl::Span<const float> logits, StepResult* result);
  void FinishPrefill(const PrefillPiece& piece);

  Backend* const backend_;
  Model* const model_;
  KvPool* const pool_;
  KvCache* const cache_;
  const std::vector<int32_t> never_sampled_;

  OwnedTensor logits_;
  std::vector<float> host_logits_;  // One row.
  SampleScratch scratch_;
  std::vector<int32_t> sample_buffer_;  // Tokens of the last step, by sample row.
  std::vector<int32_t> suppressed_;
  uint64_t completed_steps_ = 0;

  // The batch under construction; vectors keep their capacity from step to step.
  std::vector<int32_t> token_ids_, positions_, logit_rows_;
  std::vector<FeatureRows> features_;
  std::vector<SampleSource> sources_;
  std::vector<KvCache::Placement> placements_;            // By sequence of the batch.
  std::vector<std::vector<KvSegment>> segments_;          // [num_layers][sequence].
  std::vector<absl::Span<const KvSegment>> layer_spans_;  // [num_layers].
  std::vector<PageCopy> page_copies_;
  size_t num_sequences_ = 0;
};

}  // namespace prefixd

#endif  // PREFIXD_ENGINE_MODEL_RUNNER_H_
