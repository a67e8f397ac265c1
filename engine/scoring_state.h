// The progress of a request that scores tokens instead of generating some. Engine thread only.
#ifndef PREFIXD_ENGINE_SCORING_STATE_H_
#define PREFIXD_ENGINE_SCORING_STATE_H_

#include <cstdint>
#include <limits>
#include <map>
#include <memory>
#include <optional>
#include <vector>

#include "engine/classify/token_trie.h"
#include "engine/classify/top_search.h"
#include "engine/classify/trie_walk.h"
#include "engine/request.h"

namespace prefixd {

struct ScoringState {
  explicit ScoringState(const ScoringParams& scoring, int32_t prompt_rows)
      : params(scoring),
        prompt_logprobs(scoring.prompt_logprobs ? static_cast<size_t>(prompt_rows) : 0,
                        std::numeric_limits<float>::quiet_NaN()) {}

  const ScoringParams params;

  // What the context's last row hands to the output head; empty: not computed yet.
  std::vector<float> context_state;

  // Candidates behind the one context. Null: there are none, or `uncached`.
  std::optional<TrieWalk> walk;
  bool root_scored = false;  // The first tokens of the candidates are.
  int32_t max_rows = 1;      // Of candidates in a step.
  int32_t num_slots = 0;     // Scratch slots behind the context.
  bool has_slots = false;    // They are in the sequence's KV.

  // recompute_all: candidate after candidate, each as one sequence with the context.
  bool uncached = false;
  size_t candidate = 0;
  std::vector<int32_t> path;    // Its nodes.
  std::vector<float> logprobs;  // By node.

  // Log-probs of the prompt's own tokens, by row; NaN: none, or not known yet.
  std::vector<float> prompt_logprobs;
  int32_t yielded_columns = 0;  // Shared columns whose yields were taken from the index or given.
  std::map<int32_t, std::vector<float>> column_states;  // By column: of its last row.

  ScoringReceipt receipt;

  bool has_candidates() const { return params.candidates != nullptr; }
  bool done() const { return !walk || (root_scored && walk->done()); }
  void SetPath(int32_t end) {
    path.clear();
    for (int32_t node = end; node > 0; node = params.candidates->node(node).parent) {
      path.insert(path.begin(), node);
    }
  }
  // The KV is lost.
  void Rewind() {
    if (walk) walk->Rewind();
    has_slots = false;
    yielded_columns = 0;
    column_states.clear();
  }
};

}  // namespace prefixd

#endif  // PREFIXD_ENGINE_SCORING_STATE_H_
