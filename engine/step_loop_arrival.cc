// StepLoop: what becomes of a request when it arrives.
#include "engine/step_loop.h"

#include <algorithm>
#include <random>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/error.h"
#include "base/planted_bug.h"
#include "base/status_macros.h"
#include "engine/error_reasons.h"
#include "engine/step_loop_internal.h"

namespace prefixd {
namespace {

// Choices, or the beams that choices are taken from.
int32_t NumSequences(const Request& request) {
  return std::max(request.output.num_choices, request.sampling.num_beams);
}

uint64_t DrawSeed() {
  std::random_device device;
  return (uint64_t{device()} << 32) | device();
}

}  // namespace

void StepLoop::Accept(std::unique_ptr<ActiveRequest> request) {
  request->arrival = next_arrival_++;
  calm_ = false;
  ActiveRequest* const raw = request.get();
  const absl::Status status = Prepare(raw);
  waiting_.insert(std::upper_bound(waiting_.begin(), waiting_.end(), request, WaitsBefore),
                  std::move(request));
  if (!status.ok()) {
    Fail(raw, status);
    Sweep();
  }
}

absl::Status StepLoop::Prepare(ActiveRequest* request) {
  const int32_t num_choices = NumSequences(request->request);
  const TextStreamer::Options text{.stop = request->request.stopping.stop,
                                   .include_stop = request->request.stopping.include_stop};
  for (int32_t i = 0; i < num_choices; ++i) {
    auto sequence = std::make_unique<Sequence>(i, KvSequence(cache_.num_layers(), request->tenant),
                                               tokenizer_, text);
    sequence->tokens = request->prompt.token_ids;
    if (UsesPenalties(request->request.sampling)) {
      sequence->counts.AddPrompt(request->prompt.token_ids);
    }
    request->choices.push_back(std::move(sequence));
  }
  request->keys = std::move(request->prompt.column_keys);
  request->images.resize(request->prompt.images.size());
  request->receipt.images = static_cast<int32_t>(request->prompt.images.size());
  for (const PromptImage& image : request->prompt.images) {
    request->receipt.decode_hits += image.decode_hit ? 1 : 0;
  }
  if (!request->prompt.root_key) request->receipt.miss = CacheMiss::kBypassed;
  const ModelSpec& spec = model_->spec();
  request->whole_prompt = spec.sharing == Sharing::kWholePrefix;
  request->cross_attended = spec.image && spec.image->cross_attended;
  PREFIXD_RETURN_IF_ERROR(CheckCombination(*request));

  request->seed = request->request.sampling.seed ? *request->request.sampling.seed : DrawSeed();
  if (request->request.embed_images) return absl::OkStatus();
  const SamplingParams& sampling = request->request.sampling;
  if (request->request.scoring) {
    PREFIXD_RETURN_IF_ERROR(PrepareScoring(request));
    return CheckArrival(request);
  }
  PREFIXD_RETURN_IF_ERROR(PrepareRetention(request));
  PREFIXD_RETURN_IF_ERROR(ForceOutput(request));
  if (request->pins == nullptr) CapOutput(request);
  if (sampling.num_beams > 1) {
    request->beams.emplace(BeamState{
        .search = BeamSearch(sampling.num_beams, sampling.length_penalty, request->max_new_tokens),
        .candidates = std::vector<std::vector<BeamSearch::Candidate>>(num_choices)});
  }
  request->max_pages = PagesFor(*request, request->pins == nullptr ? request->max_new_tokens : 1);
  if (request->whole_prompt && request->prompt.root_key && !request->retention.on()) {
    // Whoever stands on the snapshot of its prompt copies a page a layer. Not where there is no
    // room.
    if (request->max_pages + cache_.num_layers() <= LonelyPages(request->tenant)) {
      request->max_pages += cache_.num_layers();
      request->whole_prefix = SnapshotKey(WholePrefixSpecOf(request->prompt));
    }
  }
  if (PREFIXD_PLANTED(kPromiseOnePageShort) && request->max_pages > 1) --request->max_pages;
  const int32_t max_choices =
      std::min(options_.max_running, options_.tenants[request->tenant].max_running);
  if (num_choices > max_choices) {
    return MakeError(absl::StatusCode::kInvalidArgument, reason::kParameterOutOfRange,
                     absl::StrCat(sampling.num_beams > 1 ? "num_beams" : "n", " is ", num_choices,
                                  ", the server runs at most ", max_choices));
  }
  return CheckArrival(request);
}

absl::Status StepLoop::CheckArrival(ActiveRequest* request) const {
  PREFIXD_RETURN_IF_ERROR(CheckFits(*request));
  request->expected_rows = ExpectedRows(*request);
  PREFIXD_RETURN_IF_ERROR(CheckDeadlineReachable(*request));
  return absl::OkStatus();
}

// What a request asks for at once and its model, or its own wishes, do not allow together.
absl::Status StepLoop::CheckCombination(const ActiveRequest& request) const {
  const Request& wanted = request.request;
  const auto refuse = [](absl::string_view field, absl::string_view why) {
    return MakeError(absl::StatusCode::kInvalidArgument, reason::kParameterOutOfRange,
                     absl::StrCat(field, ": ", why), {{"field", std::string(field)}});
  };
  if (request.whole_prompt && (request.pins != nullptr || request.prefix_rows > 0)) {
    return MakeError(absl::StatusCode::kFailedPrecondition, reason::kFeatureUnsupported,
                     "prefix: the tokens of this model's prompt see each other, so that no part of "
                     "it can be pinned and shared",
                     {{"field", "prefix"}});
  }
  const SamplingParams& sampling = wanted.sampling;
  const bool asks_budget =
      wanted.retention.scope.value_or(RetentionScope::kOff) != RetentionScope::kOff ||
      wanted.retention.budget.value_or(1.0) < 1.0;
  if (sampling.num_beams > 1) {
    constexpr absl::string_view kField = "sampling.num_beams";
    if (wanted.output.num_choices > sampling.num_beams) {
      return refuse(kField, absl::StrCat(sampling.num_beams, ", fewer than output.n, ",
                                         wanted.output.num_choices));
    }
    if (sampling.temperature > 0) return refuse(kField, "beam search together with a temperature");
    if (UsesPenalties(sampling) || !sampling.logit_bias.empty()) {
      return refuse(kField, "beam search together with penalties or a logit bias");
    }
    if (asks_budget) return refuse(kField, "beam search together with a KV budget");
    if (wanted.output.logprobs || !wanted.stopping.stop.empty()) {
      return refuse(kField, "beam search together with output.logprobs or stopping.stop");
    }
    if (!wanted.forced_output.empty()) return refuse(kField, "beam search of a forced output");
  }
  if (!wanted.recompute_all) return absl::OkStatus();
  if (request.prefix_rows > 0) return refuse("kv_cache", "DISABLED together with a named prefix");
  if (asks_budget) return refuse("kv_cache", "DISABLED together with a KV budget");
  if (sampling.num_beams > 1) return refuse("kv_cache", "DISABLED together with beam search");
  return absl::OkStatus();
}

// The output is given: it is what ends the request.
absl::Status StepLoop::ForceOutput(ActiveRequest* request) const {
  const std::vector<int32_t>& forced = request->request.forced_output;
  if (forced.empty()) return absl::OkStatus();
  const int32_t limit =
      std::min(model_->spec().context_length - request->prompt_rows(), options_.max_output_tokens);
  if (static_cast<int64_t>(forced.size()) > limit) {
    return MakeError(absl::StatusCode::kInvalidArgument, reason::kContextLengthExceeded,
                     absl::StrCat("the forced output has ", forced.size(),
                                  " tokens, the context and the engine leave ", limit));
  }
  for (const int32_t token : forced) {
    if (token >= 0 && token < model_->spec().vocab_size) continue;
    return MakeError(absl::StatusCode::kInvalidArgument, reason::kParameterOutOfRange,
                     absl::StrCat("forced token ", token, " is outside the vocabulary of ",
                                  model_->spec().vocab_size));
  }
  request->request.stopping = {.max_tokens = static_cast<int32_t>(forced.size()),
                               .ignore_eos = true};
  for (const auto& choice : request->choices) choice->forced_tokens = forced;
  return absl::OkStatus();
}

absl::Status StepLoop::CheckFits(const ActiveRequest& request) const {
  const int64_t most = LonelyPages(request.tenant);
  if (request.max_pages <= most) return absl::OkStatus();
  return MakeError(
      absl::StatusCode::kResourceExhausted, reason::kKvCacheFull,
      absl::StrCat("the request needs ", request.max_pages, " pages of KV cache, it can have ",
                   most, "; lower max_tokens or n, or raise --kv-memory"),
      {{"needed_pages", absl::StrCat(request.max_pages)}, {"total_pages", absl::StrCat(most)}});
}

void StepLoop::CapOutput(ActiveRequest* request) const {
  const int32_t room = model_->spec().context_length - request->prompt_rows();
  PREFIXD_CHECK(room >= 1);  // PromptBuilder refuses longer prompts.
  const int32_t limit = std::min(room, options_.max_output_tokens);
  const std::optional<int32_t>& wanted = request->request.stopping.max_tokens;
  request->max_new_tokens = wanted ? std::min(*wanted, limit) : limit;
  request->capped_by_context = room <= options_.max_output_tokens && (!wanted || *wanted > room);
  if (wanted) return;
  // Nobody asked for a length: take what the cache can ever hold.
  while (request->max_new_tokens > 1 &&
         PagesFor(*request, request->max_new_tokens) > LonelyPages(request->tenant)) {
    request->max_new_tokens = (request->max_new_tokens + 1) / 2;
    request->capped_by_context = true;
  }
}

// The last sampled token is never fed, so its KV is never stored. Choices share the full pages of
// the prompt; from the first partly filled page on each has its own.
int64_t StepLoop::PagesFor(const ActiveRequest& request, int64_t new_tokens) const {
  if (request.retention.on()) return PagesUnderBudget(request, new_tokens);
  const int64_t prompt = request.prompt_rows();
  const int64_t one = cache_.PagesForTokens(prompt + new_tokens - 1);
  // Without a cache each choice computes the prompt for itself.
  const int64_t common = request.request.recompute_all ? 0 : prompt / kPageSlots * kPageSlots;
  const int64_t shared = cache_.PagesForTokens(common);
  return one + (NumSequences(request.request) - 1) * (one - shared);
}

// What is neither cached nor computed for a request before it.
int32_t StepLoop::ExpectedRows(const ActiveRequest& request) const {
  if (!request.prompt.root_key) return request.prompt_rows();
  if (request.context_end && cache_.snapshots().Contains(*request.context_end)) return 0;
  if (request.whole_prompt) {
    const auto& key = request.whole_prefix;
    return key && cache_.snapshots().Contains(*key) ? 1 : request.prompt_rows();
  }
  const auto& snapshot = request.retention.snapshot_key;
  if (snapshot && cache_.snapshots().Contains(*snapshot)) {
    return request.prompt_rows() - request.retention.boundary;
  }
  int32_t shared = cache_.index().Peek(*request.prompt.root_key, request.tokens(), request.keys,
                                       request.prompt_rows() - 1);
  const auto compare = [&](const RequestList& others) {
    for (const auto& other : others) {
      if (!other->prompt.root_key) continue;
      // Keys are chained: where one is equal, so are all before it.
      const size_t most = std::min(request.keys.size(), other->keys.size());
      const auto end = std::partition_point(
          request.keys.begin(), request.keys.begin() + static_cast<ptrdiff_t>(most),
          [&](const ContentKey& key) { return other->keys[&key - request.keys.data()] == key; });
      shared = std::max(shared, kSlotsPerPage * static_cast<int32_t>(end - request.keys.begin()));
    }
  };
  compare(waiting_);
  compare(running_);
  return request.prompt_rows() - std::min(shared, request.prompt_rows() - 1);
}

absl::Status StepLoop::CheckDeadlineReachable(const ActiveRequest& request) const {
  if (prefill_rows_per_second_ <= 0) return absl::OkStatus();
  const absl::Duration left = request.request.deadline - clock_->Now();
  const absl::Duration prefill = absl::Seconds(request.expected_rows / prefill_rows_per_second_);
  const absl::Duration wait = absl::Seconds(RowsBefore(request) / prefill_rows_per_second_);
  if (wait + prefill <= left) return absl::OkStatus();
  return MakeError(
      absl::StatusCode::kResourceExhausted,
      absl::StrCat("the deadline is in ", absl::ToInt64Milliseconds(left),
                   " ms, waiting and prefill take about ",
                   absl::ToInt64Milliseconds(wait + prefill), " ms"),
      ErrorDetail{
          .reason = reason::kDeadlineUnreachable,
          .metadata = {{"left_ms", absl::StrCat(absl::ToInt64Milliseconds(left))},
                       {"needed_ms", absl::StrCat(absl::ToInt64Milliseconds(wait + prefill))}},
          .retry_after = std::max(kLeastRetryHint, wait)});
}

int64_t StepLoop::RowsAhead(int32_t tenant) const {
  int64_t rows = 0;
  for (const auto& request : waiting_) {
    if (request->tenant == tenant) rows += request->expected_rows;
  }
  for (const auto& request : running_) {
    if (request->tenant == tenant) rows += request->prompt_rows() - request->computed_rows();
  }
  return rows;
}

// While the tenant's own rows are computed, each other tenant gets at most as many for its weight.
double StepLoop::RowsBefore(const ActiveRequest& request) const {
  const double before = static_cast<double>(RowsAhead(request.tenant));
  const double own = before + request.expected_rows;
  double others = 0;
  for (size_t t = 0; t < options_.tenants.size(); ++t) {
    const int32_t tenant = static_cast<int32_t>(t);
    if (tenant == request.tenant) continue;
    const double weight = options_.tenants[t].weight / options_.tenants[request.tenant].weight;
    others += std::min(static_cast<double>(RowsAhead(tenant)), own * weight);
  }
  return before + others;
}

absl::Duration StepLoop::EstimatedWait() const {
  if (prefill_rows_per_second_ <= 0) return absl::ZeroDuration();
  int64_t rows = 0;
  for (size_t t = 0; t < options_.tenants.size(); ++t) rows += RowsAhead(static_cast<int32_t>(t));
  return absl::Seconds(static_cast<double>(rows) / prefill_rows_per_second_);
}

}  // namespace prefixd
