// StepLoop: KV budgets: what a request asks for, what it may hold, and what it is told of it
// (docs/retention.md).
#include <algorithm>
#include <cmath>
#include <limits>

#include "base/check.h"
#include "base/error.h"
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
  if (request->pins != nullptr || request->request.recompute_all ||
      request->request.sampling.num_beams > 1) {
    return absl::OkStatus();
  }
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
  if (request->whole_prompt && request->request.retention.scope) {
    return MakeError(absl::StatusCode::kFailedPrecondition, reason::kFeatureUnsupported,
                     "retention.scope SHARED: the tokens of this model's prompt see each other, so "
                     "that no part of it can be shared",
                     {{"field", "retention.scope"}});
  }
  int32_t boundary = request->prefix_rows;
  if (boundary == 0 && !request->prompt.images.empty() && !request->whole_prompt) {
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
  if (!retention.needs().prompt || !request->prompt.root_key || request->whole_prompt) return;
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
