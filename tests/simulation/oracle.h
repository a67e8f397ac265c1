// What a request must get, from its own input alone: no pages, no batch, no sharing, no time. The
// plain reference that streams and KV are compared with. Of the engine it uses the sampler only,
// whose own tests are elsewhere.
#ifndef PREFIXD_TESTS_SIMULATION_ORACLE_H_
#define PREFIXD_TESTS_SIMULATION_ORACLE_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "engine/request.h"
#include "engine/backend/host_draw.h"
#include "engine/sampler.h"
#include "tests/simulation/budget.h"
#include "tests/simulation/chain.h"
#include "tests/simulation/scenario.h"

namespace prefixd::simulation {

// The parameters that a spec's few numbers stand for.
SamplingParams SamplingOf(const RequestSpec& spec);
StoppingParams StoppingOf(const RequestSpec& spec);
// Token `id` of the simulation's alphabet.
inline char LetterOf(int64_t id) { return static_cast<char>('a' + id); }

class Oracle {
 public:
  struct Image {
    int32_t row_begin = 0;
    int64_t media = 0;
  };

  Oracle(const Config& config, const RequestSpec& spec);

  const std::vector<int32_t>& token_ids() const { return token_ids_; }  // One a row.
  const std::vector<Image>& images() const { return images_; }
  int32_t prompt_rows() const { return static_cast<int32_t>(token_ids_.size()); }
  ChainHash root() const { return root_; }

  // The cap in force: set by the request, or (it asked for none) by the core, once.
  int32_t max_new_tokens() const { return max_new_tokens_; }
  bool max_new_is_open() const { return spec_.max_tokens == 0; }
  // Largest cap that the core may choose.
  int32_t most_new_tokens() const;
  void set_max_new_tokens(int32_t count) { max_new_tokens_ = count; }

  // Pages that all choices hold in the end when nothing is shared with others; under a budget, that
  // it holds at some time, at the least and at the most that the core may count on.
  int64_t PagesFor(int64_t new_tokens) const;
  int64_t MostPagesFor(int64_t new_tokens) const;

  // The chain after position `position` of a choice; a position beyond the prompt is a generated
  // token that was fed.
  ChainHash Chain(int choice, int32_t position);
  ChainHash PromptChain(int32_t position) const {
    return prompt_chain_[static_cast<size_t>(position)];
  }

  // --- Under a KV budget. Rows before the boundary see everything.
  bool budgeted() const { return recipe_.has_value(); }
  RetentionScope scope() const { return scope_; }  // As it runs.
  // It must be refused: nothing to share, or nothing after it; or a policy that cannot share.
  bool cannot_share() const { return cannot_share_; }
  const RetentionRecipe& recipe() const { return *recipe_; }
  int32_t boundary() const { return boundary_; }        // All rows: no budget, or the whole prompt.
  int32_t prefix_rows() const { return prefix_rows_; }  // Of the prefix that it names.
  // Rows of the prompt, from the first one on, that may come from the prefix index.
  int32_t MatchableRows() const;
  // What its layers hold when the row at `row` has run. Requires: budgeted(), row >= boundary().
  const KeptLists& KeptAt(int choice, int32_t row);
  // What the selection left.
  const KeptLists& Selected();
  // The `index`-th token that a choice generates.
  int32_t Token(int choice, int32_t index);
  // Why the choice ends with its `index`-th token; nullopt: it goes on.
  std::optional<FinishReason> EndAfter(int choice, int32_t index);
  // The text of the first `count` tokens: all of it, and what a stop string leaves of it.
  std::string Text(int choice, int32_t count);

 private:
  struct Choice {
    std::vector<int32_t> tokens;
    std::vector<ChainHash> chain;   // After tokens[i] was fed.
    std::optional<KeptLists> kept;  // When the last of them was; unset: what the prompt left.
    TokenCounter counts;
  };

  void SetRetention();
  void FinishPrompt();
  ChainHash Feed(ChainHash before, int32_t token, Choice* choice);
  void Generate(int choice_index, Choice* choice);
  bool IsStopString(const Choice& choice, int32_t index) const;

  const Config config_;
  const RequestSpec spec_;
  const SamplingParams sampling_;
  const ChainHash root_;
  std::vector<int32_t> token_ids_;
  std::vector<Image> images_;
  std::vector<ChainHash> prompt_chain_;  // Of rows before the boundary, until FinishPrompt.
  std::vector<int64_t> prompt_values_;   // By row: a token, or -1 - the value of a feature.
  std::optional<RetentionRecipe> recipe_;
  RetentionScope scope_ = RetentionScope::kOff;
  bool cannot_share_ = false;
  int32_t boundary_ = 0, prefix_rows_ = 0;
  std::optional<KeptLists> kept_;  // When the prompt is complete.
  std::vector<Choice> choices_;
  int32_t max_new_tokens_ = 0;
  DrawScratch scratch_;
  std::vector<float> logits_;
};

}  // namespace prefixd::simulation

#endif  // PREFIXD_TESTS_SIMULATION_ORACLE_H_
