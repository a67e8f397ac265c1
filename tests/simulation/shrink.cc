#include "tests/simulation/shrink.h"

#include <algorithm>
#include <utility>
#include <vector>

namespace prefixd::simulation {
namespace {

class Shrinker {
 public:
  Shrinker(Scenario scenario, int max_runs, const std::function<bool(const Scenario&)>& fails)
      : best_(std::move(scenario)), runs_left_(max_runs), fails_(fails) {}

  Scenario Run() {
    do {
      progress_ = false;
      DeleteItems(&Scenario::requests);
      DropIdleActions();
      DeleteItems(&Scenario::actions);
      Try([](Scenario* s) { s->durations = {1000}; });
      BringTogether();
      ShortenPrompts();
      SimplifyRequests();
      SimplifyActions();
      DeleteItems(&Scenario::tenants);
      SimplifyTenants();
      for (const Field<Config>& field : ConfigFields()) {
        Simplify([&](Scenario* s) { return &(s->config.*field.member); }, field.simplest);
      }
    } while (progress_ && runs_left_ > 0);
    return std::move(best_);
  }

 private:
  // Keeps a change if the scenario is still valid and fails.
  bool Try(const std::function<void(Scenario*)>& change) {
    Scenario candidate = best_;
    change(&candidate);
    if (Print(candidate) == Print(best_) || !Validate(candidate).ok()) return false;
    if (runs_left_ <= 0 || (--runs_left_, !fails_(candidate))) return false;
    best_ = std::move(candidate);
    progress_ = true;
    return true;
  }

  // Without halves, quarters, ... and single items of a list.
  template <typename T>
  void DeleteItems(std::vector<T> Scenario::*list) {
    for (size_t size = (best_.*list).size(); size > 0; size /= 2) {
      for (size_t begin = 0; begin < (best_.*list).size();) {
        const bool done = Try([&](Scenario* s) {
          auto& items = s->*list;
          const size_t end = std::min(begin + size, items.size());
          items.erase(items.begin() + static_cast<ptrdiff_t>(begin),
                      items.begin() + static_cast<ptrdiff_t>(end));
        });
        if (!done) begin += size;
      }
    }
  }

  void DropIdleActions() {
    Try([](Scenario* s) {
      std::erase_if(s->actions, [&](const Action& action) {
        return action.request != 0 &&
               std::none_of(s->requests.begin(), s->requests.end(),
                            [&](const RequestSpec& r) { return r.id == action.request; });
      });
    });
  }

  // Towards `simplest`: at once, or by halves.
  void Simplify(const std::function<int64_t*(Scenario*)>& number, int64_t simplest) {
    if (Try([&](Scenario* s) { *number(s) = simplest; })) return;
    while (Try([&](Scenario* s) {
      int64_t* const value = number(s);
      *value = simplest + (*value - simplest) / 2;
    })) {
    }
    Try([&](Scenario* s) {
      int64_t* const value = number(s);
      *value += *value > simplest ? -1 : *value < simplest ? 1 : 0;
    });
  }

  // Everything at once, and actions when their request arrives.
  void BringTogether() {
    Try([](Scenario* s) {
      for (RequestSpec& request : s->requests) request.at = 0;
      for (Action& action : s->actions) action.at = 0;
    });
    for (size_t i = 0; i < best_.actions.size(); ++i) {
      Try([&](Scenario* s) {
        for (const RequestSpec& request : s->requests) {
          if (request.id == s->actions[i].request) s->actions[i].at = request.at;
        }
      });
    }
  }

  void ShortenPrompts() {
    for (size_t i = 0; i < best_.requests.size(); ++i) {
      for (size_t cut = best_.requests[i].prompt.size() / 2; cut > 0; cut /= 2) {
        while (Try([&](Scenario* s) {
          auto& prompt = s->requests[i].prompt;
          if (prompt.size() > cut) prompt.resize(prompt.size() - cut);
        })) {
        }
      }
      Try([&](Scenario* s) {
        for (int64_t& token : s->requests[i].prompt) token = 1;
      });
    }
  }

  void SimplifyRequests() {
    for (size_t i = 0; i < best_.requests.size(); ++i) {
      for (const Field<RequestSpec>& field : RequestFields()) {
        Simplify([&](Scenario* s) { return &(s->requests[i].*field.member); }, field.simplest);
      }
    }
  }

  void SimplifyTenants() {
    for (size_t i = 0; i < best_.tenants.size(); ++i) {
      for (const Field<TenantSpec>& field : TenantFields()) {
        Simplify([&](Scenario* s) { return &(s->tenants[i].*field.member); }, field.simplest);
      }
    }
  }

  void SimplifyActions() {
    for (size_t i = 0; i < best_.actions.size(); ++i) {
      Simplify([&](Scenario* s) { return &s->actions[i].at; }, 0);
      Simplify([&](Scenario* s) { return &s->actions[i].value; }, 0);
    }
  }

  Scenario best_;
  int runs_left_;
  const std::function<bool(const Scenario&)>& fails_;
  bool progress_ = false;
};

}  // namespace

Scenario Shrink(Scenario scenario, int max_runs,
                const std::function<bool(const Scenario&)>& fails) {
  return Shrinker(std::move(scenario), max_runs, fails).Run();
}

}  // namespace prefixd::simulation
