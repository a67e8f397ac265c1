#include "engine/scheduler.h"

#include <algorithm>
#include <iterator>

#include "absl/container/inlined_vector.h"
#include "base/check.h"
#include "base/planted_bug.h"

namespace prefixd {
namespace {

constexpr uint64_t kPatience = 8;     // Steps that a request in prefill waits for its turn.
constexpr int32_t kPatientShare = 4;  // Those share this part of the largest piece, at least.
constexpr size_t kTurnSteps = 48;     // So many of them go a step that each does within these.

// Whether `a` goes before `b` among requests of one tenant.
bool Senior(const ActiveRequest& a, const ActiveRequest& b) {
  if (a.request.priority != b.request.priority) return a.request.priority > b.request.priority;
  return a.arrival < b.arrival;
}

// Whether `a` is preempted rather than `b`: parked ones first, then the juniors.
bool RatherPreempted(const ActiveRequest& a, const ActiveRequest& b) {
  return a.parked != b.parked ? a.parked : Senior(b, a);
}

// The one that is preempted first among those that `allowed` admits; null: none.
template <typename Allowed>
ActiveRequest* FirstVictim(const RequestList& running, Allowed allowed) {
  ActiveRequest* victim = nullptr;
  for (const auto& request : running) {
    if (request->ended || !allowed(*request)) continue;
    if (victim == nullptr || RatherPreempted(*request, *victim)) victim = request.get();
  }
  return victim;
}

// Requests in prefill, or with rows to compute again: by what `before` says.
template <typename Before>
std::vector<ActiveRequest*> InOrder(const RequestList& running, Before before) {
  std::vector<ActiveRequest*> order;
  for (const auto& request : running) {
    const bool parked = request->parked && !PREFIXD_PLANTED(kParkedIsComputed);
    if (!parked && !request->ended) order.push_back(request.get());
  }
  std::stable_sort(order.begin(), order.end(), before);
  return order;
}

// Whether rows of a prompt, or rows to compute again, are due and need not wait for another.
bool HasPromptWork(const ActiveRequest& request) {
  if (request.phase == ActiveRequest::Phase::kScore) return true;
  if (request.phase != ActiveRequest::Phase::kDecode) return !request.column_waits;
  return std::any_of(request.choices.begin(), request.choices.end(), [](const auto& choice) {
    return !choice->finished && choice->pending_rows() > 1;
  });
}

// Pages that it may still take.
int64_t PagesLeft(const KvCache& cache, const ActiveRequest& request) {
  const int64_t held = OwnPages(cache, request);
  const int64_t shared = cache.SharedPages(request.first().kv);
  return std::max<int64_t>(0, request.max_pages - shared - held);
}

// Pages that the selection of a KV budget is still to take, beside those of the prompt.
int64_t SelectionPages(const ActiveRequest& request) {
  const RetentionState& retention = request.retention;
  return retention.on() && !retention.selected ? retention.selection_pages : 0;
}

// Pages that what is left of the prompt takes, and the first step of all choices after it.
int64_t PromptPages(const KvCache& cache, const ActiveRequest& request) {
  if (request.phase == ActiveRequest::Phase::kDecode) return 0;
  int32_t rows = request.prefill_rows() - request.first().kv.next_position();
  if (request.scoring) rows = request.scoring->has_slots ? 0 : rows + request.scoring->num_slots;
  const int64_t pages = cache.PagesToAppend(request.first().kv, rows) +
                        (request.unfinished_choices() - 1) * cache.num_layers() +
                        SelectionPages(request);
  return std::min(pages, PagesLeft(cache, request));
}

int64_t RunningChoices(const RequestList& running, int32_t tenant) {
  int64_t choices = 0;
  for (const auto& request : running) {
    if (request->parked || (tenant >= 0 && request->tenant != tenant)) continue;
    choices += PREFIXD_PLANTED(kRunningLimitIgnored) ? 1 : request->unfinished_choices();
  }
  return choices;
}

}  // namespace

int64_t OwnPages(const KvCache& cache, const ActiveRequest& request) {
  absl::InlinedVector<const KvSequence*, KvCache::kMaxSiblings> siblings;
  for (const auto& choice : request.choices) siblings.push_back(&choice->kv);
  return cache.OwnPages(siblings);
}

void StepPlan::Clear() {
  decodes.clear();
  prefills.clear();
  scores.clear();
  images.clear();
}

// --- Starting ------------------------------------------------------------------------------------

Scheduler::Start Scheduler::CanStart(const ActiveRequest& request,
                                     const RequestList& running) const {
  const int64_t choices = request.unfinished_choices();
  if (RunningChoices(running, request.tenant) + choices >
      options_.tenant_max_running[request.tenant]) {
    return Start::kTenantFull;
  }
  if (RunningChoices(running, -1) + choices > options_.max_running) return Start::kNoPlace;

  const auto wanted = [this](const ActiveRequest& r) {
    return options_.reserve ? PagesLeft(cache_, r) : PromptPages(cache_, r);
  };
  int64_t tenant_pages = wanted(request);
  int64_t all_pages = tenant_pages;
  for (const auto& other : running) {
    const int64_t pages = wanted(*other);
    if (other->tenant == request.tenant) tenant_pages += pages;
    all_pages += pages;
  }
  const bool limited = cache_.tenant(request.tenant).quota < cache_.num_pages();
  if (limited && cache_.CanReserve(request.tenant, tenant_pages) == KvCache::Room::kTenantFull) {
    return Start::kTenantFull;
  }
  // Beside others there must be a page a layer for each to go on with.
  if (!running.empty() && !options_.reserve) {
    all_pages += (RunningChoices(running, -1) + choices) * cache_.num_layers();
  }
  return all_pages <= cache_.available_pages(request.tenant) ? Start::kYes : Start::kPoolFull;
}

ActiveRequest* Scheduler::VictimToStart(const ActiveRequest& request, Start why,
                                        const RequestList& running) const {
  const auto lower = [&](const ActiveRequest& other) {
    return other.tenant == request.tenant && other.request.priority < request.request.priority;
  };
  if (why == Start::kTenantFull) return FirstVictim(running, lower);
  const bool places = why == Start::kNoPlace;
  const double total =
      places ? static_cast<double>(options_.max_running) : static_cast<double>(cache_.num_pages());
  const auto held = [&](int32_t tenant) {
    return static_cast<double>(places ? RunningChoices(running, tenant)
                                      : cache_.held_pages(tenant));
  };
  const double wanted =
      places ? request.unfinished_choices() : static_cast<double>(PromptPages(cache_, request));
  const bool below = held(request.tenant) + wanted <= shares_.ShareOf(request.tenant, total);
  return FirstVictim(running, [&](const ActiveRequest& other) {
    if (places && other.parked) return false;  // It has no place to give.
    if (lower(other)) return true;
    // Two that cannot run together would put each other aside for ever.
    if (other.catches_up() && !other.parked) return false;
    return below && other.tenant != request.tenant &&
           held(other.tenant) > shares_.ShareOf(other.tenant, total);
  });
}

// --- Planning ------------------------------------------------------------------------------------

Scheduler::Outcome Scheduler::Plan(const RequestList& running, uint64_t step,
                                   StepPlan* plan) const {
  plan->Clear();
  Budget budget{.rows = options_.max_batch_rows,
                .logit_rows = options_.max_logit_rows,
                .piece_rows = options_.max_prefill_rows};
  if (const Outcome outcome = PlanDecodes(running, &budget, plan); outcome.lacks != nullptr) {
    return outcome;
  }
  std::vector<ActiveRequest*> order =
      InOrder(running, [this](const ActiveRequest* a, const ActiveRequest* b) {
        return a->tenant != b->tenant && shares_.Before(a->tenant, b->tenant);
      });
  std::erase_if(order, [](const ActiveRequest* request) { return !HasPromptWork(*request); });
  ActiveRequest* lacks = nullptr;
  const auto plan_prompt = [&](ActiveRequest* request) {
    const Outcome outcome = PlanPrompt(running, request, &budget, plan);
    if (outcome.lacks != nullptr && lacks == nullptr) lacks = request;
    return outcome.victim;
  };
  // Whoever got nothing for long goes first, with a part of the budget.
  std::vector<ActiveRequest*> overdue;
  std::copy_if(order.begin(), order.end(), std::back_inserter(overdue),
               [step](const auto* r) { return r->last_prefill + kPatience < step; });
  std::stable_sort(overdue.begin(), overdue.end(),
                   [](const auto* a, const auto* b) { return a->last_prefill < b->last_prefill; });
  const size_t turns = order.size() / kTurnSteps + 1;
  budget.piece_rows =
      std::max(1, options_.max_prefill_rows / kPatientShare / static_cast<int32_t>(turns));
  for (ActiveRequest* request : overdue) {
    if (plan->num_prompt_pieces() >= turns) break;
    const size_t before = plan->num_prompt_pieces();
    if (ActiveRequest* victim = plan_prompt(request)) return {.lacks = request, .victim = victim};
    if (plan->num_prompt_pieces() > before) std::erase(order, request);
  }
  budget.piece_rows = options_.max_prefill_rows;
  for (ActiveRequest* request : order) {
    if (budget.rows <= 0 && plan->num_prompt_pieces() > 0) break;
    if (ActiveRequest* victim = plan_prompt(request)) return {.lacks = request, .victim = victim};
  }
  // Nothing moves, for want of pages: who lacks them gives back what it holds.
  if (plan->empty() && lacks != nullptr) return {.lacks = lacks, .victim = lacks};
  // The plan stands.
  for (const DecodeRow& row : plan->decodes) row.request->last_decode = step;
  for (const PrefillPiece& piece : plan->prefills) piece.request->last_prefill = step;
  for (const ScorePiece& piece : plan->scores) piece.request->last_prefill = step;
  for (const ImagePiece& piece : plan->images) piece.request->last_prefill = step;
  return {};
}

// Those that were decoded longest ago go first where there are more than places; pages are had in
// order of seniority.
Scheduler::Outcome Scheduler::PlanDecodes(const RequestList& running, Budget* budget,
                                          StepPlan* plan) const {
  std::vector<ActiveRequest*> order =
      InOrder(running, [](const ActiveRequest* a, const ActiveRequest* b) {
        return a->last_decode < b->last_decode;
      });
  int32_t places = options_.max_running;
  std::erase_if(order, [&places](const ActiveRequest* request) {
    if (request->phase != ActiveRequest::Phase::kDecode) return true;
    places -= request->unfinished_choices();
    return places < 0;
  });
  std::stable_sort(order.begin(), order.end(),
                   [](const ActiveRequest* a, const ActiveRequest* b) { return Senior(*a, *b); });
  for (ActiveRequest* request : order) {
    absl::InlinedVector<const KvSequence*, KvCache::kMaxSiblings> siblings;
    for (const auto& sequence : request->choices) {
      if (sequence->finished || sequence->pending_rows() != 1) continue;
      // The token that is being drawn is its last.
      const int32_t next = static_cast<int32_t>(sequence->next_index());
      if (sequence->draws_out > 0 && next >= request->max_new_tokens) continue;
      siblings.push_back(&sequence->kv);
      plan->decodes.push_back({request, sequence.get()});
      --budget->rows;
      --budget->logit_rows;
    }
    const KvCache::Room room =
        cache_.Reserve(request->tenant, cache_.PagesToAppendOneEach(siblings));
    if (room != KvCache::Room::kGranted) {
      ActiveRequest* const victim = VictimForPages(*request, room, running);
      return {.lacks = request, .victim = victim != nullptr ? victim : request};
    }
  }
  PREFIXD_CHECK(budget->rows >= 0 && budget->logit_rows >= 0);
  return {};
}

// Rows up to the next image that is not encoded; where that leaves none, steps of its tower. A
// tower step larger than a whole budget still runs, as the only prompt work of its step.
Scheduler::Outcome Scheduler::PlanPrompt(const RequestList& running, ActiveRequest* request,
                                         Budget* budget, StepPlan* plan) const {
  if (request->phase == ActiveRequest::Phase::kDecode) {
    for (const auto& choice : request->choices) {
      if (choice->finished || choice->pending_rows() <= 1) continue;
      const Outcome outcome =
          PlanRows(running, request, choice.get(), choice->pending_rows(), budget, plan);
      if (outcome.lacks != nullptr) return outcome;
    }
    return {};
  }
  if (request->phase == ActiveRequest::Phase::kScore) {
    return PlanScores(running, request, budget, plan);
  }
  if (request->column_waits) return {};
  const size_t image = request->next_image();
  int32_t ready_end = request->prefill_rows();
  if (image < request->images.size()) {
    ready_end = request->whole_prompt ? 0 : request->prompt.images[image].row_begin;
  }
  const int32_t ready = std::min(ready_end, request->prefill_rows()) - request->computed_rows();
  if (ready > 0) return PlanRows(running, request, &request->first(), ready, budget, plan);
  if (image < request->images.size() && !request->image_waits) PlanImage(request, budget, plan);
  return {};
}

Scheduler::Outcome Scheduler::PlanRows(const RequestList& running, ActiveRequest* request,
                                       Sequence* sequence, int32_t ready, Budget* budget,
                                       StepPlan* plan) const {
  // With decodes filling the whole budget, prefill still moves by one row.
  const bool first = plan->num_prompt_pieces() == 0;
  const int32_t limit = std::max(budget->rows, first ? 1 : 0);
  int32_t num_rows = std::min({ready, limit, budget->piece_rows});
  const int32_t begin = sequence->kv.next_position();
  // Rows that see each other go in one pass, above the budget if they must, beside decodes only.
  const int32_t whole = request->whole_prompt ? std::max(0, request->prompt_rows() - begin) : 0;
  if (whole > num_rows) {
    if (whole > limit && !first) return {};
    num_rows = whole;
  }
  num_rows = std::min(num_rows, request->retention.NextStop(begin) - begin);
  const bool prefill = request->phase == ActiveRequest::Phase::kPrefill;
  const int32_t end =
      prefill ? request->prefill_rows() : static_cast<int32_t>(sequence->tokens.size());
  if (begin + num_rows == end && budget->logit_rows <= 0) --num_rows;
  if (num_rows <= 0 || num_rows < whole) return {};
  const bool selects = request->retention.on() && !request->retention.selected &&
                       begin + num_rows == request->retention.boundary;
  const int64_t pages =
      cache_.PagesToAppend(sequence->kv, num_rows) + (selects ? SelectionPages(*request) : 0);
  const KvCache::Room room = cache_.Reserve(request->tenant, pages);
  if (room != KvCache::Room::kGranted) {
    // Without a victim it keeps what it has and waits; those that are senior go on.
    return {.lacks = request, .victim = VictimForPages(*request, room, running)};
  }
  const bool ends = begin + num_rows == end;
  const bool ends_prompt = ends && prefill;
  const bool fresh = std::any_of(
      request->choices.begin(), request->choices.end(),
      [](const auto& choice) { return !choice->finished && choice->generated.empty(); });
  // Of several choices that go on after preemption each computes its own tokens first.
  const bool samples = ends && request->pins == nullptr && !request->scoring &&
                       (!prefill || request->choices.size() == 1 || fresh);
  plan->prefills.push_back({request, sequence, num_rows, ends_prompt, samples});
  budget->rows -= num_rows;
  if (samples) --budget->logit_rows;
  return {};
}

// The first tokens of the candidates from the context's state, then rows of its candidates.
Scheduler::Outcome Scheduler::PlanScores(const RequestList& running, ActiveRequest* request,
                                         Budget* budget, StepPlan* plan) const {
  const ScoringState& scoring = *request->scoring;
  if (!scoring.root_scored) {
    plan->scores.push_back({request, 0});
    return {};
  }
  if (request->next_image() < request->images.size()) {  // Rows see it through cross-attention.
    if (!request->image_waits) PlanImage(request, budget, plan);
    return {};
  }
  const bool first = plan->num_prompt_pieces() == 0;
  const int32_t limit = std::max(budget->rows, first ? 1 : 0);
  const int32_t num_rows =
      scoring.walk->NumReady(std::min({limit, budget->piece_rows, scoring.max_rows}));
  if (num_rows <= 0) return {};
  const int64_t pages =
      scoring.has_slots ? 0 : cache_.PagesToAppend(request->first().kv, scoring.num_slots);
  const KvCache::Room room = cache_.Reserve(request->tenant, pages);
  if (room != KvCache::Room::kGranted) {
    return {.lacks = request, .victim = VictimForPages(*request, room, running)};
  }
  plan->scores.push_back({request, num_rows});
  budget->rows -= num_rows;
  return {};
}

void Scheduler::PlanImage(ActiveRequest* request, Budget* budget, StepPlan* plan) const {
  // An encoding that is not begun costs about the rows that the image will occupy.
  const size_t image = request->next_image();
  const ImageEncoding* encoding = request->encoding.get();
  const int32_t rows_per_step = std::max(
      1, encoding != nullptr ? encoding->rows_per_step() : request->prompt.images[image].num_rows);
  const int32_t steps_left = encoding != nullptr ? encoding->steps_left() : 1;
  const bool first = plan->num_prompt_pieces() == 0;
  const int32_t num_steps =
      std::min(steps_left, std::max(budget->rows / rows_per_step, first ? 1 : 0));
  if (num_steps <= 0) return;
  plan->images.push_back({request, image, num_steps});
  budget->rows -= num_steps * rows_per_step;
}

// --- Preemption ----------------------------------------------------------------------------------

// Whether tenant `a` holds more pages for its weight than `b`.
bool Scheduler::HoldsMore(int32_t a, int32_t b) const {
  const auto share = [this](int32_t tenant) {
    return static_cast<double>(cache_.held_pages(tenant)) / cache_.tenant(tenant).weight;
  };
  return share(a) > share(b);
}

ActiveRequest* Scheduler::VictimForPages(const ActiveRequest& request, KvCache::Room room,
                                         const RequestList& running) const {
  return FirstVictim(running, [&](const ActiveRequest& other) {
    if (&other == &request) return false;
    if (other.tenant == request.tenant) return other.parked || Senior(request, other);
    if (room == KvCache::Room::kTenantFull) return false;
    return other.parked || HoldsMore(other.tenant, request.tenant);
  });
}

}  // namespace prefixd
