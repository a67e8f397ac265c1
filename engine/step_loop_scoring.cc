// StepLoop: requests that score tokens behind their prompt, and those that only look at images.
#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/error.h"
#include "base/status_macros.h"
#include "engine/error_reasons.h"
#include "engine/step_loop.h"

namespace prefixd {
namespace {

// Internal nodes whose children were scored.
int64_t ScoredRows(const TokenTrie& trie, absl::Span<const float> logprobs) {
  int64_t rows = 0;
  for (int32_t node = 1; node < static_cast<int32_t>(logprobs.size()); ++node) {
    const bool scored = trie.is_internal(node) &&
                        !std::isnan(logprobs[static_cast<size_t>(TokenTrie::first_child(node))]);
    rows += scored ? 1 : 0;
  }
  return rows;
}

}  // namespace

// --- Arrival -------------------------------------------------------------------------------------

absl::Status StepLoop::PrepareScoring(ActiveRequest* request) {
  const ScoringParams& params = *request->request.scoring;
  ScoringState& scoring = request->scoring.emplace(params, request->prompt_rows());
  const int32_t prompt = request->prompt_rows();
  request->max_new_tokens = 1;
  request->max_pages = PagesFor(*request, 1);
  scoring.receipt.contexts = 1;
  if (params.candidates != nullptr) {
    const TokenTrie& trie = *params.candidates;
    const int32_t context = model_->spec().context_length;
    if (trie.max_depth() > context - prompt) {
      return MakeError(absl::StatusCode::kInvalidArgument, reason::kContextLengthExceeded,
                       absl::StrCat("the prompt has ", prompt, " tokens and the longest name ",
                                    trie.max_depth(), ", the model's context is ", context),
                       {{"prompt_tokens", absl::StrCat(prompt)},
                        {"name_tokens", absl::StrCat(trie.max_depth())},
                        {"context_length", absl::StrCat(context)}});
    }
    scoring.receipt.candidates = static_cast<int32_t>(trie.ends().size());
    scoring.uncached = request->request.recompute_all;
    if (scoring.uncached) {
      scoring.logprobs.assign(trie.nodes().size(), std::numeric_limits<float>::quiet_NaN());
      request->max_pages = PagesFor(*request, trie.max_depth());
      StartCandidate(request);
    } else {
      TakeScratch(request);
    }
  }
  if (!request->prompt.root_key || request->request.recompute_all) return absl::OkStatus();
  // Whoever stands on the kept end of its context copies a page a layer. Not where there is no
  // room.
  if (request->max_pages + cache_.num_layers() <= LonelyPages(request->tenant)) {
    request->max_pages += cache_.num_layers();
    request->context_end = SnapshotKey(ContextEndSpecOf(request->prompt));
  }
  return absl::OkStatus();
}

// Scratch slots for full steps, or for as many rows as the pool can ever have room for.
void StepLoop::TakeScratch(ActiveRequest* request) {
  ScoringState& scoring = *request->scoring;
  const TokenTrie& trie = *scoring.params.candidates;
  const ModelLimits limits = LimitsFor(options_, model_->spec());
  scoring.max_rows = scoring.params.one_at_a_time
                         ? 1
                         : std::min(limits.max_scored_rows, options_.max_batch_tokens);
  while (true) {
    scoring.num_slots = TrieWalk::SlotsFor(trie, scoring.max_rows);
    request->max_pages = PagesFor(*request, scoring.num_slots + 1);
    if (scoring.max_rows == 1 || request->max_pages <= LonelyPages(request->tenant)) break;
    scoring.max_rows /= 2;
  }
  scoring.walk.emplace(&trie, TrieWalk::Options{.num_slots = scoring.num_slots,
                                                .one_at_a_time = scoring.params.one_at_a_time,
                                                .top = scoring.params.top.get()});
}

// The next candidate as one sequence with its context; its last token is never fed.
void StepLoop::StartCandidate(ActiveRequest* request) {
  ScoringState& scoring = *request->scoring;
  const TokenTrie& trie = *scoring.params.candidates;
  scoring.SetPath(trie.ends()[scoring.candidate]);
  std::vector<int32_t>& tokens = request->first().tokens;
  tokens = request->prompt.token_ids;
  for (size_t i = 0; i + 1 < scoring.path.size(); ++i) {
    tokens.push_back(trie.node(scoring.path[i]).token);
  }
}

// --- Steps ---------------------------------------------------------------------------------------

// The context is there.
void StepLoop::BeginScoring(ActiveRequest* request) {
  ScoringState& scoring = *request->scoring;
  KvSequence* const kv = &request->first().kv;
  if (scoring.uncached) {
    if (++scoring.candidate < scoring.params.candidates->ends().size()) {
      StartCandidate(request);
      Retire(&request->first());
    } else {
      FinishScoring(request);
    }
    return;
  }
  if (request->context_end && !kv->snapshot() && !scoring.context_state.empty()) {
    cache_.StoreContextEnd(*request->context_end, ContextEndSpecOf(request->prompt),
                           scoring.context_state, kv);
  }
  request->phase = ActiveRequest::Phase::kScore;
  if (scoring.done()) FinishScoring(request);
}

void StepLoop::AfterScores(const ScorePiece& piece) {
  ActiveRequest* const request = piece.request;
  if (request->ended) return;
  request->scoring->receipt.passes += piece.num_rows > 0 ? 1 : 0;
  request->most_pages = std::max(request->most_pages, static_cast<int32_t>(HeldPages(*request)));
  if (request->scoring->done()) FinishScoring(request);
}

void StepLoop::FinishScoring(ActiveRequest* request) {
  ScoringState& scoring = *request->scoring;
  ScoringReceipt& receipt = scoring.receipt;
  ScoresEvent event;
  if (scoring.walk) {
    const TokenTrie& trie = *scoring.params.candidates;
    const absl::Span<const float> logprobs = scoring.walk->logprobs();
    event.logprobs.assign(logprobs.begin(), logprobs.end());
    receipt.computed_rows = ScoredRows(trie, logprobs);
    receipt.pruned_nodes = trie.num_internal() - receipt.computed_rows;
    request->recomputed_rows +=
        static_cast<int32_t>(scoring.walk->num_taken() - receipt.computed_rows);
  } else if (scoring.uncached) {
    event.logprobs = scoring.logprobs;
    receipt.computed_rows = scoring.params.candidates->rows_one_by_one();
    receipt.passes = receipt.candidates;
  }
  if (scoring.has_candidates()) {
    receipt.saved_rows =
        std::max<int64_t>(0, scoring.params.candidates->rows_one_by_one() - receipt.computed_rows);
  }
  if (scoring.params.prompt_logprobs) {
    event.prompt_ids = request->prompt.token_ids;
    event.prompt_logprobs = scoring.prompt_logprobs;
  }
  receipt.context_hits = request->receipt.computed_tokens == 0 ? 1 : 0;
  event.receipt = receipt;
  AddToScoringTotals(receipt);
  request->sink->OnEvent(std::move(event));
  FinishRequest(request);
}

void StepLoop::AddToScoringTotals(const ScoringReceipt& receipt) {
  ++scoring_totals_.requests;
  scoring_totals_.candidates += static_cast<uint64_t>(receipt.candidates);
  scoring_totals_.computed_rows += static_cast<uint64_t>(receipt.computed_rows);
  scoring_totals_.saved_rows += static_cast<uint64_t>(receipt.saved_rows);
  scoring_totals_.pruned_nodes += static_cast<uint64_t>(receipt.pruned_nodes);
  scoring_totals_.passes += static_cast<uint64_t>(receipt.passes);
  scoring_totals_.context_hits += static_cast<uint64_t>(receipt.context_hits);
}

// --- Log-probs of prompts ------------------------------------------------------------------------

// Those of columns that came from the index.
void StepLoop::TakeYields(ActiveRequest* request) {
  ScoringState& scoring = *request->scoring;
  if (!scoring.params.prompt_logprobs) return;
  const auto yields = cache_.YieldsOf(request->first().kv, scoring.yielded_columns);
  for (const auto& yield : yields) {
    PREFIXD_CHECK(yield != nullptr && yield->logprobs.size() == kSlotsPerPage);
    std::copy(yield->logprobs.begin(), yield->logprobs.end(),
              scoring.prompt_logprobs.begin() + scoring.yielded_columns * kSlotsPerPage);
    ++scoring.yielded_columns;
  }
}

// Those of columns that were computed.
void StepLoop::GiveYields(ActiveRequest* request) {
  ScoringState& scoring = *request->scoring;
  const KvSequence& kv = request->first().kv;
  const int32_t first = scoring.yielded_columns;
  std::vector<std::shared_ptr<const ColumnYield>> yields;
  for (int32_t column = first; column < kv.num_shared_columns(); ++column) {
    const auto state = scoring.column_states.find(column);
    PREFIXD_CHECK(state != scoring.column_states.end());
    const auto begin = scoring.prompt_logprobs.begin() + column * kSlotsPerPage;
    yields.push_back(std::make_shared<const ColumnYield>(ColumnYield{
        .logprobs = {begin, begin + kSlotsPerPage}, .last_state = std::move(state->second)}));
    scoring.column_states.erase(state);
  }
  if (yields.empty()) return;
  cache_.AttachYields(kv, first, yields);
  scoring.yielded_columns += static_cast<int32_t>(yields.size());
}

// --- Images alone --------------------------------------------------------------------------------

absl::Status StepLoop::FinishEmbedding(ActiveRequest* request) {
  EmbeddedEvent event;
  for (const ImageProgress& image : request->images) {
    const Tensor& features = image.features->view;
    std::vector<float> rows(static_cast<size_t>(features.rows * features.cols));
    PREFIXD_RETURN_IF_ERROR(backend_->Download(features, absl::MakeSpan(rows)));
    const size_t width = static_cast<size_t>(features.cols);
    std::vector<double> sum(width);
    for (size_t i = 0; i < rows.size(); ++i) sum[i % width] += rows[i];
    double square = 0;
    for (const double value : sum) square += value * value;
    std::vector<float>& embedding = event.images.emplace_back();
    for (const double value : sum) {
      embedding.push_back(square > 0 ? static_cast<float>(value / std::sqrt(square)) : 0.0f);
    }
  }
  request->prefilled = clock_->Now();
  request->sink->OnEvent(std::move(event));
  FinishRequest(request);
  return absl::OkStatus();
}

}  // namespace prefixd
