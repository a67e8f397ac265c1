// Executes StepPlans: tower steps, page copies, one ragged forward over all sequences, draws. The
// tokens of a step may be collected after the next one was launched (docs/decisions.md, rule 22).
// Engine thread only.
#ifndef PREFIXD_ENGINE_MODEL_RUNNER_H_
#define PREFIXD_ENGINE_MODEL_RUNNER_H_

#include <cstdint>
#include <deque>
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

// A token that was drawn.
struct SampledToken {
  ActiveRequest* request = nullptr;
  Sequence* sequence = nullptr;
  int32_t token = -1;  // -1: the logits were not finite.
  std::optional<LogprobEntry> logprobs;
  std::vector<BeamSearch::Candidate> candidates;  // Of a beam, instead of the token.
};

// What is known of a step when it is launched.
struct StepResult {
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

  // Queues the work of `plan` and moves the requests on: encodings, KV and the draws that are out.
  // At most in_flight() steps are launched and not collected.
  // Errors: the step failed as a whole; every planned request is lost.
  absl::Status Launch(const StepPlan& plan, StepResult* result);

  // Waits for the oldest step that was launched, and takes its tokens.
  // Errors: it failed as a whole.
  absl::Status Collect(std::vector<SampledToken>* samples);

  // What was launched for `sequence` is of no interest any more.
  void Forget(const Sequence* sequence);
  // Whose tokens are to be collected.
  std::vector<ActiveRequest*> Awaiting() const;

  int in_flight() const { return backend_->info().in_flight; }
  uint64_t launched_steps() const { return launched_steps_; }
  // Steps whose work on the backend is done; pages released in step t may be reused from here on.
  uint64_t completed_steps() const { return completed_steps_; }

 private:
  // Where a sequence draws from after the forward.
  struct SampleSource {
    ActiveRequest* request;
    Sequence* sequence;  // Null: forgotten.
    int32_t logits_row;
    bool wants_logprobs;  // For the client.
    bool watched;         // For the quality guard.
  };
  // A step that was launched and not collected.
  struct LaunchedStep {
    uint64_t number = 0;
    std::vector<SampleSource> sources;
    uint64_t ticket = 0;  // Of its draws, if it has sources.
  };

  // Log-probs that a state is asked for, and what they are of.
  struct TokenScore {
    enum class Kind {
      kChildren,  // The children of node `place` of the trie.
      kPrompt,    // Row `place` of the prompt.
      kPath,      // Node `place`, of a candidate that is computed with its context.
    };
    ActiveRequest* request;
    Kind kind;
    int32_t place;
    int32_t state;        // Row of states_.
    size_t begin, count;  // Ids in score_ids_.
  };
  // In the place of a row: the state is one that the host has, the next of given_states_.
  static constexpr int32_t kGiven = -1;
  // A state that the host keeps.
  struct KeptState {
    int32_t state;
    std::vector<float>* values;
  };
  // The rows of one trie as a segment.
  struct TreeRows {
    std::vector<int32_t> write_slots, path_begins, path_slots;
  };

  ModelRunner(Backend* backend, Model* model, KvPool* pool, KvCache* cache,
              const ModelLimits& limits, std::vector<int32_t> never_sampled);

  absl::Status Queue(const StepPlan& plan, StepResult* result);
  void RunImage(const ImagePiece& piece, StepResult* result);
  absl::Status StepImage(const ImagePiece& piece, StepResult* result);
  void BuildBatch(const StepPlan& plan);
  void AddDecode(const DecodeRow& decode);
  void AddPrefill(const PrefillPiece& piece);
  void AddFeatures(const PrefillPiece& piece, int32_t row_begin);
  // What batch rows [row_begin, row_begin + num_rows), which are rows of the request from `begin`
  // on, see through cross-attention.
  void AddMedia(const ActiveRequest& request, int32_t begin, int32_t num_rows, int32_t row_begin);

