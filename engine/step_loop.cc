#include "engine/step_loop.h"

#include <algorithm>
#include <limits>
#include <numeric>
#include <random>

#include "absl/container/flat_hash_set.h"
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

absl::Status PoolPinned() {
  return MakeError(absl::StatusCode::kResourceExhausted, reason::kKvCacheFull,
                   "pinned prefixes leave too few pages of KV cache");
}

// The image placeholder and rows of the head that no token stands for.
std::vector<int32_t> NeverSampled(const ModelSpec& spec, const Tokenizer& tokenizer) {
  std::vector<int32_t> ids;
  if (spec.image) ids.push_back(spec.image->token_id);
  for (int32_t id = tokenizer.vocab_size(); id < spec.vocab_size; ++id) ids.push_back(id);
  return ids;
}

void EraseEnded(RequestList* requests) {
  std::erase_if(*requests, [](const auto& request) { return request->ended; });
}

// Among waiting requests: priority, then arrival.
bool WaitsBefore(const std::unique_ptr<ActiveRequest>& a, const std::unique_ptr<ActiveRequest>& b) {
  if (a->request.priority != b->request.priority && !PREFIXD_PLANTED(kPriorityIgnored)) {
    return a->request.priority > b->request.priority;
  }
  return a->arrival < b->arrival;
}

// Asked for by a planted bug only.
bool HasOneTokenToGo(const ActiveRequest& request) {
  const size_t last = static_cast<size_t>(request.max_new_tokens) - 1;
  return std::any_of(request.choices.begin(), request.choices.end(),
                     [last](const auto& choice) { return choice->generated.size() == last; });
}

std::vector<TenantOptions> TenantsOrOne(std::vector<TenantOptions> tenants) {
  if (!tenants.empty()) return tenants;
  constexpr int32_t kNoLimit = std::numeric_limits<int32_t>::max();
  return {{.page_share = 1.0, .page_floor = 0.0, .max_running = kNoLimit}};
}

StepLoopOptions WithTenants(StepLoopOptions options) {
  options.tenants = TenantsOrOne(std::move(options.tenants));
  return options;
}

// Floors of others are taken off each quota, so that a request that fits its quota fits the pool.
std::vector<TenantPages> PagesOf(const std::vector<TenantOptions>& tenants, int32_t num_pages) {
  std::vector<TenantPages> pages;
  int64_t floors = 0;
  for (const TenantOptions& tenant : tenants) {
    pages.push_back({.quota = static_cast<int64_t>(tenant.page_share * num_pages),
                     .floor = static_cast<int64_t>(tenant.page_floor * num_pages),
                     .weight = tenant.weight});
    floors += pages.back().floor;
  }
  for (TenantPages& tenant : pages) {
    tenant.quota = std::min(tenant.quota, num_pages - (floors - tenant.floor));
  }
  return pages;
}

SchedulerOptions SchedulerOptionsFrom(const StepLoopOptions& options) {
  SchedulerOptions scheduler{.max_batch_rows = options.max_batch_tokens,
                             .max_prefill_rows = options.prefill_chunk > 0
                                                     ? options.prefill_chunk
                                                     : options.max_batch_tokens,
                             .max_running = options.max_running,
                             .max_logit_rows = StepLoop::LimitsFor(options).max_logit_rows,
                             .reserve = options.reserve_all};
  for (const TenantOptions& tenant : options.tenants) {
    scheduler.tenant_max_running.push_back(tenant.max_running);
  }
  return scheduler;
}

std::vector<double> WeightsOf(const std::vector<TenantOptions>& tenants) {
  std::vector<double> weights;
  for (const TenantOptions& tenant : tenants) weights.push_back(tenant.weight);
  return weights;
}

}  // namespace

