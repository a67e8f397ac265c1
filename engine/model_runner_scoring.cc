// ModelRunner: rows of candidates, and what final states say of tokens.
#include <algorithm>
#include <cmath>
#include <utility>

#include "base/check.h"
#include "base/error.h"
#include "base/status_macros.h"
#include "engine/error_reasons.h"
#include "engine/model_runner.h"

namespace prefixd {
namespace {

// Whether the row is a token of its own: nothing is said of the rows of an image.
bool IsToken(const Prompt& prompt, int32_t row) {
  return std::none_of(prompt.images.begin(), prompt.images.end(), [row](const PromptImage& image) {
    return row >= image.row_begin && row < image.row_end();
  });
}

}  // namespace

// --- The batch -----------------------------------------------------------------------------------

// The nodes' slots lie behind the context, in pages of the sequence that are never published.
void ModelRunner::AddScores(const ScorePiece& piece) {
  ActiveRequest* const request = piece.request;
  ScoringState& scoring = *request->scoring;
  const TokenTrie& trie = *scoring.params.candidates;
  if (piece.num_rows == 0) {
    given_states_.push_back(&scoring.context_state);
    AddChildren(request, 0, kGiven);
    return;
  }
  KvSequence* const kv = &request->first().kv;
  if (!scoring.has_slots) {
    KvCache::Placement placement;
    PREFIXD_CHECK(cache_->Append(kv, scoring.num_slots, &placement));
    scoring.has_slots = true;
  }
  const int32_t context = request->prompt_rows();
  const int32_t row_begin = static_cast<int32_t>(token_ids_.size());
  const TrieWalk::Rows& rows = scoring.walk->Take(piece.num_rows);
  TreeRows& tree = trees_[num_trees_++];
  tree.write_slots.clear();
  tree.path_begins = rows.path_begins;
  tree.path_slots = rows.path_slots;
  for (int32_t& slot : tree.path_slots) slot += context;
  for (size_t i = 0; i < rows.nodes.size(); ++i) {
    const TokenTrie::Node& node = trie.node(rows.nodes[i]);
    tree.write_slots.push_back(context + rows.slot(i));
    token_ids_.push_back(node.token);
    positions_.push_back(context + node.depth - 1);
    AddChildren(request, rows.nodes[i], AddState(row_begin + static_cast<int32_t>(i)));
  }
  AddMedia(*request, context, piece.num_rows, row_begin);
  for (size_t layer = 0; layer < segments_.size(); ++layer) {
    segments_[layer].push_back({.row_begin = row_begin,
                                .num_rows = piece.num_rows,
                                .pages = kv->layer(static_cast<int>(layer)).page_ids(),
                                .write_slots = tree.write_slots,
                                .first_visible = context,
                                .first_position = context,
                                .path_begins = tree.path_begins,
                                .path_slots = tree.path_slots});
  }
}

// Rows of a piece of prefill, the first of which is row `begin` of the sequence.
void ModelRunner::AddPrefillStates(const PrefillPiece& piece, int32_t begin, int32_t row_begin) {
  ActiveRequest* const request = piece.request;
  ScoringState& scoring = *request->scoring;
  const int32_t end = begin + piece.num_rows;
  const int32_t prompt_end = std::min(end, request->prompt_rows());
  const int32_t last = request->prompt_rows() - 1;
  if (scoring.params.prompt_logprobs) {
    if (begin > 0) AddPromptScore(request, begin, kGiven);
    for (int32_t row = begin; row < prompt_end; ++row) {
      const int32_t batch_row = row_begin + row - begin;
      if (row < last) AddPromptScore(request, row + 1, batch_row);
      if ((row + 1) % kSlotsPerPage == 0 && request->first().kv.shares()) {
        kept_states_.push_back({AddState(batch_row), &scoring.column_states[row / kSlotsPerPage]});
      }
    }
  }
  if (prompt_end <= last) return;
  const int32_t last_row = row_begin + last - begin;
  if (scoring.uncached) {
    for (size_t i = 0; i < scoring.path.size(); ++i) {
      const int32_t node = scoring.path[i];
      if (last + static_cast<int32_t>(i) < begin || last + static_cast<int32_t>(i) >= end) continue;
      AddTokenScore(request, TokenScore::Kind::kPath, node,
                    AddState(last_row + static_cast<int32_t>(i)),
                    scoring.params.candidates->node(node).token);
    }
  } else if (begin <= last && scoring.context_state.empty()) {
    const int32_t state = AddState(last_row);
    kept_states_.push_back({state, &scoring.context_state});
    if (scoring.walk && !scoring.root_scored) AddChildren(request, 0, state);
  }
}

// Row `row` of the prompt, behind the state of batch row `batch_row`, or behind a column of the
// index.
void ModelRunner::AddPromptScore(ActiveRequest* request, int32_t row, int32_t batch_row) {
  ScoringState& scoring = *request->scoring;
  if (row >= request->prompt_rows() || !std::isnan(scoring.prompt_logprobs[row])) return;
  if (!IsToken(request->prompt, row)) return;
  int32_t state = kGiven;
  if (batch_row != kGiven) {
    state = AddState(batch_row);
  } else {
    const KvSequence& kv = request->first().kv;
    PREFIXD_CHECK(kv.num_shared_columns() * kSlotsPerPage == row);
    given_yields_.push_back(cache_->YieldsOf(kv, kv.num_shared_columns() - 1).back());
    given_states_.push_back(&given_yields_.back()->last_state);
  }
  AddTokenScore(request, TokenScore::Kind::kPrompt, row, state, request->prompt.token_ids[row]);
}

int32_t ModelRunner::AddState(int32_t row) {
  if (state_rows_.empty() || state_rows_.back() != row) state_rows_.push_back(row);
  return static_cast<int32_t>(state_rows_.size()) - 1;
}

void ModelRunner::AddChildren(ActiveRequest* request, int32_t node, int32_t state) {
  const TokenTrie& trie = *request->scoring->params.candidates;
  const size_t begin = score_ids_.size();
  for (int32_t child = TokenTrie::first_child(node); child < trie.node(node).end;
       child = trie.next_sibling(child)) {
    score_ids_.push_back(trie.node(child).token);
  }
  AddScoresOf(request, TokenScore::Kind::kChildren, node, state, begin);
}

void ModelRunner::AddTokenScore(ActiveRequest* request, TokenScore::Kind kind, int32_t place,
                                int32_t state, int32_t id) {
  score_ids_.push_back(id);
  AddScoresOf(request, kind, place, state, score_ids_.size() - 1);
}

void ModelRunner::AddScoresOf(ActiveRequest* request, TokenScore::Kind kind, int32_t place,
                              int32_t state, size_t begin) {
  std::vector<TokenScore>& scores = state == kGiven ? given_scores_ : token_scores_;
  scores.push_back({request, kind, place, state, begin, score_ids_.size() - begin});
}

void ModelRunner::ClearScores() {
  state_rows_.clear();
  given_states_.clear();
  given_yields_.clear();
  token_scores_.clear();
  given_scores_.clear();
  score_ids_.clear();
  kept_states_.clear();
  num_trees_ = 0;
}

// --- What the states say -------------------------------------------------------------------------

absl::Status ModelRunner::ScoreTokens(StepResult* result) {
  for (const KeptState& kept : kept_states_) {
    kept.values->resize(static_cast<size_t>(states_.view.cols));
    PREFIXD_RETURN_IF_ERROR(
        backend_->Download(states_.view.Rows(kept.state, 1), absl::MakeSpan(*kept.values)));
  }
  PREFIXD_CHECK(given_scores_.size() == given_states_.size());
  for (size_t i = 0; i < given_scores_.size(); ++i) {
    const int32_t state = static_cast<int32_t>(state_rows_.size() + i);
    PREFIXD_RETURN_IF_ERROR(backend_->Upload(*given_states_[i], states_.view.Rows(state, 1)));
    given_scores_[i].state = state;
    token_scores_.push_back(given_scores_[i]);
  }
  if (token_scores_.empty()) return absl::OkStatus();
  PREFIXD_RETURN_IF_ERROR(ComputeLogprobs());
  const float* values = pair_logprobs_.data();
  for (const TokenScore& score : token_scores_) {
    TakeScores(score, {values, score.count}, result);
    values += score.count;
  }
  return absl::OkStatus();
}

// So many states at a time that the logits of a tile fit the workspace.
absl::Status ModelRunner::ComputeLogprobs() {
  pair_rows_.clear();
  pair_ids_.clear();
  for (const TokenScore& score : token_scores_) {
    pair_rows_.insert(pair_rows_.end(), score.count, score.state);
    const auto ids = score_ids_.begin() + static_cast<ptrdiff_t>(score.begin);
    pair_ids_.insert(pair_ids_.end(), ids, ids + static_cast<ptrdiff_t>(score.count));
  }
  pair_logprobs_.resize(pair_rows_.size());
  const absl::Span<float> logprobs = absl::MakeSpan(pair_logprobs_);
  for (size_t begin = 0, end = 0; begin < pair_rows_.size(); begin = end) {
    const int32_t first = pair_rows_[begin];
    while (end < pair_rows_.size() && pair_rows_[end] < first + limits_.max_scored_rows) ++end;
    const int32_t count = pair_rows_[end - 1] + 1 - first;
    for (size_t i = begin; i < end; ++i) pair_rows_[i] -= first;
    const absl::Span<const int32_t> rows = absl::MakeConstSpan(pair_rows_);
    const absl::Span<const int32_t> ids = absl::MakeConstSpan(pair_ids_);
    PREFIXD_RETURN_IF_ERROR(model_->TokenLogprobs(
        states_.view.Rows(first, count), rows.subspan(begin, end - begin),
        ids.subspan(begin, end - begin), logprobs.subspan(begin, end - begin)));
  }
  return absl::OkStatus();
}

void ModelRunner::TakeScores(const TokenScore& score, absl::Span<const float> logprobs,
                             StepResult* result) {
  const bool finite = std::all_of(logprobs.begin(), logprobs.end(),
                                  [](float logprob) { return std::isfinite(logprob); });
  if (!finite) {
    result->failures.emplace_back(score.request,
                                  MakeError(absl::StatusCode::kInternal, reason::kEngineFailed,
                                            "the model's logits are not finite"));
    return;
  }
  ScoringState& scoring = *score.request->scoring;
  switch (score.kind) {
    case TokenScore::Kind::kChildren:
      scoring.walk->SetChildLogprobs(score.place, logprobs);
      if (score.place == 0) scoring.root_scored = true;
      break;
    case TokenScore::Kind::kPrompt:
      scoring.prompt_logprobs[static_cast<size_t>(score.place)] = logprobs[0];
      break;
    case TokenScore::Kind::kPath:
      scoring.logprobs[static_cast<size_t>(score.place)] = logprobs[0];
      break;
  }
}

}  // namespace prefixd
