#include "engine/classify_call.h"

#include <algorithm>
#include <numeric>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/error.h"
#include "base/sha256.h"
#include "base/status_macros.h"
#include "engine/class_contexts.h"
#include "engine/classify/check_class_set.h"
#include "engine/classify/nearest.h"
#include "engine/classify/ranking.h"
#include "engine/error_reasons.h"
#include "engine/score_call.h"
#include "engine/threaded_engine.h"

namespace prefixd {
namespace {

absl::Status OutOfRange(const std::string& field, const std::string& problem) {
  return MakeError(absl::StatusCode::kInvalidArgument, reason::kParameterOutOfRange,
                   absl::StrCat(field, ": ", problem), {{"field", field}});
}

}  // namespace

// --- The beginning -------------------------------------------------------------------------------

void ClassifyCall::Start(bool run) {
  const absl::Status status = run ? Prepare() : ShuttingDown();
  if (!status.ok()) End(status);
}

void ClassifyCall::Then(std::function<absl::Status()> step) {
  classifier_.host_.prepare([call = shared_from_this(), step = std::move(step)](bool run) {
    const absl::Status status = run ? step() : ShuttingDown();
    if (!status.ok()) call->End(status);
  });
}

absl::Status ClassifyCall::Prepare() {
  if (!request_.class_set.empty()) {
    PREFIXD_ASSIGN_OR_RETURN(set_, classifier_.sets_->Use(request_.tenant, request_.class_set));
    const ClassSetSpec& spec = set_->stored.spec;
    asked_ = {spec.prompt, spec.names, spec.demonstrations};
  } else {
    PREFIXD_RETURN_IF_ERROR(CheckNames("names.names", request_.names, classifier_.host_.options));
    if (request_.prompt) {
      PREFIXD_RETURN_IF_ERROR(CheckClassPrompt("names.prompt", *request_.prompt));
    }
    asked_ = {request_.prompt.value_or(ClassPrompt{}), request_.names, {}};
  }
  chat_ = classifier_.uses_chat(asked_.prompt);
  PREFIXD_RETURN_IF_ERROR(CheckCombination());
  PREFIXD_RETURN_IF_ERROR(MakeCandidates());
  if (chooses_shots()) {
    ChooseShots();
    return absl::OkStatus();
  }
  shots_.resize(asked_.demonstrations.size());
  std::iota(shots_.begin(), shots_.end(), 0);
  return SubmitContexts();
}

absl::Status ClassifyCall::CheckCombination() const {
  const bool query = std::holds_alternative<ClassQuery>(request_.context);
  const int32_t shots = set_ == nullptr ? 0 : static_cast<int32_t>(asked_.demonstrations.size());
  if (request_.ensemble < 1 || request_.ensemble > 6) {
    return OutOfRange("ensemble", absl::StrCat(request_.ensemble, ", allowed: 1 to 6"));
  }
  if (request_.ensemble > 1 && (!query || shots < 2)) {
    return OutOfRange("ensemble", absl::StrCat(request_.ensemble,
                                               ", which needs a query and two demonstrations"));
  }
  if (request_.top_k < 1) return OutOfRange("top_k", absl::StrCat(request_.top_k, ", at least 1"));
  if (!(request_.temperature > 0 && request_.temperature <= 100)) {
    return OutOfRange("temperature", absl::StrCat(request_.temperature, ", allowed: (0, 100]"));
  }
  if (request_.normalization == Normalization::kPmi && !query) {
    return OutOfRange("normalization", "PMI needs a query, whose null context is known");
  }
  if (!asked_.prompt.system.empty() && !chat_) {
    return OutOfRange("prompt.system", "the prompt uses no chat template");
  }
  if (chooses_shots() && !std::get<ClassQuery>(request_.context).image) {
    return MakeError(absl::StatusCode::kInvalidArgument, reason::kInputInvalid,
                     "query.image: the set chooses demonstrations by pictures, and there is none",
                     {{"field", "query.image"}});
  }
  return absl::OkStatus();
}

bool ClassifyCall::chooses_shots() const {
  return set_ != nullptr && set_->stored.spec.num_shots > 0 &&
         std::holds_alternative<ClassQuery>(request_.context);
}

absl::Status ClassifyCall::MakeCandidates() {
  candidate_options_ = {.merge = MergeOf(request_.mode),
                        .max_tokens = classifier_.host_.options.max_name_tokens};
  candidate_options_.prefix = request_.label_prefix.value_or(
      set_ == nullptr ? std::string() : set_->stored.spec.label_prefix);
  if (request_.score_end) {
    PREFIXD_ASSIGN_OR_RETURN(candidate_options_.end_token, classifier_.EndToken());
  }
  PREFIXD_ASSIGN_OR_RETURN(candidates_,
                           classifier_.CandidatesFor(set_ == nullptr ? "names.names" : "names",
                                                     asked_.names, candidate_options_));
  return absl::OkStatus();
}

// --- Demonstrations chosen by similarity ---------------------------------------------------------

// The engine looks at the query's picture first; its features are cached for the context.
void ClassifyCall::ChooseShots() {
  const auto call = shared_from_this();
  classifier_.EmbeddingsOf(
      set_, request_.id, request_.deadline, live_,
      [call](absl::StatusOr<std::shared_ptr<const EngineClassifier::Embeddings>> known) {
        if (!known.ok()) return call->End(known.status());
        call->Then([call, known = *std::move(known)] {
          const ClassQuery& query = std::get<ClassQuery>(call->request_.context);
          call->classifier_.Embed(
              call->request_.tenant, call->request_.id, {*query.image}, call->request_.deadline,
              call->live_, [call, known](absl::StatusOr<EngineClassifier::Embeddings> embedded) {
                if (!embedded.ok()) return call->End(embedded.status());
                call->Then([call, known, query = std::move((*embedded)[0])] {
                  const NearestDemonstrations nearest(*known);
                  call->shots_ = nearest.MostSimilar(query, call->set_->stored.spec.num_shots);
                  return call->SubmitContexts();
                });
              });
          return absl::OkStatus();
        });
      });
}

// --- Contexts ------------------------------------------------------------------------------------

absl::Status ClassifyCall::SubmitContexts() {
  PREFIXD_ASSIGN_OR_RETURN(const bool needs_null, NeedsNullContext());
  if (needs_null) return SubmitNullContext();
  scale_ =
      ScaleOf(request_.normalization, candidates_->num_tokens, candidates_->num_bytes, null_sums_);
  scale_.k = request_.top_k;
  std::vector<Context> contexts;
  PREFIXD_RETURN_IF_ERROR(MakeContexts(&contexts));
  {
    MutexLock lock(&mutex_);
    contexts_.resize(contexts.size());
    outstanding_ = contexts.size();
  }
  for (size_t i = 0; i < contexts.size(); ++i) {
    const auto call = shared_from_this();
    auto sink = std::make_shared<ContextSink>([call, i](absl::StatusOr<ContextResult> result) {
      call->TakeContext(i, std::move(result));
    });
    const absl::Status status =
        classifier_.Submit(RequestOf(std::move(contexts[i]), i), std::move(sink), live_.get());
    if (!status.ok()) TakeContext(i, status);
  }
  return absl::OkStatus();
}

absl::Status ClassifyCall::MakeContexts(std::vector<Context>* contexts) {
  if (const auto* input = std::get_if<Input>(&request_.context)) {
    contexts->push_back({.input = *input, .prefix = ""});
    return absl::OkStatus();
  }
  PREFIXD_ASSIGN_OR_RETURN(
      const Input query, QueryInput(asked_.prompt, std::get<ClassQuery>(request_.context), chat_));
  const std::vector<std::vector<int32_t>> orders =
      ShotOrders(static_cast<int32_t>(shots_.size()), request_.ensemble, request_.seed);
  for (const std::vector<int32_t>& order : orders) {
    const bool as_stored = set_ != nullptr && contexts->empty() && !chooses_shots();
    const bool pinned = as_stored && request_.mode != ScoringMode::kUncached &&
                        !request_.bypass_prefix_cache && request_.cache_salt.empty();
    Context context{.input = query, .prefix = pinned ? classifier_.PinnedPrefix(set_) : ""};
    if (context.prefix.empty()) {
      std::vector<int32_t> shots;
      for (const int32_t i : order) shots.push_back(shots_[static_cast<size_t>(i)]);
      PREFIXD_ASSIGN_OR_RETURN(
          context.input,
          JoinInputs(ShotsInput(asked_.prompt, asked_.demonstrations, shots, chat_), query));
    }
    contexts->push_back(std::move(context));
  }
  return absl::OkStatus();
}

Request ClassifyCall::RequestOf(Context context, size_t index) const {
  Request request{.id = index == 0 ? request_.id : absl::StrCat(request_.id, " context ", index),
                  .tenant = request_.tenant,
                  .input = std::move(context.input),
                  .deadline = request_.deadline,
                  .priority = request_.priority,
                  .prefix = std::move(context.prefix),
                  .bypass_prefix_cache = request_.bypass_prefix_cache,
                  .cache_salt = request_.cache_salt};
  request.scoring.emplace(ScoringParams{.candidates = candidates_->trie});
  const bool only_top = !request_.probabilities && !request_.all_scores && request_.ensemble == 1 &&
                        request_.mode == ScoringMode::kPacked;
  if (only_top) request.scoring->top = std::make_shared<const TopSearch>(scale_);
  SetMode(request_.mode, &request);
  return request;
}

// Sums under the null context are the same for every query.
absl::StatusOr<bool> ClassifyCall::NeedsNullContext() {
  if (request_.normalization != Normalization::kPmi || !null_sums_.empty()) return false;
  Sha256 hash;
  const auto text = [&hash](absl::string_view value) {
    hash.Update(uint64_t{value.size()}).Update(value);
  };
  text(request_.tenant);
  text(CandidatesDigest(asked_.names, candidate_options_));
  text(asked_.prompt.system);
  text(asked_.prompt.question);
  text(set_ == nullptr ? "" : set_->stored.spec.null_text);
  hash.Update(uint64_t{chat_ ? 1u : 0u});
  null_digest_ = ToHex(hash.Finish());
  MutexLock lock(&classifier_.mutex_);
  const auto* known = classifier_.null_sums_.Find(null_digest_);
  if (known == nullptr) return true;
  null_sums_ = **known;
  return false;
}

absl::Status ClassifyCall::SubmitNullContext() {
  const ClassQuery nothing{.text = set_ == nullptr ? "" : set_->stored.spec.null_text};
  PREFIXD_ASSIGN_OR_RETURN(Input query, QueryInput(asked_.prompt, nothing, chat_));
  Request request = RequestOf({.input = std::move(query), .prefix = ""}, 0);
  request.id = absl::StrCat(request_.id, " null context");
  request.scoring->top = nullptr;
  auto sink = std::make_shared<ContextSink>(
      [call = shared_from_this()](absl::StatusOr<ContextResult> result) {
        if (!result.ok()) return call->End(result.status());
        call->null_sums_ = PathSums(*call->candidates_->trie, result->scores.logprobs);
        call->null_context_ = *std::move(result);
        {
          MutexLock lock(&call->classifier_.mutex_);
          auto& known = call->classifier_.null_sums_;
          if (known.Find(call->null_digest_) == nullptr) {
            known.Insert(call->null_digest_,
                         std::make_shared<const std::vector<double>>(call->null_sums_));
          }
        }
        call->Then([call] { return call->SubmitContexts(); });
      });
  return classifier_.Submit(std::move(request), std::move(sink), live_.get());
}

// --- The end -------------------------------------------------------------------------------------

void ClassifyCall::TakeContext(size_t index, absl::StatusOr<ContextResult> result) {
  bool first_failure = false;
  {
    MutexLock lock(&mutex_);
    if (result.ok()) {
      contexts_[index] = *std::move(result);
    } else if (failure_.ok()) {
      failure_ = result.status();
      first_failure = true;
    }
    if (--outstanding_ > 0 && !first_failure) return;
    if (outstanding_ == 0) first_failure = false;
  }
  if (first_failure) {  // The others are of no use.
    Then([call = shared_from_this()] {
      call->classifier_.Cancel(call->request_.tenant, call->request_.id);
      return absl::OkStatus();
    });
    return;
  }
  absl::Status failure;
  {
    MutexLock lock(&mutex_);
    failure = failure_;
  }
  if (failure.ok()) {
    End(Rank());
  } else {
    End(std::move(failure));
  }
}

void ClassifyCall::AddUp(const ContextResult& context, ClassifyResult* result) const {
  const Usage& usage = context.finished.usage;
  result->usage.prompt_tokens += usage.prompt_tokens;
  result->usage.cached_prompt_tokens += usage.cached_prompt_tokens;
  result->usage.image_tokens += usage.image_tokens;
  result->usage.recomputed_tokens += usage.recomputed_tokens;
  const CacheReceipt& cache = context.finished.cache;
  CacheReceipt& sum = result->cache;
  sum.hit_tokens += cache.hit_tokens;
  sum.computed_tokens += cache.computed_tokens;
  sum.images += cache.images;
  sum.images_in_prefix += cache.images_in_prefix;
  sum.feature_hits += cache.feature_hits;
  sum.images_encoded += cache.images_encoded;
  sum.decode_hits += cache.decode_hits;
  sum.kv_bytes = std::max(sum.kv_bytes, cache.kv_bytes);
  sum.shared_kv_bytes = std::max(sum.shared_kv_bytes, cache.shared_kv_bytes);
  sum.preemptions += cache.preemptions;
  const ScoringReceipt& scoring = context.scores.receipt;
  ScoringReceipt& total = result->scoring;
  total.candidates += scoring.candidates;
  total.computed_rows += scoring.computed_rows;
  total.saved_rows += scoring.saved_rows;
  total.pruned_nodes += scoring.pruned_nodes;
  total.passes += scoring.passes;
  total.context_hits += scoring.context_hits;
  total.contexts += scoring.contexts;
}

ClassifyResult ClassifyCall::Rank() {
  MutexLock lock(&mutex_);
  ClassifyResult result{.request_id = request_.id,
                        .model = classifier_.host_.engine->model_info().name};
  const size_t num_names = asked_.names.size();
  std::vector<double> sums(num_names), scores(num_names);
  const double weight = 1.0 / static_cast<double>(contexts_.size());
  for (const ContextResult& context : contexts_) {
    const std::vector<double> of_context = PathSums(*candidates_->trie, context.scores.logprobs);
    const std::vector<double> scaled = ScoresOf(of_context, scale_);
    for (size_t k = 0; k < num_names; ++k) {
      sums[k] += weight * of_context[k];
      scores[k] += weight * scaled[k];
    }
    AddUp(context, &result);
  }
  if (null_context_) AddUp(*null_context_, &result);
  result.cache.miss = contexts_[0].finished.cache.miss;
  result.timings = contexts_[0].finished.timings;
  result.timings.total = classifier_.host_.clock->Now() - begun_;
  std::vector<double> probabilities;
  if (request_.probabilities) probabilities = ClassProbabilities(scores, request_.temperature);
  for (const int32_t k : BestOf(scores, request_.top_k)) {
    const size_t i = static_cast<size_t>(k);
    ClassScore best{.index = k,
                    .name = asked_.names[i],
                    .score = scores[i],
                    .log_prob = sums[i],
                    .num_tokens = candidates_->trie->node(candidates_->trie->ends()[i]).depth};
    if (request_.probabilities) best.probability = probabilities[i];
    result.top.push_back(std::move(best));
  }
  if (request_.all_scores) {
    result.scores = std::move(scores);
    result.probabilities = std::move(probabilities);
  }
  if (std::holds_alternative<ClassQuery>(request_.context)) {
    for (const int32_t shot : shots_) {
      result.shots.push_back(asked_.demonstrations[static_cast<size_t>(shot)].label);
    }
  }
  return result;
}

void ClassifyCall::End(absl::StatusOr<ClassifyResult> result) {
  classifier_.Leave(request_.tenant, request_.id);
  done_(std::move(result));
}

}  // namespace prefixd