  // Scoring (model_runner_scoring.cc).
  void ClearScores();
  void AddScores(const ScorePiece& piece);
  void AddPrefillStates(const PrefillPiece& piece, int32_t begin, int32_t row_begin);
  void AddPromptScore(ActiveRequest* request, int32_t row, int32_t batch_row);
  // The place of a batch row's state. Requires: no later row has one.
  int32_t AddState(int32_t row);
  void AddChildren(ActiveRequest* request, int32_t node, int32_t state);
  void AddTokenScore(ActiveRequest* request, TokenScore::Kind kind, int32_t place, int32_t state,
                     int32_t id);
  // Of the ids from `begin` of score_ids_ on.
  void AddScoresOf(ActiveRequest* request, TokenScore::Kind kind, int32_t place, int32_t state,
                   size_t begin);
  // Computes what the states at hand are asked for. Waits.
  absl::Status ScoreTokens(StepResult* result);
  absl::Status ComputeLogprobs();
  void TakeScores(const TokenScore& score, absl::Span<const float> logprobs, StepResult* result);
  struct Attention {
    const SlotScores* scores = nullptr;  // Where attention is added up; null: nowhere.
    int32_t first_summed = 0;            // That of the rows from here on.
    int32_t visible_prefix = 0;          // See KvSegment.
  };
  void AddKv(KvSequence* kv, const Attention& attention, int32_t row_begin, int32_t num_rows);
  // A slot that was handed on begins without score.
  absl::Status ClearScoreOfFreeSlot(const DecodeRow& decode);
  absl::Status CopyPages();
  absl::Status Forward();
  // Padding rows that let a backend play a recording; they write nowhere.
  void PadDecodes(const StepPlan& plan);
  absl::Status DrawTokens();
  TokenDraw DrawFor(SampleSource* source);
  std::vector<BeamSearch::Candidate> CandidatesOf(const ActiveRequest& request,
                                                  const DrawnToken& drawn) const;
  void FinishPrefill(const PrefillPiece& piece);

  Backend* const backend_;
  Model* const model_;
  KvPool* const pool_;
  KvCache* const cache_;
  const ModelLimits limits_;
  const std::vector<int32_t> never_sampled_;

  OwnedTensor logits_;
  std::vector<TokenDraw> draws_;
  std::vector<DrawnToken> drawn_;
  std::deque<std::vector<int32_t>> suppressed_;  // Lists of their own of draws_.
  std::deque<LaunchedStep> launched_;            // Oldest first.
  uint64_t launched_steps_ = 0, completed_steps_ = 0;

  // The batch under construction; vectors keep their capacity from step to step.
  std::vector<int32_t> token_ids_, positions_, logit_rows_;
  std::vector<FeatureRows> features_;
  std::vector<MediaRows> media_;
  std::vector<SampleSource> sources_;
  std::vector<KvCache::Placement> placements_;            // By sequence of the batch.
  std::vector<std::vector<KvSegment>> segments_;          // [num_layers][sequence].
  std::vector<absl::Span<const KvSegment>> layer_spans_;  // [num_layers].
  std::vector<PageCopy> page_copies_;
  bool decodes_only_ = false;  // See ForwardInputs.

  // What the states of the step are asked for, in order of their rows in states_: those of the
  // forward pass, then those that the host had.
  OwnedTensor states_;  // [max_batch_rows + max_logit_rows, hidden_size].
  std::vector<int32_t> state_rows_;
  std::vector<const std::vector<float>*> given_states_;
  std::vector<std::shared_ptr<const ColumnYield>> given_yields_;  // That hold some of them.
  std::vector<TokenScore> token_scores_, given_scores_;
  std::vector<int32_t> score_ids_;
  std::vector<int32_t> pair_rows_, pair_ids_;
  std::vector<float> pair_logprobs_;
  std::vector<KeptState> kept_states_;
  std::vector<TreeRows> trees_;
  size_t num_trees_ = 0;
  size_t num_sequences_ = 0;
};

}  // namespace prefixd

#endif  // PREFIXD_ENGINE_MODEL_RUNNER_H_
