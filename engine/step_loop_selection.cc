// StepLoop: KV budgets carried out: scores, the selection, and what follows from it while decoding.
#include <algorithm>

#include "base/check.h"
#include "base/error.h"
#include "base/log.h"
#include "base/planted_bug.h"
#include "base/status_macros.h"
#include "engine/error_reasons.h"
#include "engine/step_loop.h"

namespace prefixd {

// --- Scores --------------------------------------------------------------------------------------

void StepLoop::PrepareScores() {
  for (const PrefillPiece& piece : plan_.prefills) {
    if (!piece.request->retention.scores_prompt()) continue;
    const absl::Status status = EnsureScores(piece.request);
    if (!status.ok()) FailBudget(piece.request, status);
  }
  const auto ended = [](const auto& piece) { return piece.request->ended; };
  std::erase_if(plan_.prefills, ended);
  std::erase_if(plan_.images, ended);
}

void StepLoop::FailBudget(ActiveRequest* request, const absl::Status& status) {
  PREFIXD_LOG(kError, "the KV budget of a request failed: ", status.message());
  Fail(request, MakeError(absl::StatusCode::kInternal, reason::kEngineFailed,
                          "the KV budget of the request could not be carried out"));
}

// Those of the rows that are in the KV; where rows came from the index, as they are stored there.
absl::Status StepLoop::EnsureScores(ActiveRequest* request) {
  Sequence& first = request->first();
  const ScoreNeeds needs = request->retention.needs();
  if (first.scores.empty()) {
    const int32_t decode = needs.decode ? request->max_new_tokens : 0;
    PREFIXD_ASSIGN_OR_RETURN(first.scores,
                             compressor_.NewScores(request->retention.boundary + decode));
  }
  const int32_t rows = first.kv.next_position();
  if (!needs.prompt || first.scores.num_rows == rows) return absl::OkStatus();
  if (rows > 0 && !PREFIXD_PLANTED(kHitBeyondScores)) {
    const ScoreSums& stored = cache_.index().scores(first.kv.pin().node());
    PREFIXD_CHECK(stored != nullptr);
    PREFIXD_RETURN_IF_ERROR(compressor_.Write(*stored, rows, &first.scores));
  }
  first.scores.num_rows = rows;
  return absl::OkStatus();
}

absl::Status StepLoop::AfterPiece(const PrefillPiece& piece) {
  ActiveRequest* const request = piece.request;
  RetentionState& retention = request->retention;
  if (!retention.on() || retention.selected || request->ended) return absl::OkStatus();
  PREFIXD_RETURN_IF_ERROR(StoreScores(request));
  if (request->first().kv.next_position() < retention.boundary) return absl::OkStatus();
  return Select(request);
}

absl::Status StepLoop::StoreScores(ActiveRequest* request) {
  const KvSequence& kv = request->first().kv;
  const std::vector<int32_t>& checkpoints = request->retention.checkpoints;
  const int32_t rows = kv.next_position();
  if (!std::binary_search(checkpoints.begin(), checkpoints.end(), rows)) return absl::OkStatus();
  // A choice that had finished carries the prompt for the others unpublished.
  if (kv.num_shared_columns() * kSlotsPerPage != rows) return absl::OkStatus();
  if (cache_.index().scores(kv.pin().node()) != nullptr) return absl::OkStatus();
  PREFIXD_ASSIGN_OR_RETURN(std::vector<float> sums,
                           compressor_.Read(request->first().scores, rows));
  cache_.AttachScores(kv, std::make_shared<const std::vector<float>>(std::move(sums)));
  return absl::OkStatus();
}

// --- The selection -------------------------------------------------------------------------------

absl::Status StepLoop::Select(ActiveRequest* request) {
  RetentionState& retention = request->retention;
  Sequence& first = request->first();
  const RetentionRecipe& recipe = retention.recipe;
  std::vector<float> scores;
  if (retention.needs().any()) {
    PREFIXD_ASSIGN_OR_RETURN(scores, compressor_.Read(first.scores, retention.boundary));
  }
  const bool shared = retention.scope == RetentionScope::kShared;
  const std::vector<LayerSelection> selection =
      recipe.policy->Select(recipe, {.num_layers = cache_.num_layers(),
                                     .num_tokens = retention.boundary,
                                     .scores = scores,
                                     .seed = shared ? 0 : request->seed});
  TakeSelection(selection, scores, request);
  PREFIXD_RETURN_IF_ERROR(compressor_.Compress(selection, &first.kv));
  if (retention.needs().decode) {
    PREFIXD_RETURN_IF_ERROR(CompactScores(scores, request));
  } else {
    first.scores = {};
  }
  if (!retention.snapshot_key) return absl::OkStatus();
  cache_.StoreSnapshot(*retention.snapshot_key, SnapshotSpecOf(*request),
                       {.num_tokens = retention.boundary,
                        .forget_ratios = retention.forget_ratios,
                        .score_mass = retention.receipt.score_mass},
                       &first.kv);
  return absl::OkStatus();
}

void StepLoop::TakeSelection(const std::vector<LayerSelection>& selection,
                             absl::Span<const float> scores, ActiveRequest* request) {
  RetentionState& retention = request->retention;
  RetentionReceipt& receipt = retention.receipt;
  const PromptScores prompt{
      .num_layers = cache_.num_layers(), .num_tokens = retention.boundary, .scores = scores};
  retention.selected = true;
  retention.forget_ratios.clear();
  receipt.selected_from = retention.boundary;
  receipt.kept_tokens.clear();
  double mass = 0;
  for (int i = 0; i < cache_.num_layers(); ++i) {
    retention.forget_ratios.push_back(selection[i].forget_ratio);
    receipt.kept_tokens.push_back(static_cast<int32_t>(selection[i].kept.size()));
    mass += scores.empty() ? 1.0 : ScoreMass(prompt.layer(i), selection[i].kept);
  }
  receipt.score_mass = mass / cache_.num_layers();
}

// What the next tokens' queries are added to: the scores of the kept slots.
absl::Status StepLoop::CompactScores(absl::Span<const float> scores, ActiveRequest* request) {
  Sequence& first = request->first();
  const size_t boundary = static_cast<size_t>(request->retention.boundary);
  const size_t slots = static_cast<size_t>(first.kv.layer(0).length());
  std::vector<float> kept(slots * static_cast<size_t>(cache_.num_layers()));
  for (int i = 0; i < cache_.num_layers(); ++i) {
    const absl::Span<const int32_t> positions = first.kv.layer(i).positions();
    PREFIXD_CHECK(positions.size() == slots);
    for (size_t s = 0; s < slots; ++s) {
      kept[static_cast<size_t>(i) * slots + s] =
          scores[static_cast<size_t>(i) * boundary + static_cast<size_t>(positions[s])];
    }
  }
  PREFIXD_ASSIGN_OR_RETURN(
      first.scores,
      compressor_.NewScores(static_cast<int32_t>(boundary + request->max_new_tokens)));
  return compressor_.Write(kept, static_cast<int32_t>(slots), &first.scores);
}

// The request starts from a snapshot: what a receipt says of it.
void StepLoop::NoteSnapshot(ActiveRequest* request) {
  RetentionState& retention = request->retention;
  const KvSequence& kv = request->first().kv;
  if (!retention.selected || !kv.snapshot()) return;
  retention.forget_ratios = kv.snapshot()->forget_ratios;
  // After preemption it may be its own.
  if (retention.receipt.selected_from == 0) retention.receipt.snapshot_hit = true;
  retention.receipt.selected_from = retention.boundary;
  retention.receipt.score_mass = kv.snapshot()->score_mass;
  retention.receipt.kept_tokens.clear();
  for (int i = 0; i < cache_.num_layers(); ++i) {
    retention.receipt.kept_tokens.push_back(kv.layer(i).length());
  }
}

// --- Decoding ------------------------------------------------------------------------------------

absl::Status StepLoop::ForkChoices(ActiveRequest* request) {
  const Sequence& first = request->first();
  for (size_t i = 1; i < request->choices.size(); ++i) {
    Sequence* const choice = request->choices[i].get();
    if (choice->finished) continue;
    choice->kv = cache_.Fork(first.kv);
    choice->most_rows = std::max(choice->most_rows, first.kv.next_position());
    if (first.scores.empty()) continue;
    const int32_t slots = static_cast<int32_t>(first.scores.sums.view.cols);
    PREFIXD_ASSIGN_OR_RETURN(const std::vector<float> sums, compressor_.Read(first.scores, slots));
    PREFIXD_ASSIGN_OR_RETURN(choice->scores, compressor_.NewScores(slots));
    PREFIXD_RETURN_IF_ERROR(compressor_.Write(sums, slots, &choice->scores));
  }
  return absl::OkStatus();
}

void StepLoop::DropAfterDecode() {
  for (const DecodeRow& decode : plan_.decodes) {
    const RetentionState& retention = decode.request->retention;
    if (!retention.on() || decode.request->ended) continue;
    Sequence* const sequence = decode.sequence;
    if (PREFIXD_PLANTED(kReplaySkipsDrops) && sequence->was_sent(sequence->generated.size()))
      continue;
    const absl::StatusOr<int32_t> dropped =
        compressor_.Drop(retention.recipe, sequence->scores, &sequence->kv);
    if (dropped.ok()) {
      sequence->drops += *dropped;
    } else {
      FailBudget(decode.request, dropped.status());
    }
  }
}

// After preemption: the prompt at full KV, the same selection, then the same tokens one by one
// (docs/decisions.md, rule 12).
void StepLoop::RewindUnderBudget(ActiveRequest* request) {
  RetentionState& retention = request->retention;
  for (const auto& choice : request->choices) {
    if (!choice->finished) choice->Rewind(request->prompt.token_ids);
  }
  if (retention.pages_before > 0) request->max_pages = retention.pages_before;
  retention.pages_before = 0;
  retention.selected = false;
}

}  // namespace prefixd
