#include "engine/score_call.h"

#include <cmath>
#include <utility>

#include "base/error.h"
#include "base/status_macros.h"
#include "engine/error_reasons.h"
#include "engine/threaded_engine.h"

namespace prefixd {

void SetMode(ScoringMode mode, Request* request) {
  request->retention.scope = RetentionScope::kOff;  // Scores are of the whole context.
  request->scoring->one_at_a_time = mode == ScoringMode::kTokenByToken;
  request->recompute_all = mode == ScoringMode::kUncached;
}

// What is compared with shares nothing.
TokenTrie::Merge MergeOf(ScoringMode mode) {
  return mode == ScoringMode::kPacked ? TokenTrie::Merge::kPrefixes : TokenTrie::Merge::kNothing;
}

void ScoreCall::Start(bool run) {
  const absl::Status status = run ? Submit() : ShuttingDown();
  if (!status.ok()) End(status);
}

absl::Status ScoreCall::Submit() {
  if (request_.continuations.empty() && !request_.echo) {
    return MakeError(absl::StatusCode::kInvalidArgument, reason::kInputInvalid,
                     "continuations: none, and echo is not set", {{"field", "continuations"}});
  }
  if (request_.mode == ScoringMode::kUncached && !request_.prefix.empty()) {
    return MakeError(absl::StatusCode::kInvalidArgument, reason::kParameterOutOfRange,
                     "mode: UNCACHED together with a named prefix", {{"field", "mode"}});
  }
  const CandidateOptions options{.merge = MergeOf(request_.mode),
                                 .max_tokens = classifier_.host_.options.max_name_tokens};
  Request request{.id = request_.id,
                  .tenant = request_.tenant,
                  .input = std::move(request_.input),
                  .deadline = request_.deadline,
                  .priority = request_.priority,
                  .prefix = request_.prefix,
                  .bypass_prefix_cache = request_.bypass_prefix_cache,
                  .cache_salt = request_.cache_salt};
  request.scoring.emplace(ScoringParams{.prompt_logprobs = request_.echo});
  SetMode(request_.mode, &request);
  if (!request_.continuations.empty()) {
    PREFIXD_ASSIGN_OR_RETURN(
        candidates_, CandidatesOfContinuations(request_, options, *classifier_.host_.tokenizer,
                                               classifier_.host_.engine->model_info().vocab_size));
    request.scoring->candidates = candidates_.trie;
  }
  auto sink = std::make_shared<ContextSink>(
      [call = shared_from_this()](absl::StatusOr<ContextResult> context) {
        if (!context.ok()) return call->End(context.status());
        call->End(call->ResultOf(*std::move(context)));
      });
  return classifier_.Submit(std::move(request), std::move(sink), live_.get());
}

ScoredToken ScoreCall::TokenOf(int32_t id, float log_prob) const {
  ScoredToken token{.token_id = id, .token = classifier_.host_.tokenizer->TokenBytes(id)};
  if (!std::isnan(log_prob)) token.log_prob = log_prob;
  return token;
}

ScoreResult ScoreCall::ResultOf(ContextResult context) const {
  ScoreResult result{.request_id = request_.id,
                     .model = classifier_.host_.engine->model_info().name,
                     .usage = context.finished.usage,
                     .cache = context.finished.cache,
                     .scoring = context.scores.receipt,
                     .timings = context.finished.timings};
  for (size_t k = 0; candidates_.trie != nullptr && k < candidates_.trie->ends().size(); ++k) {
    const TokenTrie& trie = *candidates_.trie;
    std::vector<int32_t> path;
    for (int32_t node = trie.ends()[k]; node > 0; node = trie.node(node).parent) {
      path.push_back(node);
    }
    ScoreResult::Continuation continuation;
    for (size_t i = path.size(); i-- > 0;) {
      const float log_prob = context.scores.logprobs[static_cast<size_t>(path[i])];
      continuation.log_prob += log_prob;
      continuation.tokens.push_back(TokenOf(trie.node(path[i]).token, log_prob));
    }
    result.continuations.push_back(std::move(continuation));
  }
  for (size_t row = 0; row < context.scores.prompt_ids.size(); ++row) {
    result.prompt.push_back(
        TokenOf(context.scores.prompt_ids[row], context.scores.prompt_logprobs[row]));
  }
  return result;
}

void ScoreCall::End(absl::StatusOr<ScoreResult> result) {
  classifier_.Leave(request_.tenant, request_.id);
  done_(std::move(result));
}

}  // namespace prefixd