ModelLimits StepLoop::LimitsFor(const StepLoopOptions& options) {
  // One row more than the budget: prefill moves even when decodes fill it. Logits of every decode,
  // and of as many prompts that end in the same step.
  return {.max_batch_rows = options.max_batch_tokens + 1,
          .max_logit_rows = 2 * options.max_running};
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
    : options_(WithTenants(options)),
      model_(std::move(model)),
      pool_(std::move(pool)),
      tokenizer_(tokenizer),
      clock_(clock),
      listener_(std::move(listener)),
      cache_(model_->spec().num_layers, pool_->shape().num_pages,
             PagesOf(options_.tenants, pool_->shape().num_pages), options_.key_bits),
      features_(options_.feature_cache_memory),
      sharing_(&cache_, &features_),
      shares_(WeightsOf(options_.tenants)),
      scheduler_(SchedulerOptionsFrom(options_), &cache_, &shares_),
      pinned_pages_(options_.tenants.size()),
      tenant_totals_(options_.tenants.size()) {}

StepLoop::~StepLoop() = default;

// --- Arrival
// ---------------------------------------------------------------------------------------

void StepLoop::Accept(std::unique_ptr<ActiveRequest> request) {
  request->arrival = next_arrival_++;
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
  const int32_t num_choices = request->request.output.num_choices;
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

  if (request->pins == nullptr) CapOutput(request);
  request->max_pages = PagesFor(*request, request->pins == nullptr ? request->max_new_tokens : 1);
  if (PREFIXD_PLANTED(kPromiseOnePageShort) && request->max_pages > 1) --request->max_pages;
  const int32_t max_choices =
      std::min(options_.max_running, options_.tenants[request->tenant].max_running);
  if (num_choices > max_choices) {
    return MakeError(absl::StatusCode::kInvalidArgument, reason::kParameterOutOfRange,
                     absl::StrCat("n is ", num_choices, ", the server runs at most ", max_choices));
  }
  PREFIXD_RETURN_IF_ERROR(CheckFits(*request));
  request->expected_rows = ExpectedRows(*request);
  PREFIXD_RETURN_IF_ERROR(CheckDeadlineReachable(*request));
  request->seed = request->request.sampling.seed ? *request->request.sampling.seed : DrawSeed();
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
  const int64_t prompt = request.prompt_rows();
  const int64_t one = cache_.PagesForTokens(prompt + new_tokens - 1);
  const int64_t shared = cache_.PagesForTokens(prompt / kPageSlots * kPageSlots);
  return one + (request.request.output.num_choices - 1) * (one - shared);
}

// What is neither cached nor computed for a request before it.
int32_t StepLoop::ExpectedRows(const ActiveRequest& request) const {
  if (!request.prompt.root_key) return request.prompt_rows();
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

// --- A step
// ----------------------------------------------------------------------------------------

bool StepLoop::Step() {
  const absl::Time arrived = clock_->Now();
  EndExpired();
  DropReleasedPins();
  for (const auto& request : running_) request->parked = !request->sink->Writable();
  // One that was preempted does not start again while its reader is behind.
  for (const auto& request : waiting_) {
    request->parked = request->started && !request->sink->Writable();
  }
  const absl::Time sharing = clock_->Now();
  BeginRound();
  AdmitWaiting();
  FinishCachedPins();
  MakePlan();
  const absl::Time planned = clock_->Now();
  ChargeTenants();
  if (plan_.empty()) {
    Sweep();
    return false;
  }
  const absl::Time begin = clock_->Now();
  const absl::Status status = runner_->Run(plan_, &result_);
  ++steps_;
  if (status.ok()) {
    ObserveStep(clock_->Now() - begin);
    AfterForward();
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
  cache_time_ += planned - sharing;
  step_time_ += clock_->Now() - arrived;
  if (options_.check_invariants) CheckInvariants();
  return true;
}

// Who computes what, who has work, and how many pages are whose.
void StepLoop::BeginRound() {
  std::vector<bool> active(options_.tenants.size()), asking(options_.tenants.size());
  for (const auto& request : waiting_) {
    if (!request->parked) active[request->tenant] = asking[request->tenant] = true;
  }
  for (const auto& request : running_) {
    if (request->parked) continue;
    active[request->tenant] = true;
    if (request->phase == ActiveRequest::Phase::kPrefill) asking[request->tenant] = true;
  }
  shares_.BeginStep(active, asking);
  cache_.BeginRound(LiveSequences());
  sharing_.BeginStep();
  for (const auto& request : running_) {
    if (request->phase == ActiveRequest::Phase::kPrefill && !request->parked) {
      sharing_.Update(request.get());
    }
  }
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

// The tenant that had least for its weight goes first; within it priority, then arrival.
void StepLoop::AdmitWaiting() {
  std::vector<bool> blocked(options_.tenants.size());
  for (const auto& request : waiting_) {
    if (!PREFIXD_PLANTED(kWaiterNeverRetries)) request->column_waits = false;
  }
  int examined = 0;
  while (ActiveRequest* const request = NextCandidate(blocked)) {
    // Those that wait for another's column are passed over; only so many are asked.
    if (++examined > 4 * options_.max_running) return;
    if (!Admit(request, &blocked)) return;
  }
}

ActiveRequest* StepLoop::NextCandidate(const std::vector<bool>& blocked) const {
  ActiveRequest* next = nullptr;
  for (const auto& request : waiting_) {
    if (request->ended || request->parked || request->column_waits || blocked[request->tenant]) {
      continue;
    }
    if (next == nullptr ||
        (request->tenant != next->tenant && shares_.Before(request->tenant, next->tenant))) {
      next = request.get();
    }
  }
  return next;
}

// Returns false if nobody behind it may start either.
bool StepLoop::Admit(ActiveRequest* request, std::vector<bool>* blocked) {
  if (!sharing_.Begin(request)) {
    request->column_waits = true;
    return true;
  }
  Scheduler::Start start = scheduler_.CanStart(*request, running_);
  while (start != Scheduler::Start::kYes) {
    ActiveRequest* const victim = scheduler_.VictimToStart(*request, start, running_);
    if (victim == nullptr) break;
    Preempt(victim);
    start = scheduler_.CanStart(*request, running_);
  }
  if (start == Scheduler::Start::kYes) {
    Start(request);
    return true;
  }
  sharing_.Abandon(request);
  if (running_.empty() && retired_.empty()) {
    // A prefix that was pinned meanwhile took its room for good.
    const absl::Status status = CheckFits(*request);
    Fail(request, status.ok() ? PoolPinned() : status);
    return true;
  }
  if (start != Scheduler::Start::kTenantFull) return false;
  (*blocked)[request->tenant] = true;
  return true;
}

void StepLoop::Start(ActiveRequest* request) {
  request->phase = ActiveRequest::Phase::kPrefill;
  request->last_prefill = steps_;  // Its patience begins now.
  const auto at = std::find_if(waiting_.begin(), waiting_.end(),
                               [request](const auto& other) { return other.get() == request; });
  running_.push_back(std::move(*at));
  waiting_.erase(at);
  sharing_.Update(request);
  request->most_pages = std::max(request->most_pages, static_cast<int32_t>(HeldPages(*request)));
  if (!request->started) Announce(request);
}

void StepLoop::Announce(ActiveRequest* request) {
  request->started = true;
  request->receipt.shared_kv_bytes =
      static_cast<uint64_t>(HeldPages(*request)) * options_.page_bytes;
  request->scheduled = clock_->Now();
  histograms_.queue_seconds.Observe(absl::ToDoubleSeconds(request->scheduled - request->submitted));
  listener_.on_scheduled(*request);
  request->sink->OnEvent(StartedEvent{.request_id = request->request.id,
                                      .model = options_.model_name,
                                      .prompt_tokens = request->prompt_rows(),
                                      .cached_prompt_tokens = request->receipt.hit_tokens,
                                      .image_tokens = request->prompt.num_image_tokens(),
                                      .seed = request->seed,
                                      .max_tokens = request->max_new_tokens});
}

// The request gives all its KV back and waits for its turn again; what it generated is computed
// again then (docs/decisions.md, rule 12).
void StepLoop::Preempt(ActiveRequest* request) {
  preempted_pages_ += static_cast<uint64_t>(OwnPages(cache_, *request));
  for (const auto& choice : request->choices) {
    if (PREFIXD_PLANTED(kResumeSendsAgain) && !choice->finished) {
      choice->generated.clear();
      choice->tokens = request->prompt.token_ids;
    }
    if (PREFIXD_PLANTED(kResumeForgetsPenalties)) choice->counts = TokenCounter();
    Retire(choice.get());
  }
  for (ImageProgress& image : request->images) image.features = nullptr;
  request->DropEncoding();
  request->phase = ActiveRequest::Phase::kWaiting;
  request->parked = false;
  ++request->receipt.preemptions;
  ++preemptions_;
  if (request->prompt.root_key && request->choices.size() == 1) {
    const int32_t full = static_cast<int32_t>(request->first().tokens.size()) / kSlotsPerPage;
    while (static_cast<int32_t>(request->keys.size()) < full) {
      const ContentKey& parent =
          request->keys.empty() ? *request->prompt.root_key : request->keys.back();
      request->keys.push_back(
          ColumnKey(parent, request->tokens(), static_cast<int32_t>(request->keys.size())));
    }
  }
  const auto at = std::find_if(running_.begin(), running_.end(),
                               [request](const auto& other) { return other.get() == request; });
  std::unique_ptr<ActiveRequest> owned = std::move(*at);
  running_.erase(at);
  waiting_.insert(std::upper_bound(waiting_.begin(), waiting_.end(), owned, WaitsBefore),
                  std::move(owned));
  FreeRetired();
  cache_.BeginRound(LiveSequences());
}

// Prefixes whose last column came from the cache have nothing to compute.
void StepLoop::FinishCachedPins() {
  for (const auto& request : running_) {
    const bool complete = request->pins != nullptr && !request->ended &&
                          request->first().kv.next_position() == request->prefill_rows();
    if (complete) EndPrefill(request.get());
  }
  Sweep();
}

void StepLoop::MakePlan() {
  while (true) {
    cache_.BeginRound(LiveSequences());
    const Scheduler::Outcome outcome = scheduler_.Plan(running_, steps_ + 1, &plan_);
    if (outcome.victim == nullptr) return;
    if (outcome.victim == outcome.lacks && running_.size() == 1) {
      Fail(outcome.lacks, PoolPinned());
      Sweep();
    } else {
      Preempt(outcome.victim);
    }
  }
}

// What the step computed becomes everybody's.
void StepLoop::AfterForward() {
  for (auto& [request, features] : result_.features) {
    request->images[request->encoding_image].source = FeatureSource::kTower;
    histograms_.image_encode_seconds.Observe(
        absl::ToDoubleSeconds(clock_->Now() - request->encoding_begun));
    request->encoding_begun = absl::Time();
    sharing_.KeepFeatures(request, std::move(features));
  }
  const absl::Time begin = clock_->Now();
  PublishComputed();
  cache_time_ += clock_->Now() - begin;
  for (const PrefillPiece& piece : plan_.prefills) {
    if (piece.ends_prompt) EndPrefill(piece.request);
  }
}

void StepLoop::PublishComputed() {
  const auto computed = [this](ActiveRequest* request) {
    request->most_pages = std::max(request->most_pages, static_cast<int32_t>(HeldPages(*request)));
    sharing_.Publish(request);
  };
  for (const DecodeRow& decode : plan_.decodes) {
    Sequence* const sequence = decode.sequence;
    sequence->most_rows = std::max(sequence->most_rows, sequence->kv.next_position());
    if (sequence->kv.next_position() % kSlotsPerPage == 0) computed(decode.request);
  }
  for (const PrefillPiece& piece : plan_.prefills) computed(piece.request);
}

void StepLoop::EndPrefill(ActiveRequest* request) {
  if (request->pins != nullptr) {
    if (absl::Status status = PinPrefix(request); !status.ok()) {
      Fail(request, std::move(status));
    } else {
      FinishRequest(request);
    }
    return;
  }
  request->phase = ActiveRequest::Phase::kDecode;
  // A choice that had finished carried the prompt for the others.
  if (request->first().finished) Retire(&request->first());
  if (request->prefilled != absl::Time()) return;  // It was preempted.
  request->prefilled = clock_->Now();
  prompt_tokens_ += static_cast<uint64_t>(request->prompt_rows());
  images_ += request->prompt.images.size();
  histograms_.prefill_seconds.Observe(
      absl::ToDoubleSeconds(request->prefilled - request->scheduled));
}

// Charges tenants with what the plan computes for them, and tells who waits on.
void StepLoop::ChargeTenants() {
  for (const DecodeRow& decode : plan_.decodes) shares_.Charge(decode.request->tenant, 1);
  for (const PrefillPiece& piece : plan_.prefills) {
    if (PREFIXD_PLANTED(kPrefillNotCharged) && piece.request->tenant == 0) continue;
    shares_.Charge(piece.request->tenant, piece.num_rows);
  }
  for (const ImagePiece& piece : plan_.images) {
    const ImageEncoding* encoding = piece.request->encoding.get();
    const int32_t rows = encoding != nullptr ? encoding->rows_per_step()
                                             : piece.request->prompt.images[piece.image].num_rows;
    shares_.Charge(piece.request->tenant, int64_t{rows} * piece.num_steps);
  }
  // Whoever waits for another's column waits for its own tenant.
  std::vector<int32_t> prompts(options_.tenants.size());
  for (const auto& request : waiting_) {
    prompts[request->tenant] += !request->parked && !request->column_waits;
  }
  for (const auto& request : running_) {
    const bool prefill = request->phase == ActiveRequest::Phase::kPrefill;
    prompts[request->tenant] += prefill && !request->parked && !request->column_waits;
  }
  for (const PrefillPiece& piece : plan_.prefills) {
    prompts[piece.request->tenant] -= piece.ends_prompt;
  }
  std::vector<bool> left_waiting;
  for (const int32_t count : prompts) left_waiting.push_back(count > 0);
  shares_.EndStep(left_waiting);
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
  const absl::Time now = clock_->Now();
  if (request->first_token == absl::Time()) {
    request->first_token = now;
    histograms_.time_to_first_token_seconds.Observe(
        absl::ToDoubleSeconds(now - request->submitted));
  }
  if (sequence->last_token != absl::Time()) {
    histograms_.inter_token_seconds.Observe(absl::ToDoubleSeconds(now - sequence->last_token));
  }
  sequence->last_token = now;
  const bool replayed = sequence->replaying();
  sequence->generated.push_back(sampled->token);
  sequence->tokens.push_back(sampled->token);
  sequence->next_input = {.token = sampled->token};
  if (replayed) return;
  ++generated_tokens_;
  ++tenant_totals_[request->tenant].generated_tokens;
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

void StepLoop::ObserveStep(absl::Duration elapsed) {
  int64_t rows = 0;
  for (const PrefillPiece& piece : plan_.prefills) rows += piece.num_rows;
  histograms_.batch_tokens.Observe(static_cast<double>(rows) +
                                   static_cast<double>(plan_.decodes.size()));
  histograms_.batch_sequences.Observe(
      static_cast<double>(plan_.prefills.size() + plan_.decodes.size()));
  for (const ImagePiece& piece : plan_.images) {
    if (piece.request->encoding_begun == absl::Time()) {
      piece.request->encoding_begun = clock_->Now() - elapsed;
    }
  }
  const double seconds = absl::ToDoubleSeconds(elapsed);
  if (rows == 0 || seconds <= 0 || !plan_.images.empty()) return;
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
  ++finishes_[static_cast<size_t>(reason)];
  Retire(sequence);
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
  const bool has_token = request->first_token != absl::Time();
  const bool prefilled = request->prefilled != absl::Time();
  FinishedEvent event;
  event.usage = {.prompt_tokens = request->prompt_rows(),
                 .cached_prompt_tokens = request->receipt.hit_tokens,
                 .image_tokens = request->prompt.num_image_tokens(),
                 .recomputed_tokens = request->recomputed_rows};
  for (const auto& choice : request->choices) {
    event.usage.completion_tokens += static_cast<int32_t>(choice->generated.size());
  }
  event.cache = ReceiptOf(*request);
  event.timings = {.queue = request->scheduled - request->submitted,
                   .prefill = (prefilled ? request->prefilled : now) - request->scheduled,
                   .first_token = (has_token ? request->first_token : now) - request->submitted,
                   .total = now - request->submitted};
  histograms_.request_seconds.Observe(absl::ToDoubleSeconds(event.timings.total));
  histograms_.prompt_tokens.Observe(event.usage.prompt_tokens);
  histograms_.generated_tokens.Observe(event.usage.completion_tokens);
  if (has_token) {
    const double seconds = absl::ToDoubleSeconds(now - request->first_token);
    histograms_.decode_seconds.Observe(seconds);
    const int32_t later = event.usage.completion_tokens - request->request.output.num_choices;
    if (later > 0) histograms_.time_per_output_token_seconds.Observe(seconds / later);
  }
  ++finished_;
  End(request, event);
}

CacheReceipt StepLoop::ReceiptOf(const ActiveRequest& request) const {
  CacheReceipt receipt = request.receipt;
  for (const ImageProgress& image : request.images) {
    switch (image.source) {
      case FeatureSource::kNone:
        ++receipt.images_in_prefix;
        break;
      case FeatureSource::kCache:
        ++receipt.feature_hits;
        break;
      case FeatureSource::kTower:
        ++receipt.images_encoded;
        break;
    }
  }
  receipt.kv_bytes = static_cast<uint64_t>(request.most_pages) * options_.page_bytes;
  return receipt;
}

// Sums of receipts, so that the totals are what clients were told.
void StepLoop::AddToTotals(const ActiveRequest& request) {
  const CacheReceipt receipt = ReceiptOf(request);
  const uint64_t hits = static_cast<uint64_t>(receipt.hit_tokens);
  const uint64_t computed = static_cast<uint64_t>(receipt.computed_tokens);
  recomputed_ += static_cast<uint64_t>(request.recomputed_rows);
  totals_.computed_tokens += computed;
  tenant_totals_[request.tenant].prompt_tokens += hits + computed;
  tenant_totals_[request.tenant].cached_tokens += hits;
  if (request.started) ++totals_.misses[static_cast<size_t>(receipt.miss)];
  if (!request.prompt.root_key) return;
  // Hits come before what was computed, so an image's rows are hits as far as those reach.
  uint64_t image_hits = 0, image_rows = 0;
  for (const PromptImage& image : request.prompt.images) {
    const auto rows_before = [&image](uint64_t end) {
      return static_cast<uint64_t>(
          std::clamp<int64_t>(static_cast<int64_t>(end) - image.row_begin, 0, image.num_rows));
    };
    image_hits += rows_before(hits);
    image_rows += rows_before(hits + computed);
  }
  totals_.image_query_tokens += image_rows;
  totals_.text_query_tokens += hits + computed - image_rows;
  totals_.image_hit_tokens += image_hits;
  totals_.text_hit_tokens += hits - image_hits;
  totals_.feature_hits += static_cast<uint64_t>(receipt.feature_hits);
  totals_.tower_runs += static_cast<uint64_t>(receipt.images_encoded);
}

void StepLoop::TimeUp(ActiveRequest* request) {
  if (!request->started) Announce(request);
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
  for (const auto& choice : request->choices) Retire(choice.get());
  AddToTotals(*request);
  listener_.on_end(*request);
  request->sink->OnEvent(std::move(terminal));
}

// The step under way may still read the pages.
void StepLoop::Retire(Sequence* sequence) {
  retired_.emplace_back(runner_->completed_steps(), std::move(sequence->kv));
  sequence->kv = KvSequence(cache_.num_layers(), retired_.back().second.tenant());
}

void StepLoop::FreeRetired() {
  const uint64_t completed = runner_->completed_steps();
  std::erase_if(retired_, [completed](const auto& retired) { return retired.first <= completed; });
}

void StepLoop::Sweep() {
  EraseEnded(&waiting_);
  EraseEnded(&running_);
  FreeRetired();
}

void StepLoop::FailAll(const absl::Status& status) {
  for (const auto& request : running_) Fail(request.get(), status);
  for (const auto& request : waiting_) Fail(request.get(), status);
  Sweep();
}

// --- Pinned prefixes
// ---------------------------------------------------------------------------------

absl::Status StepLoop::PinPrefix(ActiveRequest* request) {
  const KvSequence& kv = request->first().kv;
  pinned_.push_back({request->pins, request->tenant, kv.pin().Clone()});
  CountPinned();
  const int64_t pinned = std::accumulate(pinned_pages_.begin(), pinned_pages_.end(), int64_t{0});
  const int64_t limit = static_cast<int64_t>(options_.pinned_share * cache_.num_pages());
  const auto fits = [this](const RequestList& requests) {
    return std::all_of(requests.begin(), requests.end(), [this](const auto& other) {
      return other->ended || other->pins != nullptr || CheckFits(*other).ok();
    });
  };
  absl::Status status;
  if (pinned > limit) {
    status = MakeError(absl::StatusCode::kResourceExhausted, reason::kTenantQuota,
                       absl::StrCat("with this one pinned prefixes would hold ", pinned,
                                    " pages, the limit is ", limit),
                       {{"pages", absl::StrCat(pinned)}, {"limit", absl::StrCat(limit)}});
  } else if (LonelyPages(request->tenant) < 0 || !fits(waiting_) || !fits(running_)) {
    status = MakeError(absl::StatusCode::kResourceExhausted, reason::kTenantQuota,
                       "the pages of this prefix are needed by requests that were accepted",
                       {{"pages", absl::StrCat(pinned)}});
  } else {
    const int64_t pages = int64_t{kv.num_shared_columns()} * cache_.num_layers();
    uint64_t image_bytes = 0;
    for (const KeptImage& kept : request->pins->kept) {
      image_bytes += kept.image.pixels->size() * sizeof(float);
    }
    const PrefixInfo info{.prompt_tokens = request->prompt_rows(),
                          .pinned_tokens = kv.num_shared_columns() * kSlotsPerPage,
                          .images = request->receipt.images,
                          .kv_bytes = static_cast<uint64_t>(pages) * options_.page_bytes,
                          .image_bytes = image_bytes};
    if (options_.prefixes->SetReady(request->pins.get(), info, clock_->Now())) return status;
    status = Stopped(StopCause::kCancelled);
  }
  pinned_.pop_back();
  CountPinned();
  return status;
}

void StepLoop::DropReleasedPins() {
  if (options_.prefixes == nullptr) return;
  options_.prefixes->RemoveExpired(clock_->Now());
  const size_t dropped = std::erase_if(pinned_, [this](const PinnedPrefix& prefix) {
    return !options_.prefixes->IsAlive(*prefix.entry) && !PREFIXD_PLANTED(kReleasedStaysPinned);
  });
  if (dropped > 0) CountPinned();
}

void StepLoop::CountPinned() {
  std::fill(pinned_pages_.begin(), pinned_pages_.end(), 0);
  absl::flat_hash_set<const PrefixIndex::Node*> seen;
  for (const PinnedPrefix& prefix : pinned_) {
    const PrefixIndex::Node* node = prefix.pin.node();
    while (cache_.index().depth(node) > 0 && seen.insert(node).second) {
      pinned_pages_[prefix.tenant] += cache_.num_layers();
      node = cache_.index().parent(node);
    }
  }
}

int64_t StepLoop::LonelyPages(int32_t tenant) const {
  int64_t others = 0;
  for (size_t t = 0; t < pinned_pages_.size(); ++t) {
    if (static_cast<int32_t>(t) == tenant) continue;
    // Whole columns are evicted: a floor may be missed by less than one.
    const int64_t floor = cache_.tenant(static_cast<int32_t>(t)).floor;
    others += std::max(floor > 0 ? floor + cache_.num_layers() - 1 : 0, pinned_pages_[t]);
  }
  return std::min(cache_.tenant(tenant).quota, cache_.num_pages() - others) - pinned_pages_[tenant];
}

FlushResult StepLoop::Flush(int32_t tenant) {
  FlushResult result;
  const int32_t free_before = cache_.num_free_pages();
  const int64_t columns = cache_.index().num_columns();
  cache_.index().Evict(std::numeric_limits<int64_t>::max(), tenant);
  result.pages = cache_.num_free_pages() - free_before;
  result.columns = columns - cache_.index().num_columns();
  result.feature_bytes = features_.Flush(tenant);
  return result;
}

// --- Looking in
// ------------------------------------------------------------------------------------

absl::Time StepLoop::NextTimer() const {
  absl::Time next =
      options_.prefixes != nullptr ? options_.prefixes->next_expiry() : absl::InfiniteFuture();
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

}  // namespace prefixd
