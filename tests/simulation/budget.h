// What a KV budget leaves of a request, as plain lists: no slots, no pages, no backend. The
// published definitions once more for PrefixKV, for the window of recent tokens and for drops while
// decoding (docs/decisions.md, rules 15, 16 and 18); what the other policies keep is asked of them,
// with scores that are computed here.
#ifndef PREFIXD_TESTS_SIMULATION_BUDGET_H_
#define PREFIXD_TESTS_SIMULATION_BUDGET_H_

#include <cstdint>
#include <optional>
#include <vector>

#include "absl/types/span.h"
#include "cache/retention/policy.h"
#include "engine/request.h"
#include "tests/simulation/chain.h"
#include "tests/simulation/scenario.h"

namespace prefixd::simulation {

// The parameters that a spec's few numbers stand for. Whoever asks for nothing says so.
RetentionParams RetentionOf(const RequestSpec& spec);
RetentionRecipe RecipeOf(const RequestSpec& spec);

// The layers of one choice after the selection. Rows come in order, from the boundary on.
class KeptLists {
 public:
  // Selects from rows whose chains are given. `seed`: for policies that draw.
  KeptLists(const RetentionRecipe& recipe, int num_layers, absl::Span<const ChainHash> chains,
            uint64_t seed);

  // What stands for the chain before the next row.
  ChainHash before() const { return ChainOfView(view_); }
  // The next row sees all that is left and itself, and stays.
  void Add(ChainHash chain);
  // The prompt is complete; with `shared` its rows after the boundary do not count.
  void BeginDrops(bool shared);
  // After a row that was decoded.
  void Drop();

  int32_t boundary() const { return boundary_; }
  // What the selection kept, by layer, and the share of the scores that this is.
  const std::vector<int32_t>& kept_tokens() const { return kept_tokens_; }
  double score_mass() const { return score_mass_; }
  // Whether the row at `row` sees `position`, and how many it sees. Requires: it was added; for
  // Sees, the one before is enough.
  bool Sees(int layer, int32_t row, int32_t position) const {
    return position <= row && row < layers_[layer].gone_at[position];
  }
  int32_t NumSeen(int layer, int32_t row) const { return layers_[layer].seen[row - boundary_]; }
  // What the slot of a position holds, if it was kept.
  ChainHash ChainAt(int layer, int32_t position) const { return layers_[layer].chains[position]; }
  // Slots dropped before this row, by all layers together. Requires: the row was added.
  int64_t DropsBefore(int32_t row) const { return drops_before_[row - boundary_]; }

 private:
  struct Token {
    int32_t position = 0;
    ChainHash chain = 0;
    int64_t score = 0;
  };
  struct Layer {
    std::vector<Token> kept;        // In order of position.
    std::vector<int32_t> gone_at;   // By position: the first row that does not see it.
    std::vector<ChainHash> chains;  // By position.
    std::vector<int32_t> seen;      // By row, from the boundary on.
    double forget_ratio = 0, offset = 0;
    size_t drop_at = 0;  // Index in `kept`.
  };

  void Delete(int layer, size_t index);
  // By how many tokens a layer is over its budget.
  int64_t Over(const Layer& layer) const;
  void DropLowestScore();

  const RetentionRecipe recipe_;
  const int32_t boundary_;
  int32_t next_;             // Position of the next row.
  int32_t seen_before_ = 0;  // Rows that do not count towards budgets.
  uint64_t view_ = 0;
  int64_t drops_ = 0;
  std::vector<int64_t> drops_before_;  // By row, from the boundary on.
  std::vector<Layer> layers_;
  std::vector<int32_t> kept_tokens_;
  double score_mass_ = 1.0;
};

}  // namespace prefixd::simulation

#endif  // PREFIXD_TESTS_SIMULATION_BUDGET_H_
