#include "server/classification_to_proto.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/to_proto.h"

namespace prefixd {
namespace {

void ToProto(ClassScore score, v1::ClassScore* out) {
  out->set_index(score.index);
  out->set_name(std::move(score.name));
  out->set_score(score.score);
  out->set_log_prob(score.log_prob);
  out->set_num_tokens(score.num_tokens);
  if (score.probability) out->set_probability(*score.probability);
}

void ToProto(ScoredToken token, v1::ScoredToken* out) {
  out->set_token_id(token.token_id);
  out->set_token(std::move(token.token));
  if (token.log_prob) out->set_log_prob(*token.log_prob);
}

void ToProto(const ScoringReceipt& receipt, v1::ScoringReceipt* out) {
  out->set_candidates(receipt.candidates);
  out->set_computed_rows(receipt.computed_rows);
  out->set_saved_rows(receipt.saved_rows);
  out->set_pruned_nodes(receipt.pruned_nodes);
  out->set_passes(receipt.passes);
  out->set_context_hits(receipt.context_hits);
  out->set_contexts(receipt.contexts);
}

void ToProto(ClassPrompt prompt, v1::ClassPrompt* out) {
  out->set_system(std::move(prompt.system));
  out->set_question(std::move(prompt.question));
  out->set_plain(prompt.plain);
  out->set_separator(std::move(prompt.separator));
}

// What both answers have.
template <typename Result, typename Response>
void FillCommon(Result* result, Response* out) {
  out->set_request_id(std::move(result->request_id));
  out->set_model(std::move(result->model));
  prefixd::ToProto(result->usage, out->mutable_usage());
  prefixd::ToProto(result->cache, out->mutable_cache());
  ToProto(result->scoring, out->mutable_scoring());
  prefixd::ToProto(result->timings, out->mutable_timings());
  out->mutable_timings()->clear_first_token();  // Nothing is generated.
}

}  // namespace

void ToProto(ClassifyResult result, v1::ClassifyResponse* out) {
  FillCommon(&result, out);
  for (ClassScore& score : result.top) ToProto(std::move(score), out->add_top());
  out->mutable_scores()->Add(result.scores.begin(), result.scores.end());
  out->mutable_probabilities()->Add(result.probabilities.begin(), result.probabilities.end());
  for (std::string& label : result.shots) out->add_shots(std::move(label));
}

void ToProto(ScoreResult result, v1::ScoreResponse* out) {
  FillCommon(&result, out);
  for (ScoreResult::Continuation& continuation : result.continuations) {
    v1::ScoredContinuation* added = out->add_continuations();
    added->set_log_prob(continuation.log_prob);
    for (ScoredToken& token : continuation.tokens) ToProto(std::move(token), added->add_tokens());
  }
  for (ScoredToken& token : result.prompt) ToProto(std::move(token), out->add_prompt());
}

void ToProto(ClassSetInfo set, absl::Time wall_now, v1::ClassSet* out) {
  out->set_name(std::move(set.name));
  out->set_num_names(set.num_names);
  out->set_num_tokens(set.num_tokens);
  out->set_internal_nodes(set.internal_nodes);
  out->set_num_demonstrations(set.num_demonstrations);
  out->set_num_shots(set.num_shots);
  out->set_stored_bytes(set.stored_bytes);
  out->set_label_prefix(std::move(set.label_prefix));
  ToProto(std::move(set.prompt), out->mutable_prompt());
  for (std::string& name : set.names) out->add_names(std::move(name));
  ToProto(set.created, out->mutable_create_time());
  // A wall clock that was set back makes no set older than new.
  ToProto(std::max(absl::ZeroDuration(), wall_now - set.created), out->mutable_age());
  out->set_requests(set.requests);
}

std::string Describe(const Usage& usage, const ScoringReceipt& receipt) {
  return absl::StrCat(" prompt=", usage.prompt_tokens, " cached=", usage.cached_prompt_tokens,
                      " image=", usage.image_tokens, " candidates=", receipt.candidates,
                      " rows=", receipt.computed_rows, " saved=", receipt.saved_rows);
}

}  // namespace prefixd
