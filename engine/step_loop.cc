#include "engine/step_loop.h"

#include <algorithm>
#include <random>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/error.h"
#include "base/log.h"
#include "base/planted_bug.h"
#include "base/status_macros.h"
#include "engine/error_reasons.h"

namespace prefixd {
namespace {

constexpr double kRateSmoothing = 0.2;
constexpr absl::Duration kLeastRetryHint = absl::Milliseconds(100);

bool Contains(absl::Span<const int32_t> ids, int32_t id) {
  return std::find(ids.begin(), ids.end(), id) != ids.end();
}

bool UsesPenalties(const SamplingParams& params) {
  return params.repetition_penalty != 1.0f || params.presence_penalty != 0.0f ||
         params.frequency_penalty != 0.0f;
}

uint64_t DrawSeed() {
  std::random_device device;
  return (uint64_t{device()} << 32) | device();
}

absl::Status Stopped(StopCause cause) {
  if (cause == StopCause::kDraining) {
    return MakeError(absl::StatusCode::kUnavailable, "the server is shutting down",
                     ErrorDetail{.reason = reason::kDraining, .retry_after = absl::Seconds(1)});
  }
  return MakeError(absl::StatusCode::kCancelled, reason::kCancelled, "the request was cancelled");
}

// The image placeholder and rows of the head that no token stands for.
std::vector<int32_t> NeverSampled(const ModelSpec& spec, const Tokenizer& tokenizer) {
  std::vector<int32_t> ids;
  if (spec.image) ids.push_back(spec.image->token_id);
  for (int32_t id = tokenizer.vocab_size(); id < spec.vocab_size; ++id) ids.push_back(id);
  return ids;
}

// Asked for by a planted bug only.
bool HasOneTokenToGo(const ActiveRequest& request) {
  const size_t last = static_cast<size_t>(request.max_new_tokens) - 1;
  return std::any_of(request.choices.begin(), request.choices.end(),
                     [last](const auto& choice) { return choice->generated.size() == last; });
}

template <typename Vector>
void EraseEnded(Vector* requests) {
  std::erase_if(*requests, [](const auto& request) { return request->ended; });
}

}  // namespace

ModelLimits StepLoop::LimitsFor(const StepLoopOptions& options) {
  // One row more than the budget: prefill moves even when decodes fill it (Scheduler::PlanPrompt).
  return {.max_batch_rows = options.max_batch_tokens + 1, .max_logit_rows = options.max_running};
}

absl::StatusOr<std::unique_ptr<StepLoop>> StepLoop::Create(const StepLoopOptions& options,
                                                           Backend* backend,
                                                           std::unique_ptr<Model> model,
                                                           std::unique_ptr<KvPool> pool,
                                                           const Tokenizer* tokenizer,
                                                           const Clock* clock, Listener listener) {
  auto loop = std::unique_ptr<StepLoop>(new StepLoop(options, std::move(model), std::move(pool),
                                                     tokenizer, clock, std::move(listener)));
  PREFIXD_ASSIGN_OR_RETURN(
      loop->runner_,
      ModelRunner::Create(backend, loop->model_.get(), loop->pool_.get(), &loop->cache_,
                          LimitsFor(options), NeverSampled(loop->model_->spec(), *tokenizer)));
  return loop;
}

StepLoop::StepLoop(const StepLoopOptions& options, std::unique_ptr<Model> model,
                   std::unique_ptr<KvPool> pool, const Tokenizer* tokenizer, const Clock* clock,
                   Listener listener)
    : options_(options),
      model_(std::move(model)),
      pool_(std::move(pool)),
      tokenizer_(tokenizer),
      clock_(clock),
      listener_(std::move(listener)),
      scheduler_({.max_batch_rows = options.max_batch_tokens,
                  .max_prefill_rows =
                      options.prefill_chunk > 0 ? options.prefill_chunk : options.max_batch_tokens,
                  .max_running = options.max_running,
                  .num_pages = pool_->shape().num_pages}),
      cache_(model_->spec().num_layers, pool_->shape().num_pages) {}

StepLoop::~StepLoop() = default;

// --- Arrival
// ---------------------------------------------------------------------------------------

void StepLoop::Accept(std::unique_ptr<ActiveRequest> request) {
  request->arrival = next_arrival_++;
  ActiveRequest* const raw = request.get();
  const auto behind = [](const std::unique_ptr<ActiveRequest>& a,
                         const std::unique_ptr<ActiveRequest>& b) {
    if (PREFIXD_PLANTED(kPriorityIgnored)) return false;
    return a->request.priority > b->request.priority;  // Stable: arrival decides among equals.
  };
  const absl::Status status = Prepare(raw);
  waiting_.insert(std::upper_bound(waiting_.begin(), waiting_.end(), request, behind),
                  std::move(request));
  if (!status.ok()) {
    Fail(raw, status);
    Sweep();
  }
}

absl::Status StepLoop::Prepare(ActiveRequest* request) {
  CapOutput(request);
  request->reserved_pages = PagesFor(*request, request->max_new_tokens);
  if (PREFIXD_PLANTED(kPromiseOnePageShort) && request->reserved_pages > 1) {
    --request->reserved_pages;
  }
  if (request->reserved_pages > cache_.num_pages()) {
    return MakeError(absl::StatusCode::kResourceExhausted, reason::kKvCacheFull,
                     absl::StrCat("the request needs ", request->reserved_pages,
                                  " pages of KV cache, the server has ", cache_.num_pages(),
                                  "; lower max_tokens or n, or raise --kv-memory"),
                     {{"needed_pages", absl::StrCat(request->reserved_pages)},
                      {"total_pages", absl::StrCat(cache_.num_pages())}});
  }
  if (request->request.output.num_choices > options_.max_running) {
    return MakeError(absl::StatusCode::kInvalidArgument, reason::kParameterOutOfRange,
                     absl::StrCat("n is ", request->request.output.num_choices,
                                  ", the server runs at most ", options_.max_running));
  }
  PREFIXD_RETURN_IF_ERROR(CheckDeadlineReachable(*request));

  request->seed = request->request.sampling.seed ? *request->request.sampling.seed : DrawSeed();
  request->features.resize(request->prompt.images.size());
  const TextStreamer::Options text{.stop = request->request.stopping.stop,
                                   .include_stop = request->request.stopping.include_stop};
  for (int32_t i = 0; i < request->request.output.num_choices; ++i) {
    auto sequence =
        std::make_unique<Sequence>(i, KvSequence(cache_.num_layers()), tokenizer_, text);
    if (UsesPenalties(request->request.sampling)) {
      sequence->counts.AddPrompt(request->prompt.token_ids);
    }
    request->choices.push_back(std::move(sequence));
  }
  return absl::OkStatus();
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
         PagesFor(*request, request->max_new_tokens) > cache_.num_pages()) {
    request->max_new_tokens = (request->max_new_tokens + 1) / 2;
    request->capped_by_context = true;
  }
}

