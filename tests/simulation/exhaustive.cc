#include "tests/simulation/exhaustive.h"

#include <memory>
#include <string>
#include <unordered_set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "tests/simulation/scenario.h"
#include "tests/simulation/world.h"

namespace prefixd::simulation {
namespace {

struct SmallWorld {
  Config config;
  std::vector<TenantSpec> tenants;
  std::vector<RequestSpec> requests;
};

// `count` times the letter a, then `rest`.
std::vector<int64_t> Letters(int64_t count, std::vector<int64_t> rest = {}) {
  std::vector<int64_t> prompt(static_cast<size_t>(count), 1);
  prompt.insert(prompt.end(), rest.begin(), rest.end());
  return prompt;
}

std::vector<SmallWorld> MakeSmallWorlds() {
  const Config tiny{.layers = 1, .pages = 3, .max_running = 2, .max_batch = 20};
  const Config deep{.layers = 2, .pages = 6, .max_running = 3, .max_batch = 16, .chunk = 9};
  const std::vector<TenantSpec> one, two(2);
  const std::vector<TenantSpec> limited = {{.share = 70, .floor = 34}, {.weight = 3, .share = 67}};
  const RequestSpec plain{.id = 1, .max_tokens = 3, .ignore_eos = 1, .prompt = Letters(17)};
  RequestSpec foreign = plain;  // The same prompt of another tenant.
  foreign.id = 2;
  foreign.tenant = 1;
  RequestSpec twin = plain;  // The same prompt of the same tenant, a token further.
  twin.id = 2;
  twin.prompt = Letters(18);
  const RequestSpec choices{
      .id = 1, .max_tokens = 3, .choices = 2, .ignore_eos = 1, .prompt = Letters(15)};
  const RequestSpec image{.id = 2, .max_tokens = 2, .priority = 1, .prompt = Letters(2, {-1, 1})};
  RequestSpec same_image = image;
  same_image.id = 1;
  same_image.priority = 0;
  RequestSpec late = plain;
  late.deadline = 4000;
  const RequestSpec pin{.id = 2, .pin = 9000, .prompt = Letters(17)};
  RequestSpec important = twin;
  important.priority = 1;
  // Two sessions of one prefix; their snapshot is two pages.
  RequestSpec session{
      .id = 1, .max_tokens = 4, .ignore_eos = 1, .retention = kShared, .budget = 500};
  session.distance = 0;
  session.prefix = 17;
  session.prompt = Letters(18);
  RequestSpec other_session = session;
  other_session.id = 2;
  other_session.prompt = Letters(17, {2});
  const Config sessions{.layers = 1, .pages = 7, .max_running = 2, .max_batch = 20};
  Config with_features = deep;
  with_features.features = 1000;
  return {{tiny, two, {plain, foreign}},
          {tiny, limited, {plain, foreign}},
          {tiny, one, {plain, twin}},
          {deep, one, {plain, twin}},
          {tiny, one, {plain, important}},
          {tiny, one, {choices, image}},
          {deep, one, {choices, image}},
          {with_features, one, {same_image, image}},
          {deep, one, {late, twin}},
          {tiny, one, {plain, pin}},
          {sessions, one, {session, other_session}}};
}

enum class Kind { kStep, kSubmit, kAction };
struct Operation {
  Kind kind = Kind::kStep;
  size_t request = 0;  // Index, for kSubmit.
  Action action;
};

std::vector<Operation> OperationsOf(const SmallWorld& world) {
  std::vector<Operation> operations = {{Kind::kStep}};
  for (size_t i = 0; i < world.requests.size(); ++i) operations.push_back({Kind::kSubmit, i});
  for (const RequestSpec& request : world.requests) {
    for (const ActionKind kind : {ActionKind::kCancel, ActionKind::kStall, ActionKind::kResume}) {
      operations.push_back({Kind::kAction, 0, {.kind = kind, .request = request.id}});
    }
  }
  for (const RequestSpec& request : world.requests) {
    if (request.pin == 0) continue;
    operations.push_back({Kind::kAction, 0, {.kind = ActionKind::kRelease, .request = request.id}});
  }
  if (world.requests[0].retention != kOff) {
    operations.push_back({Kind::kAction, 0, {.kind = ActionKind::kGatherFails}});
  }
  for (const ActionKind kind :
       {ActionKind::kFlush, ActionKind::kForwardFails, ActionKind::kCopyFails,
        ActionKind::kLogitsNan, ActionKind::kImageFails}) {
    operations.push_back({Kind::kAction, 0, {.kind = kind}});
  }
  operations.push_back({Kind::kAction, 0, {.kind = ActionKind::kClockJump, .value = 4000}});
  return operations;
}

void Apply(const SmallWorld& small, const Operation& operation, World* world) {
  switch (operation.kind) {
    case Kind::kStep:
      (void)world->Step();
      return;
    case Kind::kSubmit:
      return world->Submit(small.requests[operation.request]);
    case Kind::kAction:
      return world->Apply(operation.action);
  }
}

std::string NameOf(const SmallWorld& small, const Operation& operation) {
  if (operation.kind == Kind::kStep) return "step";
  if (operation.kind == Kind::kSubmit) {
    return absl::StrCat("submit ", small.requests[operation.request].id);
  }
  return absl::StrCat(ActionName(operation.action.kind), " ", operation.action.request);
}

using Path = std::vector<uint8_t>;  // Indices of operations.

}  // namespace

int NumSmallWorlds() { return static_cast<int>(MakeSmallWorlds().size()); }

void SearchSmallWorld(int index, int depth, ExhaustiveResult* result) {
  const SmallWorld small = MakeSmallWorlds()[static_cast<size_t>(index)];
  const std::vector<Operation> operations = OperationsOf(small);
  std::unordered_set<uint64_t> seen;
  std::vector<Path> frontier = {{}};
  for (int level = 0; level < depth; ++level) {
    std::vector<Path> next;
    for (const Path& path : frontier) {
      for (size_t i = 0; i < operations.size(); ++i) {
        Path longer = path;
        longer.push_back(static_cast<uint8_t>(i));
        std::string names = absl::StrCat("world ", index, ":");
        for (const uint8_t op : longer)
          absl::StrAppend(&names, " ", NameOf(small, operations[op]), ",");
        Report& report = result->report;
        report = Report();
        report.set_context(names);
        World world(small.config, small.tenants, {1000}, &report);
        for (const uint8_t op : longer) Apply(small, operations[op], &world);
        ++result->transitions;
        if (report.failed()) return;
        if (!seen.insert(world.StateHash()).second) continue;
        ++result->states;
        next.push_back(std::move(longer));
        world.Heal(/*fail_all=*/false);
        if (report.failed()) return;
      }
    }
    frontier = std::move(next);
  }
}

}  // namespace prefixd::simulation
