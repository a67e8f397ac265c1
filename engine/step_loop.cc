#include "engine/step_loop.h"

#include <algorithm>
#include <limits>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/error.h"
#include "base/log.h"
#include "base/planted_bug.h"
#include "base/status_macros.h"
#include "engine/error_reasons.h"
#include "engine/step_loop_internal.h"

namespace prefixd {
namespace {

constexpr double kRateSmoothing = 0.2;
constexpr absl::Duration kRestartHint =
    absl::Seconds(10);  // After which a restart may have helped.

// The image placeholder and rows of the head that no token stands for.
std::vector<int32_t> NeverSampled(const ModelSpec& spec, const Tokenizer& tokenizer) {
  std::vector<int32_t> ids;
  if (spec.image && spec.image->token_id < spec.vocab_size) ids.push_back(spec.image->token_id);
  for (int32_t id = tokenizer.vocab_size(); id < spec.vocab_size; ++id) ids.push_back(id);
  return ids;
}

std::vector<ActiveRequest*> PlannedRequests(const StepPlan& plan) {
  std::vector<ActiveRequest*> requests;
  for (const DecodeRow& decode : plan.decodes) requests.push_back(decode.request);
  for (const PrefillPiece& piece : plan.prefills) requests.push_back(piece.request);
  for (const ScorePiece& piece : plan.scores) requests.push_back(piece.request);
  for (const ImagePiece& piece : plan.images) {
    if (!PREFIXD_PLANTED(kFailureSparesImages)) requests.push_back(piece.request);
  }
  return requests;
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

StepLoopOptions WithDefaults(StepLoopOptions options, int num_layers) {
  options.tenants = TenantsOrOne(std::move(options.tenants));
  if (options.retention == nullptr) {
    options.retention = std::make_shared<const RetentionCatalogue>(num_layers);
  }
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

SchedulerOptions SchedulerOptionsFrom(const StepLoopOptions& options, const ModelSpec& spec) {
  SchedulerOptions scheduler{.max_batch_rows = options.max_batch_tokens,
                             .max_prefill_rows = options.prefill_chunk > 0
                                                     ? options.prefill_chunk
                                                     : options.max_batch_tokens,
                             .max_running = options.max_running,
                             .max_logit_rows = StepLoop::LimitsFor(options, spec).max_logit_rows,
                             .reserve = options.reserve_all};
  for (const TenantOptions& tenant : options.tenants) {
    scheduler.tenant_max_running.push_back(tenant.max_running);
  }
  return scheduler;
}

double LowestDefaultBudget(const StepLoopOptions& options) {
  double lowest = *options.retention->defaults().budget;
  for (const TenantOptions& tenant : options.tenants) {
    lowest = std::min(lowest, tenant.retention.budget.value_or(lowest));
  }
  return lowest;
}

std::vector<double> WeightsOf(const std::vector<TenantOptions>& tenants) {
  std::vector<double> weights;
  for (const TenantOptions& tenant : tenants) weights.push_back(tenant.weight);
  return weights;
}

}  // namespace

ModelLimits StepLoop::LimitsFor(const StepLoopOptions& options, const ModelSpec& spec) {
  // One row more than the budget: prefill moves even when decodes fill it. A prompt that is
  // computed in one pass goes beside decodes. Logits of every decode, and of as many prompts that
  // end in the same step.
  int32_t rows = options.max_batch_tokens + 1;
  if (spec.sharing == Sharing::kWholePrefix) {
    rows = std::max(rows, MaxPromptRows(spec) + options.max_running);
  }
  const uint64_t scored_row = Backend::kHeadTile * sizeof(float);
  const uint64_t scored_rows = std::max<uint64_t>(1, options.scoring_workspace / scored_row);
  return {.max_batch_rows = rows,
          .max_logit_rows = 2 * options.max_running,
          .max_scored_rows = static_cast<int>(std::min<uint64_t>(scored_rows, 1 << 20))};
}

absl::StatusOr<std::unique_ptr<StepLoop>> StepLoop::Create(const StepLoopOptions& options,
                                                           Backend* backend,
                                                           std::unique_ptr<Model> model,
                                                           std::unique_ptr<KvPool> pool,
                                                           const Tokenizer* tokenizer,
                                                           const Clock* clock, Listener listener) {
  auto loop = std::unique_ptr<StepLoop>(new StepLoop(
      options, backend, std::move(model), std::move(pool), tokenizer, clock, std::move(listener)));
  PREFIXD_ASSIGN_OR_RETURN(
      loop->runner_, ModelRunner::Create(backend, loop->model_.get(), loop->pool_.get(),
                                         &loop->cache_, LimitsFor(options, loop->model_->spec()),
                                         NeverSampled(loop->model_->spec(), *tokenizer)));
  return loop;
}

StepLoop::StepLoop(const StepLoopOptions& options, Backend* backend, std::unique_ptr<Model> model,
                   std::unique_ptr<KvPool> pool, const Tokenizer* tokenizer, const Clock* clock,
                   Listener listener)
    : options_(WithDefaults(options, model->spec().num_layers)),
      backend_(backend),
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
      scheduler_(SchedulerOptionsFrom(options_, model_->spec()), &cache_, &shares_),
      compressor_(backend, pool_.get(), &cache_),
      lowest_default_(LowestDefaultBudget(options_)),
      guard_(options_.guard, lowest_default_),
      replay_(backend, model_.get(), pool_.get(), &cache_, LimitsFor(options_, model_->spec())),
      pinned_pages_(options_.tenants.size()),
      tenant_totals_(options_.tenants.size()) {}

StepLoop::~StepLoop() = default;

// --- A step
// ----------------------------------------------------------------------------------------

bool StepLoop::Step() {
  if (!failure_.ok()) return false;
  const absl::Time arrived = clock_->Now();
  DropReleasedPins();
  if (StepsInFlight()) {
    ContinueInFlight();
    step_time_ += clock_->Now() - arrived;
    if (options_.check_invariants) CheckInvariants();
    return true;
  }
  if (ReplaySome()) return true;
  EndExpired();
  for (const auto& request : running_) request->parked = !request->sink->Writable();
  // One that was preempted does not start again while its reader is behind.
  for (const auto& request : waiting_) {
    request->parked = request->started && !request->sink->Writable();
  }
  const absl::Time sharing = clock_->Now();
  BeginRound();
  AdmitWaiting();
  FinishComplete();
  MakePlan();
  calm_ = true;
  const absl::Time planned = clock_->Now();
  ChargeTenants(plan_);
  if (plan_.empty()) {
    Sweep();
    return false;
  }
  const absl::Time begin = clock_->Now();
  PrepareScores();
  const absl::Status status = runner_->Launch(plan_, &result_);
  ++steps_;
  if (status.ok()) {
    AfterForward();
    const bool keep = CanRunAhead() && plan_.num_prompt_pieces() == 0;
    if (!keep && TakeTokens().ok()) ObserveStep(clock_->Now() - begin);
    if (failure_.ok()) {
      for (auto& [request, failure] : result_.failures) Fail(request, std::move(failure));
    }
  } else {
    FailStep(status, PlannedRequests(plan_));
  }
  Sweep();
  cache_time_ += planned - sharing;
  step_time_ += clock_->Now() - arrived;
  if (options_.check_invariants) CheckInvariants();
  return true;
}

absl::Status StepLoop::TakeTokens() {
  const std::vector<ActiveRequest*> awaiting = runner_->Awaiting();
  const absl::Status status = runner_->Collect(&samples_);
  if (status.ok()) {
    for (SampledToken& sampled : samples_) Absorb(&sampled);
  } else {
    FailStep(status, awaiting);
  }
  return status;
}

void StepLoop::FailStep(const absl::Status& status, const std::vector<ActiveRequest*>& requests) {
  PREFIXD_LOG(kError, "step ", steps_, " failed: ", status.message());
  if (!PREFIXD_PLANTED(kCopiesOutliveAFailedStep)) cache_.ClearCopies();
  if (absl::IsUnavailable(status)) {
    failure_ = status;
    FailAll(MakeError(absl::StatusCode::kUnavailable, "the device that computes was lost",
                      ErrorDetail{.reason = reason::kEngineFailed, .retry_after = kRestartHint}));
    return;
  }
  const absl::Status failure =
      absl::IsResourceExhausted(status)
          ? MakeError(absl::StatusCode::kResourceExhausted, reason::kDeviceMemoryFull,
                      absl::StrCat("a step lacked memory: ", status.message()))
          : MakeError(absl::StatusCode::kInternal, reason::kEngineFailed,
                      "a step of the engine failed");
  for (ActiveRequest* const request : requests) Fail(request, failure);
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
    if (request->phase != ActiveRequest::Phase::kDecode) asking[request->tenant] = true;
  }
  shares_.BeginStep(active, asking);
  cache_.BeginRound(LiveSequences());
  sharing_.BeginStep();
  for (const auto& request : running_) {
    if (request->phase == ActiveRequest::Phase::kDecode || request->parked) continue;
    sharing_.Update(request.get());
    if (request->scoring) TakeYields(request.get());
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

// Prefixes, contexts and images of which everything came from the cache have nothing to compute.
void StepLoop::FinishComplete() {
  for (const auto& request : running_) {
    if (request->complete()) EndPrefill(request.get());
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
  for (const auto& [request, failure] : result_.failures) {
    if (request->scoring) Fail(request, failure);
  }
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
  DropAfterDecode();
  for (const PrefillPiece& piece : plan_.prefills) {
    if (const absl::Status after = AfterPiece(piece); !after.ok()) {
      FailBudget(piece.request, after);
    } else if (piece.ends_prompt) {
      EndPrefill(piece.request);
    }
  }
  for (const ScorePiece& piece : plan_.scores) AfterScores(piece);
}

void StepLoop::PublishComputed() {
  const auto computed = [this](ActiveRequest* request) {
    request->most_pages = std::max(request->most_pages, static_cast<int32_t>(HeldPages(*request)));
    sharing_.Publish(request);
  };
  for (const DecodeRow& decode : plan_.decodes) {
    Sequence* const sequence = decode.sequence;
    const int32_t rows = sequence->kv.next_position();
    if (rows <= sequence->most_rows) ++decode.request->recomputed_rows;
    sequence->most_rows = std::max(sequence->most_rows, rows);
    if (sequence->kv.next_position() % kSlotsPerPage == 0) computed(decode.request);
  }
  for (const PrefillPiece& piece : plan_.prefills) {
    computed(piece.request);
    const auto& scoring = piece.request->scoring;
    if (scoring && scoring->params.prompt_logprobs) GiveYields(piece.request);
  }
}

void StepLoop::EndPrefill(ActiveRequest* request) {
  if (request->request.embed_images) {
    if (const absl::Status status = FinishEmbedding(request); !status.ok()) Fail(request, status);
    return;
  }
  if (request->pins != nullptr) {
    if (absl::Status status = PinPrefix(request); !status.ok()) {
      Fail(request, std::move(status));
    } else {
      FinishRequest(request);
    }
    return;
  }
  if (request->scoring) {
    if (request->ended) return;
    NotePrefilled(request);
    BeginScoring(request);
    return;
  }
  BeginDrops(request);
  if (const absl::Status status = ForkChoices(request); !status.ok()) {
    FailBudget(request, status);
    return;
  }
  request->phase = ActiveRequest::Phase::kDecode;
  // A choice that had finished carried the prompt for the others.
  if (request->first().finished) Retire(&request->first());
  NotePrefilled(request);
}

void StepLoop::NotePrefilled(ActiveRequest* request) {
  if (request->prefilled != absl::Time()) return;  // It was preempted.
  request->prefilled = clock_->Now();
  prompt_tokens_ += static_cast<uint64_t>(request->prompt_rows());
  images_ += request->prompt.images.size();
  histograms_.prefill_seconds.Observe(
      absl::ToDoubleSeconds(request->prefilled - request->scheduled));
}

// Charges tenants with what the plan computes for them, and tells who waits on.
void StepLoop::ChargeTenants(const StepPlan& plan) {
  for (const DecodeRow& decode : plan.decodes) shares_.Charge(decode.request->tenant, 1);
  for (const PrefillPiece& piece : plan.prefills) {
    if (PREFIXD_PLANTED(kPrefillNotCharged) && piece.request->tenant == 0) continue;
    shares_.Charge(piece.request->tenant, piece.num_rows);
  }
  for (const ScorePiece& piece : plan.scores) {
    shares_.Charge(piece.request->tenant, std::max(1, piece.num_rows));
  }
  for (const ImagePiece& piece : plan.images) {
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
    const bool prefill = request->phase != ActiveRequest::Phase::kDecode;
    prompts[request->tenant] += prefill && !request->parked && !request->column_waits;
  }
  for (const PrefillPiece& piece : plan.prefills) {
    prompts[piece.request->tenant] -= piece.ends_prompt;
  }
  std::vector<bool> left_waiting;
  for (const int32_t count : prompts) left_waiting.push_back(count > 0);
  shares_.EndStep(left_waiting);
}

void StepLoop::ObserveStep(absl::Duration elapsed) {
  int64_t rows = 0;
  for (const PrefillPiece& piece : plan_.prefills) rows += piece.num_rows;
  for (const ScorePiece& piece : plan_.scores) rows += piece.num_rows;
  histograms_.batch_tokens.Observe(static_cast<double>(rows) +
                                   static_cast<double>(plan_.decodes.size()));
  histograms_.batch_sequences.Observe(
      static_cast<double>(plan_.prefills.size() + plan_.scores.size() + plan_.decodes.size()));
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