// The last sampled token is never fed, so its KV is never stored. Choices share the full pages of
// the prompt; from the first partly filled page on each has its own.
int64_t StepLoop::PagesFor(const ActiveRequest& request, int64_t new_tokens) const {
  const int64_t prompt = request.prompt_rows();
  const int64_t one = cache_.PagesForTokens(prompt + new_tokens - 1);
  const int64_t shared = cache_.PagesForTokens(prompt / kPageSlots * kPageSlots);
  return one + (request.request.output.num_choices - 1) * (one - shared);
}

absl::Status StepLoop::CheckDeadlineReachable(const ActiveRequest& request) const {
  if (prefill_rows_per_second_ <= 0) return absl::OkStatus();
  const absl::Duration left = request.request.deadline - clock_->Now();
  const absl::Duration wait = EstimatedWait();
  const absl::Duration prefill =
      absl::Seconds(static_cast<double>(request.prompt_rows()) / prefill_rows_per_second_);
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

int64_t StepLoop::RowsAhead() const {
  int64_t rows = 0;
  for (const auto& request : waiting_) rows += request->prompt_rows();
  for (const auto& request : running_) rows += request->prompt_rows() - request->computed_rows;
  return rows;
}

absl::Duration StepLoop::EstimatedWait() const {
  if (prefill_rows_per_second_ <= 0) return absl::ZeroDuration();
  return absl::Seconds(static_cast<double>(RowsAhead()) / prefill_rows_per_second_);
}

// --- A step
// ----------------------------------------------------------------------------------------

bool StepLoop::Step() {
  EndExpired();
  AdmitWaiting();
  for (const auto& request : running_) request->parked = !request->sink->Writable();
  scheduler_.Plan(running_, &plan_);
  if (plan_.empty()) {
    Sweep();
    return false;
  }
  const absl::Time begin = clock_->Now();
  const absl::Status status = runner_->Run(plan_, &result_);
  ++steps_;
  if (status.ok()) {
    ObserveRate(plan_, clock_->Now() - begin);
    for (auto& [request, failure] : result_.failures) Fail(request, std::move(failure));
    for (SampledToken& sampled : result_.samples) Absorb(&sampled);
  } else {
    PREFIXD_LOG(kError, "step ", steps_, " failed: ", status.message());
    if (!PREFIXD_PLANTED(kCopiesOutliveAFailedStep)) cache_.ClearCopies();
    const absl::Status failure = MakeError(absl::StatusCode::kInternal, reason::kEngineFailed,
                                           "a step of the engine failed");
    for (const DecodeRow& decode : plan_.decodes) Fail(decode.request, failure);
    for (const PrefillPiece& piece : plan_.prefills) Fail(piece.request, failure);
    if (!PREFIXD_PLANTED(kFailureSparesImages)) {
      for (const ImagePiece& piece : plan_.images) Fail(piece.request, failure);
    }
  }
  Sweep();
  if (options_.check_invariants) CheckInvariants();
  return true;
}

void StepLoop::EndExpired() {
  const absl::Time now = clock_->Now();
  const auto check = [this, now](ActiveRequest* request) {
    StopCause cause = request->handle->stop.load();
    if (PREFIXD_PLANTED(kLostCancelInFinalStep) && HasOneTokenToGo(*request)) {
      cause = StopCause::kNone;
    }
    if (PREFIXD_PLANTED(kDeadlineSkipsParked) && request->parked && cause == StopCause::kNone) {
      return;
    }
    const auto& soft_limit = request->request.stopping.soft_time_limit;
    if (cause != StopCause::kNone) {
      Fail(request, Stopped(cause));
    } else if (now >= request->request.deadline) {
      Fail(request, MakeError(absl::StatusCode::kDeadlineExceeded, reason::kDeadlineExceeded,
                              "the deadline passed"));
    } else if (soft_limit && now >= request->submitted + *soft_limit) {
      TimeUp(request);
    }
  };
  for (const auto& request : running_) check(request.get());
  for (const auto& request : waiting_) check(request.get());
  Sweep();
}

void StepLoop::AdmitWaiting() {
  if (waiting_.empty()) return;
  const size_t count = scheduler_.Admit(running_, waiting_).size();
  for (size_t i = 0; i < count; ++i) {
    Start(waiting_[i].get());
    running_.push_back(std::move(waiting_[i]));
  }
  waiting_.erase(waiting_.begin(), waiting_.begin() + static_cast<ptrdiff_t>(count));
}

void StepLoop::Start(ActiveRequest* request) {
  request->phase = ActiveRequest::Phase::kPrefill;
  request->scheduled = clock_->Now();
  listener_.on_scheduled(*request);
  request->sink->OnEvent(StartedEvent{.request_id = request->request.id,
                                      .model = options_.model_name,
                                      .prompt_tokens = request->prompt_rows(),
                                      .image_tokens = request->prompt.num_image_tokens(),
                                      .seed = request->seed,
                                      .max_tokens = request->max_new_tokens});
}

void StepLoop::Absorb(SampledToken* sampled) {
  ActiveRequest* const request = sampled->request;
  Sequence* const sequence = sampled->sequence;
  if (request->ended) return;
  if (sampled->token < 0) {
    Fail(request, MakeError(absl::StatusCode::kInternal, reason::kEngineFailed,
                            "the model's logits are not finite"));
    return;
  }
  if (request->phase == ActiveRequest::Phase::kPrefill) {
    request->phase = ActiveRequest::Phase::kDecode;
    request->prefilled = request->first_token = clock_->Now();
    prompt_tokens_ += static_cast<uint64_t>(request->prompt_rows());
    images_ += request->prompt.images.size();
  }
  const bool replayed = sequence->replaying();
  sequence->generated.push_back(sampled->token);
  sequence->next_input = {.token = sampled->token};
  if (replayed) return;
  ++generated_tokens_;
  if (UsesPenalties(request->request.sampling) && !PREFIXD_PLANTED(kPenaltyForgetsGenerated)) {
    sequence->counts.AddGenerated(sampled->token);
  }

  const StoppingParams& stopping = request->request.stopping;
  std::optional<FinishReason> finish;
  std::string text;
  if (!stopping.ignore_eos && Contains(model_->spec().generation.eos_token_ids, sampled->token)) {
    finish = FinishReason::kEos;
  } else if (Contains(stopping.stop_token_ids, sampled->token)) {
    finish = FinishReason::kStopToken;
  } else {
    text = sequence->streamer.Push(sampled->token);
    const bool full = static_cast<int32_t>(sequence->generated.size()) >= request->max_new_tokens;
    if (!sequence->streamer.matched_stop().empty()) {
      finish = FinishReason::kStopString;
    } else if (full) {
      finish = request->capped_by_context ? FinishReason::kContextLength : FinishReason::kMaxTokens;
    }
  }
  if (finish && *finish != FinishReason::kStopString) {
    text += sequence->streamer.Finish();
    // What was held back may have completed a stop string.
    if (!sequence->streamer.matched_stop().empty()) finish = FinishReason::kStopString;
  }
  EmitToken(*sampled, std::move(text));
  if (finish) FinishChoice(request, sequence, *finish);
}

void StepLoop::EmitToken(const SampledToken& sampled, std::string text) {
  const OutputParams& output = sampled.request->request.output;
  DeltaEvent delta{.choice = sampled.sequence->choice, .text = std::move(text)};
  if (output.token_ids) delta.token_ids.push_back(sampled.token);
  if (sampled.logprobs) {
    LogprobEntry entry = *sampled.logprobs;
    entry.sampled.token = tokenizer_->TokenBytes(entry.sampled.token_id);
    for (TokenLogprob& top : entry.top) top.token = tokenizer_->TokenBytes(top.token_id);
    delta.logprobs.push_back(std::move(entry));
  }
  if (delta.text.empty() && delta.token_ids.empty() && delta.logprobs.empty()) return;
  sampled.request->sink->OnEvent(std::move(delta));
}

void StepLoop::ObserveRate(const StepPlan& plan, absl::Duration elapsed) {
  int64_t rows = 0;
  for (const PrefillPiece& piece : plan.prefills) rows += piece.num_rows;
  const double seconds = absl::ToDoubleSeconds(elapsed);
  if (rows == 0 || seconds <= 0 || !plan.images.empty()) return;
  const double rate = static_cast<double>(rows) / seconds;
  prefill_rows_per_second_ =
      prefill_rows_per_second_ <= 0
          ? rate
          : (1 - kRateSmoothing) * prefill_rows_per_second_ + kRateSmoothing * rate;
}

// --- The end
// ---------------------------------------------------------------------------------------

void StepLoop::FinishChoice(ActiveRequest* request, Sequence* sequence, FinishReason reason) {
  sequence->finished = true;
  retired_.emplace_back(runner_->completed_steps(), std::move(sequence->kv));
  ChoiceFinishedEvent event{.choice = sequence->choice, .reason = reason};
  if (reason == FinishReason::kStopString) event.stop_string = sequence->streamer.matched_stop();
  if (reason == FinishReason::kEos || reason == FinishReason::kStopToken) {
    event.stop_token = sequence->generated.back();
  }
  request->sink->OnEvent(std::move(event));
  const bool all = std::all_of(request->choices.begin(), request->choices.end(),
                               [](const auto& choice) { return choice->finished; });
  if (all) FinishRequest(request);
}

void StepLoop::FinishRequest(ActiveRequest* request) {
  const absl::Time now = clock_->Now();
  const bool has_token = request->phase == ActiveRequest::Phase::kDecode;
  FinishedEvent event;
  event.usage = {.prompt_tokens = request->prompt_rows(),
                 .image_tokens = request->prompt.num_image_tokens()};
  for (const auto& choice : request->choices) {
    event.usage.completion_tokens += static_cast<int32_t>(choice->generated.size());
  }
  event.timings = {.queue = request->scheduled - request->submitted,
                   .prefill = (has_token ? request->prefilled : now) - request->scheduled,
                   .first_token = (has_token ? request->first_token : now) - request->submitted,
                   .total = now - request->submitted};
  ++finished_;
  End(request, event);
}

void StepLoop::TimeUp(ActiveRequest* request) {
  if (request->phase == ActiveRequest::Phase::kWaiting) Start(request);
  for (const auto& choice : request->choices) {
    if (choice->finished) continue;
    std::string text = choice->streamer.Finish();
    if (!text.empty() && !PREFIXD_PLANTED(kTimeLimitDropsHeldText)) {
      request->sink->OnEvent(DeltaEvent{.choice = choice->choice, .text = std::move(text)});
    }
    FinishChoice(request, choice.get(), FinishReason::kTimeLimit);
  }
}

void StepLoop::Fail(ActiveRequest* request, absl::Status status) {
  if (request->ended && !PREFIXD_PLANTED(kDoubleTerminal)) return;
  ++failed_;
  End(request, FailedEvent{std::move(status)});
}

void StepLoop::End(ActiveRequest* request, Event terminal) {
  PREFIXD_CHECK(!request->ended || PREFIXD_PLANTED(kDoubleTerminal));
  request->ended = true;
  for (const auto& choice : request->choices) {
    if (!choice->finished) {
      retired_.emplace_back(runner_->completed_steps(), std::move(choice->kv));
    }
  }
  listener_.on_end(*request);
  request->sink->OnEvent(std::move(terminal));
}

void StepLoop::Sweep() {
  EraseEnded(&waiting_);
  EraseEnded(&running_);
  const uint64_t completed = runner_->completed_steps();
  std::erase_if(retired_, [completed](const auto& retired) { return retired.first <= completed; });
}

void StepLoop::FailAll(const absl::Status& status) {
  for (const auto& request : running_) Fail(request.get(), status);
  for (const auto& request : waiting_) Fail(request.get(), status);
  Sweep();
}

// --- Looking in
// ------------------------------------------------------------------------------------

absl::Time StepLoop::NextTimer() const {
  absl::Time next = absl::InfiniteFuture();
  const auto consider = [&next](const ActiveRequest& request) {
    next = std::min(next, request.request.deadline);
    if (const auto& limit = request.request.stopping.soft_time_limit) {
      next = std::min(next, request.submitted + *limit);
    }
  };
  for (const auto& request : waiting_) consider(*request);
  for (const auto& request : running_) consider(*request);
  return next;
}

void StepLoop::FillStats(EngineStats* stats) const {
  const absl::Time now = clock_->Now();
  stats->waiting = static_cast<int32_t>(waiting_.size());
  stats->running = static_cast<int32_t>(running_.size());
  stats->total_pages = cache_.num_pages();
  stats->free_pages = cache_.num_free_pages();
  stats->page_slots = kPageSlots;
  stats->steps = steps_;
  stats->prompt_tokens = prompt_tokens_;
  stats->generated_tokens = generated_tokens_;
  stats->images = images_;
  stats->requests_finished = finished_;
  stats->requests_failed = failed_;
  int64_t promised = 0;
  const auto add = [&](const ActiveRequest& request, absl::string_view state) {
    RequestInfo info{.id = request.request.id,
                     .state = std::string(request.parked ? "parked" : state),
                     .prompt_tokens = request.prompt_rows(),
                     .computed_tokens = request.computed_rows,
                     .age = now - request.submitted};
    for (const auto& choice : request.choices) {
      info.generated_tokens += static_cast<int32_t>(choice->generated.size());
      info.kv_pages += choice->kv.num_pages();
    }
    stats->requests.push_back(std::move(info));
  };
  for (const auto& request : running_) {
    add(*request, request->phase == ActiveRequest::Phase::kPrefill ? "prefill" : "decode");
    promised += request->reserved_pages;
  }
  for (const auto& request : waiting_) add(*request, "queued");
  const int64_t held = cache_.num_pages() - cache_.num_free_pages();
  stats->reserved_pages = static_cast<int32_t>(std::max<int64_t>(0, promised - held));
}

void StepLoop::CheckInvariants() const {
  std::vector<const KvSequence*> alive;
  int64_t promised = 0;
  for (const auto& request : running_) {
    promised += request->reserved_pages;
    for (const auto& choice : request->choices) {
      if (!choice->finished) alive.push_back(&choice->kv);
    }
  }
  cache_.CheckInvariants(alive);
  PREFIXD_CHECK(promised <= cache_.num_pages());
  PREFIXD_CHECK(cache_.num_pages() - cache_.num_free_pages() <= promised);
}

}  // namespace prefixd
