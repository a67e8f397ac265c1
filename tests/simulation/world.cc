#include "tests/simulation/world.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"

namespace prefixd::simulation {

World::World(const Config& config, std::vector<TenantSpec> tenants, std::vector<int64_t> durations,
             Report* report)
    : config_(config),
      tenants_(tenants.empty() ? std::vector<TenantSpec>(1) : tenants),
      report_(report),
      start_(clock_.Now()),
      backend_(&faults_, report),
      claims_(static_cast<size_t>(config.pages)),
      counted_(tenants_.size()),
      leads_(tenants_.size() * tenants_.size()),
      competing_(tenants_.size() * tenants_.size()) {
  auto pool = std::make_unique<SimPool>(KvPoolShape{
      .num_pages = static_cast<int32_t>(config.pages), .num_kv_heads = 1, .head_dim = 2});
  pool_ = pool.get();
  auto model = std::make_unique<SimModel>(
      config, std::move(durations),
      SimModel::Parts{
          .pool = pool_,
          .backend = &backend_,
          .clock = &clock_,
          .faults = &faults_,
          .report = report,
          .find_request = [this](int64_t id) { return Find(id); },
          .serve = [this](const LiveRequest& request, int64_t rows) { OnServed(request, rows); },
          .prompt_done = [this](const LiveRequest& request) { OnPrompt(request); }});
  model_ = model.get();
  core_ = std::make_unique<Core>(
      config, tenants, &backend_, std::move(model), std::move(pool), &clock_,
      Core::Callbacks{.on_scheduled = [this](LiveRequest* request) { OnScheduled(request); },
                      .on_end = [this](LiveRequest* request) { OnEnd(request); },
                      .on_event = [this](LiveRequest* request,
                                         Event event) { OnEvent(request, std::move(event)); }});
  model_->set_core(core_.get());
  backend_.set_core(core_.get());
}

int64_t World::NowUs() const { return absl::ToInt64Microseconds(clock_.Now() - start_); }

void World::AdvanceTo(int64_t us) {
  if (us > NowUs()) clock_.Advance(absl::Microseconds(us - NowUs()));
}

int64_t World::NextTimerUs() const {
  const absl::Time timer = core_->NextTimer();
  if (timer == absl::InfiniteFuture()) return -1;
  // Rounded up: at that time it has passed.
  return absl::ToInt64Microseconds(absl::Ceil(timer - start_, absl::Microseconds(1)));
}

LiveRequest* World::Find(int64_t id) const {
  const auto found = requests_.find(id);
  return found == requests_.end() ? nullptr : found->second.get();
}

void World::Fail(absl::string_view rule, const LiveRequest& request, absl::string_view what) {
  report_->Fail(rule, absl::StrCat("request ", request.spec.id, ": ", what));
}

// --- What clients do

void World::Submit(const RequestSpec& spec) {
  report_->NextEvent();
  auto& owner = requests_[spec.id];
  if (owner != nullptr) return;
  owner = std::make_unique<LiveRequest>(config_, spec);
  LiveRequest* const request = owner.get();
  request->arrival = requests_.size();
  request->submitted = clock_.Now();
  if (spec.deadline > 0) {
    request->deadline = request->submitted + absl::Microseconds(spec.deadline);
  }
  if (spec.soft_limit > 0) {
    request->soft_limit = request->submitted + absl::Microseconds(spec.soft_limit);
  }
  ++num_live_;
  submitting_ = request;
  core_->Submit(request);
  submitting_ = nullptr;
  if (request->ended) return;
  if (request->PagesAtLeast() > LonelyPages(spec.tenant)) {
    Fail("admission", *request, "can never fit and was taken");
  }
  if (spec.choices > MaxChoices(spec.tenant)) {
    Fail("admission", *request, "has more choices than may run and was taken");
  }
  if (request->oracle.cannot_share()) {
    Fail("admission", *request, "has nothing to share and was taken");
  }
  if (spec.retention == kByDefault && request->oracle.scope() == RetentionScope::kExact) {
    report_->Reach(Mark::kScopeFellBack);
  }
}

// Floors of others are kept for them; whole columns are evicted, so one may be missed by less.
int64_t World::LonelyPages(int64_t tenant) const {
  int64_t others = 0, floors = 0;
  for (size_t t = 0; t < tenants_.size(); ++t) {
    const int64_t floor = tenants_[t].floor * config_.pages / 100;
    if (static_cast<int64_t>(t) == tenant) continue;
    floors += floor;
    others += floor > 0 ? floor + config_.layers - 1 : 0;
  }
  const int64_t quota = tenants_[static_cast<size_t>(tenant)].share * config_.pages / 100;
  return std::min({quota, config_.pages - floors, config_.pages - others});
}

int64_t World::MaxChoices(int64_t tenant) const {
  return std::min(config_.max_running, tenants_[static_cast<size_t>(tenant)].max_running);
}

void World::Apply(const Action& action) {
  report_->NextEvent();
  report_->Trace(static_cast<uint64_t>(action.kind) << 32 | static_cast<uint64_t>(action.request));
  LiveRequest* const request = Find(action.request);
  const bool live = request != nullptr && !request->ended;
  switch (action.kind) {
    case ActionKind::kCancel:
    case ActionKind::kDrain:
      if (live) Cancel(request, action.kind == ActionKind::kDrain);
      return;
    case ActionKind::kStall:
      if (live) Stall(request, 0);
      return;
    case ActionKind::kResume:
      if (live && request->stalled && request->was_parked) report_->Reach(Mark::kResumed);
      if (live) request->stalled = false;
      return;
    case ActionKind::kClockJump:
      clock_.Advance(absl::Microseconds(action.value));
      return;
    case ActionKind::kSlowStep:
      faults_.slow_us = action.value;
      return;
    case ActionKind::kForwardFails:
      faults_.forward_fails = true;
      return;
    case ActionKind::kCopyFails:
      faults_.copy_fails = true;
      return;
    case ActionKind::kLogitsNan:
      faults_.nan_row = action.value;
      return;
    case ActionKind::kGatherFails:
      faults_.gather_fails = true;
      return;
    case ActionKind::kImageFails:
      faults_.image_failures = action.value + 1;
      uncounted_ever_ = true;
      return;
    case ActionKind::kFlush: {
      const int64_t columns = core_->index().num_columns();
      core_->Flush(static_cast<int32_t>(action.value) - 1);
      flushed_ = true;
      if (core_->index().num_columns() < columns && num_live_ > 0) report_->Reach(Mark::kFlushed);
      return;
    }
    case ActionKind::kRelease:
      if (request == nullptr || !core_->IsPinned(*request)) return;
      if (num_live_ > 0) report_->Reach(Mark::kPinReleased);
      core_->Release(*request);
      request->pin_stays = false;
      return;
    case ActionKind::kCount:
      return;
  }
}

void World::Cancel(LiveRequest* request, bool draining) {
  if (request->cancelled || request->drained) return;
  (draining ? request->drained : request->cancelled) = true;
  core_->Cancel(request, draining);
}

void World::Stall(LiveRequest* request, int64_t steps) {
  if (healing_) return;
  request->stalled = stalled_ever_ = true;
  request->stalled_steps = steps;
}

// --- What the core does

void World::BeginStep() {
  for (Tenant& tenant : counted_) tenant.idle = true;
  for (const auto& [id, request] : requests_) {
    if (request->ended) continue;
    counted_[static_cast<size_t>(request->spec.tenant)].idle = false;
    request->must_end = request->cancelled || request->drained;
    request->ran_before_step = !core_->LookAt(*request).waiting;
    if (request->stalled_steps > 0 && --request->stalled_steps == 0) {
      if (request->was_parked) report_->Reach(Mark::kResumed);
      request->stalled = false;
    }
  }
  for (size_t t = 0; t < counted_.size(); ++t) {
    counted_[t].cached_pages = core_->index().num_pages(static_cast<int32_t>(t));
  }
  shares_begun_ = false;
  index_before_ = core_->index().counters();
  snapshots_before_ = core_->snapshots().counters();
  prompts_in_step_.clear();
  ended_in_last_step_ = std::exchange(ended_in_step_, false);
  model_->BeginStep();
}

bool World::Step() {
  report_->NextEvent();
  report_->NextStep();
  const absl::Time begin = clock_.Now();
  BeginStep();
  const bool worked = core_->Step();
  if (report_->failed()) return worked;
  BeginShares();
  EndShares();
  uncounted_ever_ |= backend_.failed();
  bool all_parked = num_live_ > 0;
  for (const auto& [id, request] : requests_) {
    if (request->ended) continue;
    const bool parked = core_->LookAt(*request).parked;
    request->was_parked |= parked;
    all_parked &= parked;
  }
  if (!worked && all_parked) report_->Reach(Mark::kAllParked);
  NoteWaitsAndPreemptions();
  NoteEvictions();
  AuditEnds(begin);
  const EngineStats stats = core_->Stats();
  AuditPages(stats);
  AuditIndex(stats);
  AuditTotals(stats);
  AuditTenants(stats);
  AuditFloors(stats);
  AuditFairness();
  flushed_ = false;
  report_->Trace(static_cast<uint64_t>(NowUs()));
  return worked;
}

void World::OnServed(const LiveRequest& request, int64_t rows) {
  const auto tenant = static_cast<size_t>(request.spec.tenant);
  const double share = static_cast<double>(rows) / static_cast<double>(tenants_[tenant].weight);
  BeginShares();
  counted_[tenant].served += share;
  counted_[tenant].counter += share;
}

void World::OnPrompt(const LiveRequest& request) {
  prompts_in_step_.push_back(&request);
  prompt_tokens_ += static_cast<uint64_t>(request.oracle.prompt_rows());
  images_ += request.oracle.images().size();
  if (request.oracle.images().size() > 1) report_->Reach(Mark::kSeveralImages);
}

uint64_t World::StateHash() const {
  uint64_t hash = 1;
  const auto add = [&hash](int64_t value) { hash = Mix(hash ^ static_cast<uint64_t>(value)); };
  for (const auto& [id, request] : requests_) {
    add(id);
    add(request->started | request->ended << 1 | request->cancelled << 2 | request->stalled << 3 |
        request->encoding << 4 | request->drained << 5 | core_->IsPinned(*request) << 6);
    if (request->ended) continue;
    const Core::Look look = core_->LookAt(*request);
    add(static_cast<int64_t>(request->arrival));
    add(look.waiting | look.parked << 1 | look.column_waits << 2 | look.image_waits << 3 |
        look.decodes << 4);
    add(look.preemptions);
    add(request->stalled_steps);
    if (request->spec.deadline + request->spec.soft_limit > 0) add(NowUs());
    add(request->images_encoded);
    for (const LiveRequest::Choice& choice : request->choices) {
      add(choice.tokens);
      add(choice.finished);
    }
  }
  std::vector<Core::Table> tables;
  core_->FindTables(&tables);
  for (const Core::Table& table : tables) {
    add(table.request->spec.id * 16 + table.choice);
    for (int layer = 0; layer < table.kv->num_layers(); ++layer) {
      add(table.length(layer));
      for (const int32_t page : table.pages(layer)) add(page);
      add(table.compressed());
      if (!table.compressed()) continue;
      add(table.free_slot(layer));
      for (const int32_t position : table.positions(layer)) add(position);
    }
  }
  core_->index().ForEachPage([&](int32_t page, bool pinned) { add(page * 2 + pinned); });
  core_->snapshots().ForEachPage([&](int32_t page, bool used) { add(page * 2 + used); });
  add(faults_.forward_fails | faults_.copy_fails << 1 | faults_.gather_fails << 2);
  add(faults_.nan_row);
  add(faults_.image_failures);
  return hash;
}

}  // namespace prefixd::simulation
