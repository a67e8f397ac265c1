// StepLoop: KV budgets, from the request to the drops while decoding (docs/retention.md).
#include <algorithm>
#include <cmath>
#include <limits>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/error.h"
#include "base/log.h"
#include "base/planted_bug.h"
#include "base/status_macros.h"
#include "engine/error_reasons.h"
#include "engine/step_loop.h"

namespace prefixd {
namespace {

int32_t FloorToPage(int32_t rows) { return rows / kSlotsPerPage * kSlotsPerPage; }

int64_t CeilDiv(int64_t n, int64_t d) { return (n + d - 1) / d; }

bool DropsOldest(const RetentionState& retention) {
  return retention.recipe.policy->victim_rule() == VictimRule::kOldest;
}

bool NeverDrops(const RetentionState& retention) {
  return retention.recipe.policy->victim_rule() == VictimRule::kNone;
}

// Where drops begin in a layer that holds `length` slots at the end of the prompt.
int32_t FirstDroppable(const RetentionState& retention, int32_t length) {
  if (!DropsOldest(retention)) return std::numeric_limits<int32_t>::max();
  return retention.recipe.policy->FirstDroppable(retention.recipe, length);
}

// Most pages of a snapshot that stay beside their copies: the suffix and drops write to them all.
int64_t SnapshotPages(const RetentionState& retention) {
  return retention.snapshot_key ? retention.selection_pages : 0;
}

// Most slots that a layer ever holds, from `length` at the end of the prompt on.
int64_t MostSlots(const RetentionState& retention, const LayerBudget& budget, int32_t length,
                  int64_t prompt_rows, int64_t new_tokens) {
  if (NeverDrops(retention)) return length + new_tokens;
  const int64_t seen = prompt_rows + new_tokens - budget.seen_before;
  const double allowed = budget.offset + static_cast<double>(seen) * (1.0 - budget.forget_ratio);
  int64_t most = std::max<int64_t>(length + 1, static_cast<int64_t>(std::ceil(allowed)) + 2);
  if (DropsOldest(retention)) {
    most = std::max(most, int64_t{budget.first_droppable} + 1);
  } else {
    most =
        std::max(most, int64_t{retention.recipe.start_size} + 2);  // Neither those nor the newest.
  }
  return std::min<int64_t>(most, length + new_tokens);
}

}  // namespace

// --- Arrival -------------------------------------------------------------------------------------

absl::Status StepLoop::PrepareRetention(ActiveRequest* request) {
  if (request->pins != nullptr) return absl::OkStatus();
  PREFIXD_ASSIGN_OR_RETURN(
      request->retention,
      options_.retention->Resolve(request->request.retention,
                                  options_.tenants[request->tenant].retention, budget_raise()));
  RetentionState& retention = request->retention;
  if (!retention.on()) return absl::OkStatus();
  retention.raises_before = guard_.raises();
  request->guarded = retention.default_budget && retention.recipe.budget < 1.0 && guard_.Sample();
  PREFIXD_RETURN_IF_ERROR(SetBoundary(request));
  SetCheckpoints(request);
  const int64_t kept =
      retention.recipe.policy->MaxKept(retention.recipe, cache_.num_layers(), retention.boundary);
  retention.selection_pages = std::min(cache_.PagesForTokens(retention.boundary),
                                       CeilDiv(kept, kSlotsPerPage) + cache_.num_layers());
  return absl::OkStatus();
}

// The end of the named prefix, else of the first image (docs/decisions.md, rule 18).
absl::Status StepLoop::SetBoundary(ActiveRequest* request) const {
  RetentionState& retention = request->retention;
  retention.boundary = request->prompt_rows();
  if (retention.scope == RetentionScope::kExact) return absl::OkStatus();
  int32_t boundary = request->prefix_rows;
  if (boundary == 0 && !request->prompt.images.empty()) {
    boundary = request->prompt.images[0].row_end();
  }
  if (boundary > 0 && boundary < request->prompt_rows()) {
    retention.boundary = boundary;
    if (request->prompt.root_key) {
      retention.snapshot_key = SnapshotKey(SnapshotSpecOf(*request));
    }
    return absl::OkStatus();
  }
  if (!request->request.retention.scope) {
    // Nobody asked for this request to share.
    retention.scope = retention.receipt.scope = RetentionScope::kExact;
    return absl::OkStatus();
  }
  return MakeError(absl::StatusCode::kFailedPrecondition, reason::kFeatureUnsupported,
                   boundary == 0
                       ? "retention.scope SHARED needs a named prefix or an image to share"
                       : "retention.scope SHARED needs text after the prefix or image it shares",
                   {{"field", "retention.scope"}});
}

// The last page boundaries of the images and of all; scores are stored there.
void StepLoop::SetCheckpoints(ActiveRequest* request) const {
  RetentionState& retention = request->retention;
  if (!retention.needs().prompt || !request->prompt.root_key) return;
  std::vector<int32_t>& checkpoints = retention.checkpoints;
  for (const PromptImage& image : request->prompt.images) {
    if (image.row_end() <= retention.boundary) checkpoints.push_back(FloorToPage(image.row_end()));
  }
  checkpoints.push_back(FloorToPage(retention.boundary));
  // The last row is computed even when the same prompt comes again.
  checkpoints.push_back(FloorToPage(retention.boundary - 1));
  std::sort(checkpoints.begin(), checkpoints.end());
  checkpoints.erase(std::unique(checkpoints.begin(), checkpoints.end()), checkpoints.end());
  std::erase(checkpoints, 0);
}

// An upper bound, before the counts of the layers are known: the prompt with what the selection
// takes beside it, or all choices at their longest.
int64_t StepLoop::PagesUnderBudget(const ActiveRequest& request, int64_t new_tokens) const {
  const RetentionState& retention = request.retention;
  const int64_t layers = cache_.num_layers();
  const int64_t kept =
      retention.recipe.policy->MaxKept(retention.recipe, cache_.num_layers(), retention.boundary);
  const int64_t suffix = request.prompt_rows() - retention.boundary;
  const int64_t selecting = cache_.PagesForTokens(retention.boundary) + retention.selection_pages;
  int64_t slots = kept + layers * suffix;
  if (NeverDrops(retention)) {
    slots += layers * new_tokens;
  } else {
    const double growth = static_cast<double>(kept) / retention.boundary;
    slots += static_cast<int64_t>(std::ceil(growth * static_cast<double>(new_tokens)));
    slots += layers * (4 + std::max(0, retention.recipe.distance));
  }
  slots = std::min(slots, layers * (request.prompt_rows() + new_tokens));
  const int64_t one = CeilDiv(slots, kSlotsPerPage) + layers;
  return std::max(selecting, one * request.request.output.num_choices + SnapshotPages(retention));
}

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
  if (cache_.index().scores(kv.pin().node()) != nullptr) return absl::OkStatus();
  PREFIXD_CHECK(kv.num_shared_columns() * kSlotsPerPage == rows);
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

// The prompt is complete: layers grow by their budgets from here on, so that the most that they
// hold is known (docs/decisions.md, rules 15 and 18).
void StepLoop::BeginDrops(ActiveRequest* request) {
  RetentionState& retention = request->retention;
  if (!retention.on()) return;
  PREFIXD_CHECK(retention.selected);
  KvSequence* const kv = &request->first().kv;
  const bool shared =
      retention.scope == RetentionScope::kShared && !PREFIXD_PLANTED(kSuffixIsDropped);
  std::vector<LayerBudget> budgets;
  int64_t pages = 0;
  for (int i = 0; i < cache_.num_layers(); ++i) {
    const int32_t length = kv->layer(i).length();
    budgets.push_back({.forget_ratio = retention.forget_ratios[i],
                       .offset = shared ? static_cast<double>(length) : 0.0,
                       .seen_before = shared ? request->prompt_rows() : 0,
                       .first_droppable = FirstDroppable(retention, length)});
    pages += CeilDiv(MostSlots(retention, budgets.back(), length, request->prompt_rows(),
                               request->max_new_tokens),
                     kSlotsPerPage);
  }
  if (!NeverDrops(retention)) cache_.BeginDrops(std::move(budgets), kv);
  retention.pages_before = request->max_pages;
  request->max_pages = std::min(
      request->max_pages, pages * request->request.output.num_choices + SnapshotPages(retention));
}

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
    if (PREFIXD_PLANTED(kReplaySkipsDrops) && sequence->was_sent()) continue;
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

// --- What is told --------------------------------------------------------------------------------

int64_t StepLoop::DroppedSlots(const ActiveRequest& request) const {
  const RetentionReceipt& receipt = request.retention.receipt;
  int64_t dropped = request.choices.empty() ? 0 : request.first().drops;
  for (const int32_t kept : receipt.kept_tokens) dropped += receipt.selected_from - kept;
  return dropped;
}

RetentionReceipt StepLoop::RetentionReceiptOf(const ActiveRequest& request) const {
  RetentionReceipt receipt = request.retention.receipt;
  for (const auto& choice : request.choices) receipt.decode_drops += choice->drops;
  receipt.saved_kv_bytes =
      static_cast<uint64_t>(DroppedSlots(request)) * options_.page_bytes / kSlotsPerPage;
  return receipt;
}

void StepLoop::AddToRetentionTotals(const ActiveRequest& request) {
  if (!request.started) return;  // It was refused: nothing ran.
  const RetentionReceipt receipt = RetentionReceiptOf(request);
  RetentionStats& totals = retention_totals_;
  ++totals.requests[static_cast<size_t>(receipt.scope)];
  totals.decode_drops += static_cast<uint64_t>(receipt.decode_drops);
  totals.saved_kv_bytes += receipt.saved_kv_bytes;
  if (receipt.kept_tokens.empty()) return;
  totals.kept_tokens.resize(receipt.kept_tokens.size());
  for (size_t i = 0; i < receipt.kept_tokens.size(); ++i) {
    totals.kept_tokens[i] += static_cast<uint64_t>(receipt.kept_tokens[i]);
  }
  totals.selected_from += static_cast<uint64_t>(receipt.selected_from);
  totals.score_mass += receipt.score_mass;
  ++totals.selections;
}

void StepLoop::FillRetentionStats(RetentionStats* stats) const {
  *stats = retention_totals_;
  stats->kept_tokens.resize(static_cast<size_t>(cache_.num_layers()));
  const SnapshotStore& snapshots = cache_.snapshots();
  stats->snapshot_hits = snapshots.counters().hits;
  stats->snapshot_misses = snapshots.counters().misses;
  stats->snapshots_made = snapshots.counters().made;
  stats->snapshots_evicted = snapshots.counters().evicted;
  stats->snapshots = snapshots.size();
  stats->snapshot_pages = snapshots.num_pages();
  stats->score_bytes = cache_.index().score_bytes();
  stats->guard_sampled = guard_.sampled();
  stats->guard_replayed = guard_.replayed();
  stats->guard_dropped = replays_dropped_;
  stats->guard_agreement = guard_.agreement();
  stats->guard_logprob_drift = guard_.drift();
  stats->guard_raises = guard_.raises();
  stats->default_budget = std::min(1.0, *options_.retention->defaults().budget + budget_raise());
}

}  // namespace prefixd
