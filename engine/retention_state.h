// What a KV budget means for one request, fixed when it was accepted, and how far it has come.
// Engine thread only.
#ifndef PREFIXD_ENGINE_RETENTION_STATE_H_
#define PREFIXD_ENGINE_RETENTION_STATE_H_

#include <algorithm>
#include <cstdint>
#include <optional>
#include <vector>

#include "base/planted_bug.h"
#include "cache/content.h"
#include "cache/retention/policy.h"
#include "cache/retention/recipe.h"
#include "engine/request.h"
#include "engine/tensor/tensor.h"

namespace prefixd {

struct RetentionState {
  RetentionScope scope = RetentionScope::kOff;
  RetentionRecipe recipe;
  bool default_budget = false;  // The request named none.
  uint64_t raises_before = 0;   // Of default budgets, when it was accepted.

  // The selection is made from rows [0, boundary), once they are computed: the whole prompt, or the
  // prefix that a snapshot is made of.
  int32_t boundary = 0;
  // Of the snapshot to start from and to store; unset: none.
  std::optional<ContentKey> snapshot_key;
  ContentKey recipe_digest{};
  // Rows at which a piece of prefill ends, so that scores can be stored there: ascending.
  std::vector<int32_t> checkpoints;

  bool selected = false;              // The KV at hand is what the selection left.
  std::vector<double> forget_ratios;  // By layer, then.
  int64_t selection_pages = 0;        // Most pages that the selection takes beside the prompt's.
  int64_t pages_before = 0;           // ActiveRequest::max_pages until then.
  RetentionReceipt receipt;

  bool on() const { return scope != RetentionScope::kOff; }
  ScoreNeeds needs() const { return on() ? recipe.policy->needs() : ScoreNeeds{}; }
  // Whether attention is added up now, and over which queries: those from first_summed() on.
  bool scores_prompt() const { return !selected && needs().any(); }
  int32_t first_summed() const {
    return needs().window > 0 ? std::max(0, boundary - needs().window) : 0;
  }
  // Whether what it takes from the prefix index must come with scores.
  bool needs_stored_scores() const { return !selected && needs().prompt; }

  // Where a piece of prefill from `row` on ends at the latest.
  int32_t NextStop(int32_t row) const {
    const bool ends = !selected && boundary > row && !PREFIXD_PLANTED(kPieceCrossesBoundary);
    int32_t stop = ends ? boundary : INT32_MAX;
    const auto next = std::upper_bound(checkpoints.begin(), checkpoints.end(), row);
    if (!selected && next != checkpoints.end()) stop = std::min(stop, *next);
    return stop;
  }
};

// Attention sums of one sequence by layer and slot, in the backend's memory.
struct SlotScores {
  OwnedTensor sums;            // [num_layers, slots]; empty: nothing is added up.
  std::vector<Tensor> layers;  // Its rows, at fixed addresses.
  int32_t num_rows = 0;        // Tokens whose queries are in it.

  bool empty() const { return layers.empty(); }
};

}  // namespace prefixd

#endif  // PREFIXD_ENGINE_RETENTION_STATE_H_
