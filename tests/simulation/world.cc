#include "tests/simulation/world.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "engine/error_reasons.h"

namespace prefixd::simulation {

World::World(const Config& config, std::vector<int64_t> durations, Report* report)
    : config_(config),
      report_(report),
      start_(clock_.Now()),
      backend_(&faults_, report),
      claims_(static_cast<size_t>(config.pages)) {
  auto pool = std::make_unique<SimPool>(KvPoolShape{
      .num_pages = static_cast<int32_t>(config.pages), .num_kv_heads = 1, .head_dim = 2});
  pool_ = pool.get();
  auto model = std::make_unique<SimModel>(
      config, std::move(durations),
      SimModel::Parts{.pool = pool_,
                      .backend = &backend_,
                      .clock = &clock_,
                      .faults = &faults_,
                      .report = report,
                      .find_request = [this](int64_t id) { return Find(id); }});
  model_ = model.get();
  core_ = std::make_unique<Core>(
      config, &backend_, std::move(model), std::move(pool), &clock_,
      Core::Callbacks{.on_scheduled = [this](LiveRequest* request) { OnScheduled(request); },
                      .on_end = [this](LiveRequest* request) { OnEnd(request); },
                      .on_event = [this](LiveRequest* request,
                                         Event event) { OnEvent(request, std::move(event)); }});
  model_->set_core(core_.get());
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
  const bool fits = request->oracle.PagesFor(spec.max_tokens > 0 ? request->oracle.max_new_tokens()
                                                                 : 1) <= config_.pages;
  if (!request->ended && !fits) Fail("admission", *request, "can never fit and was taken");
  if (!request->ended && spec.choices > config_.max_running) {
    Fail("admission", *request, "has more choices than may run and was taken");
  }
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
      if (live) request->stalled = true;
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
    case ActionKind::kImageFails:
      faults_.image_failures = action.value + 1;
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

// --- What the core does

bool World::Step() {
  report_->NextEvent();
  report_->NextStep();
  const absl::Time begin = clock_.Now();
  for (const auto& [id, request] : requests_) {
    request->must_end = request->cancelled || request->drained;
    if (request->stalled_steps > 0 && --request->stalled_steps == 0) {
      if (request->was_parked && !request->ended) report_->Reach(Mark::kResumed);
      request->stalled = false;
    }
  }
  model_->BeginStep();
  const bool worked = core_->Step();
  if (report_->failed()) return worked;
  bool all_parked = num_live_ > 0;
  for (const auto& [id, request] : requests_) {
    if (request->ended) continue;
    request->was_parked |= request->started && request->stalled;
    all_parked &= request->started && request->stalled;
  }
  if (!worked && all_parked) report_->Reach(Mark::kAllParked);
  AuditEnds(begin);
  const EngineStats stats = core_->Stats();
  AuditPages(stats);
  AuditTotals(stats);
  report_->Trace(static_cast<uint64_t>(NowUs()));
  return worked;
}

// Whatever had to end has ended: a cancel or deadline that this step could see, a fault that hit.
void World::AuditEnds(absl::Time step_begin) {
  for (const auto& [id, request] : requests_) {
    if (request->ended) continue;
    if (request->must_end) {
      return Fail("I25", *request, "lives on after a step that saw its cancel");
    }
    if (step_begin >= request->deadline) {
      return Fail("I25", *request, "lives on after a step that saw its deadline");
    }
    if (step_begin >= request->soft_limit) {
      return Fail("I25", *request, "lives on after a step that saw its time limit");
    }
    if (request->must_fail) return Fail("faults", *request, "survived a step that failed for it");
    if (request->image_must_fail) return Fail("faults", *request, "survived its image's failure");
  }
}

// I1, I3, I4, I34: pages counted afresh. Free pages are poisoned, so that a late read shows.
void World::AuditPages(const EngineStats& stats) {
  core_->FindTables(&tables_);
  core_->CountClaims(tables_, absl::MakeSpan(claims_));
  int32_t free = 0;
  for (size_t page = 0; page < claims_.size(); ++page) {
    if (claims_[page] > 0) continue;
    ++free;
    pool_->Poison(static_cast<int32_t>(page));
  }
  if (free != stats.free_pages || static_cast<int64_t>(claims_.size()) != stats.total_pages) {
    report_->Fail("I1", absl::StrCat(free, " of ", claims_.size(),
                                     " pages are claimed by nobody, the core says ",
                                     stats.free_pages, " of ", stats.total_pages, " are free"));
  }
  for (const Core::Table& table : tables_) {
    for (int layer = 1; layer < table.kv->num_layers(); ++layer) {
      if (table.length(layer) != table.length(0)) {
        Fail("I21", *table.request,
             absl::StrCat("layer ", layer, " has ", table.length(layer), " slots, layer 0 has ",
                          table.length(0)));
      }
    }
  }
}

// I20, I34: gauges and totals counted afresh.
void World::AuditTotals(const EngineStats& stats) {
  const auto check = [this](absl::string_view name, uint64_t told, uint64_t counted) {
    if (told == counted) return;
    report_->Fail("I34", absl::StrCat(name, " is ", told, ", counted afresh ", counted));
  };
  check("running", static_cast<uint64_t>(stats.running), static_cast<uint64_t>(num_running_));
  check("waiting", static_cast<uint64_t>(stats.waiting),
        static_cast<uint64_t>(num_live_ - num_running_));
  check("requests", stats.requests.size(), static_cast<uint64_t>(num_live_));
  check("requests_finished", stats.requests_finished, finished_);
  check("requests_failed", stats.requests_failed, failed_);
  check("generated_tokens", stats.generated_tokens, generated_);
  check("prompt_tokens", stats.prompt_tokens, prompt_tokens_);
  check("images", stats.images, images_);
  int64_t choices = 0;
  for (const auto& [id, request] : requests_) {
    if (request->started && !request->ended) choices += request->spec.choices;
  }
  if (choices > config_.max_running) {
    report_->Fail("I22", absl::StrCat(choices, " choices run, at most ", config_.max_running));
  }
  if (stats.waiting > 0 && choices < config_.max_running) {
    report_->Reach(Mark::kPagesBlockAdmission);
  }
}

// --- The end of a run

int64_t World::StepsToHeal() const {
  int64_t steps = 16;
  for (const auto& [id, request] : requests_) {
    if (request->ended) continue;
    const int64_t tower =
        static_cast<int64_t>(request->oracle.images().size()) * (config_.tower_steps + 1);
    steps += request->oracle.prompt_rows() + tower +
             request->spec.choices * request->oracle.most_new_tokens();
  }
  return steps;
}

void World::Heal(bool fail_all) {
  faults_ = Faults();
  healing_ = true;
  if (fail_all && num_live_ > 0) {
    report_->NextEvent();
    report_->Reach(Mark::kFailAll);
    failing_all_ = true;
    core_->FailAll(absl::UnavailableError("the daemon stops"));
    failing_all_ = false;
  }
  for (const auto& [id, request] : requests_) request->stalled = false;
  const int64_t bound = StepsToHeal();
  for (int64_t steps = 0; num_live_ > 0 && !report_->failed(); ++steps) {
    if (!Step() && num_live_ > 0) {
      return report_->Fail("I29", absl::StrCat(num_live_, " requests live, nothing is computed"));
    }
    if (steps > bound) {
      return report_->Fail(
          "I23", absl::StrCat(num_live_, " requests live after ", bound, " steps without faults"));
    }
  }
  if (report_->failed()) return;
  (void)Step();  // The fence of the last step has passed.
  const EngineStats stats = core_->Stats();
  if (stats.free_pages != stats.total_pages) {
    report_->Fail("I38", absl::StrCat(stats.total_pages - stats.free_pages,
                                      " pages are in use after the last request ended"));
  }
  if (finished_ + failed_ != requests_.size()) {
    report_->Fail(
        "I20", absl::StrCat(requests_.size(), " requests came, ", finished_ + failed_, " ended"));
  }
}

uint64_t World::StateHash() const {
  uint64_t hash = 1;
  const auto add = [&hash](int64_t value) { hash = Mix(hash ^ static_cast<uint64_t>(value)); };
  for (const auto& [id, request] : requests_) {
    add(id);
    add(request->started | request->ended << 1 | request->cancelled << 2 | request->stalled << 3 |
        request->encoding << 4 | request->drained << 5);
    if (request->ended) continue;
    add(static_cast<int64_t>(request->arrival));
    add(request->stalled_steps);
    if (request->spec.deadline + request->spec.soft_limit > 0) add(NowUs());
    add(request->computed_rows);
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
    }
  }
  add(faults_.forward_fails | faults_.copy_fails << 1);
  add(faults_.nan_row);
  add(faults_.image_failures);
  return hash;
}

}  // namespace prefixd::simulation
