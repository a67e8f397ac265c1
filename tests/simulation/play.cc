#include "tests/simulation/play.h"

#include <algorithm>
#include <queue>
#include <vector>

#include "tests/simulation/world.h"

namespace prefixd::simulation {
namespace {

struct Event {
  enum class Kind { kArrival, kAction, kTurn };
  int64_t at = 0;
  uint64_t number = 0;  // Of events at one time the first that was queued comes first.
  Kind kind = Kind::kTurn;
  size_t index = 0;  // Of the request or action.

  bool operator>(const Event& other) const {
    return at != other.at ? at > other.at : number > other.number;
  }
};

// What will happen, in order of time. A turn lets the core take one step.
class EventQueue {
 public:
  void Push(int64_t at, Event::Kind kind, size_t index) {
    queue_.push({.at = at, .number = next_number_++, .kind = kind, .index = index});
  }
  // At most one turn is due; an earlier one takes the place of a later one.
  void PushTurn(int64_t at) {
    if (turn_ >= 0 && turn_ <= at) return;
    turn_ = at;
    Push(at, Event::Kind::kTurn, 0);
  }
  bool empty() const { return queue_.empty(); }
  Event Pop() {
    const Event event = queue_.top();
    queue_.pop();
    return event;
  }
  // Whether a turn that was popped is the one that is due, which it then no longer is.
  bool TakeTurn(const Event& event) {
    if (event.at != turn_) return false;
    turn_ = -1;
    return true;
  }

 private:
  std::priority_queue<Event, std::vector<Event>, std::greater<Event>> queue_;
  uint64_t next_number_ = 0;
  int64_t turn_ = -1;
};

}  // namespace

void Play(const Scenario& scenario, int64_t max_events, Report* report) {
  World world(scenario.config, scenario.tenants, scenario.durations, report);
  EventQueue queue;
  for (size_t i = 0; i < scenario.requests.size(); ++i) {
    queue.Push(scenario.requests[i].at, Event::Kind::kArrival, i);
  }
  for (size_t i = 0; i < scenario.actions.size(); ++i) {
    queue.Push(scenario.actions[i].at, Event::Kind::kAction, i);
  }
  while (!queue.empty() && !report->failed()) {
    if (report->event() >= static_cast<uint64_t>(max_events)) break;
    const Event event = queue.Pop();
    world.AdvanceTo(event.at);
    if (event.kind == Event::Kind::kArrival) {
      world.Submit(scenario.requests[event.index]);
      queue.PushTurn(world.NowUs());
    } else if (event.kind == Event::Kind::kAction) {
      world.Apply(scenario.actions[event.index]);
      queue.PushTurn(world.NowUs());
    } else if (queue.TakeTurn(event)) {
      if (world.Step()) {
        queue.PushTurn(world.NowUs());
      } else if (const int64_t timer = world.NextTimerUs(); timer >= 0) {
        queue.PushTurn(std::max(timer, world.NowUs()));
      }
    }
  }
  if (!report->failed()) world.Heal(scenario.config.fail_all != 0);
}

}  // namespace prefixd::simulation
