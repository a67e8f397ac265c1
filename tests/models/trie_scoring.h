// Names scored behind one context with a model's own calls: as a tree of rows, and one by one.
#ifndef PREFIXD_TESTS_MODELS_TRIE_SCORING_H_
#define PREFIXD_TESTS_MODELS_TRIE_SCORING_H_

#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "engine/classify/token_trie.h"
#include "engine/classify/trie_walk.h"
#include "tests/models/model_testing.h"

namespace prefixd::testing {

using Names = std::vector<std::vector<int32_t>>;

// How a trie's internal nodes go through the model.
struct TreeWay {
  int32_t max_rows = LoadedModel::kMaxRows;  // Of a call; calls are in preorder.
  bool slots_backwards = false;              // The first node has the last scratch slot.
  int32_t company = 0;                       // Rows of another sequence in front of each call.
};

class NameScorer {
 public:
  // Computes the context, which ends where the names begin, in one step. Of its pages those behind
  // it are scratch. `loaded` must outlive the scorer; neither it nor the scorer fails softly.
  NameScorer(LoadedModel* loaded, TestSequence context);

  // Log-probs by node, NaN for the root. All nodes are kept in scratch slots of their own.
  std::vector<float> Tree(const TokenTrie& trie, const TreeWay& way = {});
  // What `walk` of the trie chooses, until it is done; NaN also for what it left out.
  std::vector<float> Walk(const TokenTrie& trie, int32_t max_rows, TrieWalk* walk);

  // Log-probs by token, all names in a row: each name's tokens behind the context's slots in a
  // plain segment; or each name with the whole context once more, without its slots.
  std::vector<float> OneByOne(const Names& names);
  std::vector<float> Uncached(const Names& names);

  // Rows of the last Tree or Walk.
  int64_t num_rows() const { return num_rows_; }

 private:
  // Runs nodes whose paths are in slots of the context's pages; writes their children's log-probs.
  // In front of them: the rows of `company`, a text.
  void RunRows(const TokenTrie& trie, const TrieWalk::Rows& rows, const TestSequence& company,
               std::vector<float>* logprobs);
  void Children(const TokenTrie& trie, absl::Span<const int32_t> nodes, const Tensor& states,
                std::vector<float>* logprobs);

  LoadedModel* const loaded_;
  TestSequence context_;
  const int32_t context_rows_;
  OwnedTensor last_;    // [1, hidden]: of the context's last row.
  OwnedTensor states_;  // [kMaxRows, hidden].
  int64_t num_rows_ = 0;
};

// Log-probs by node as log-probs by token, all names in a row.
std::vector<float> ByToken(const TokenTrie& trie, const Names& names,
                           absl::Span<const float> by_node);
// The mean of each name's.
std::vector<double> Means(const Names& names, absl::Span<const float> by_token);

}  // namespace prefixd::testing

#endif  // PREFIXD_TESTS_MODELS_TRIE_SCORING_H_
