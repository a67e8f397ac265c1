// What the simulation knows of one request: what was asked, what it must get, what it got.
#ifndef PREFIXD_TESTS_SIMULATION_LIVE_REQUEST_H_
#define PREFIXD_TESTS_SIMULATION_LIVE_REQUEST_H_

#include <array>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "tests/simulation/oracle.h"
#include "tests/simulation/scenario.h"

namespace prefixd::simulation {

struct LiveRequest {
  LiveRequest(const Config& config, const RequestSpec& request)
      : spec(request), oracle(config, request), choices(static_cast<size_t>(request.choices)) {}

  struct Choice {
    int32_t tokens = 0;  // That came.
    std::string text;
    bool finished = false;
  };

  const RequestSpec spec;
  Oracle oracle;
  std::vector<Choice> choices;
  uint64_t arrival = 0;  // Order of arrival.
  absl::Time submitted, deadline = absl::InfiniteFuture(), soft_limit = absl::InfiniteFuture();

  // What was done to it.
  bool cancelled = false, drained = false, stalled = false;
  bool must_fail = false;        // A fault hit it: it ends with ENGINE_FAILED in this step.
  bool image_must_fail = false;  // Its tower failed: it ends with the tower's status.
  bool gather_failed = false;    // A move of its slots failed: it ends with that status.
  bool must_end = false;         // A step began after it was cancelled.
  int64_t stalled_steps = 0;     // Steps until the reader reads again by itself; 0: does not.
  bool was_parked = false;       // In some step.

  // What it was told.
  bool started = false, ended = false, told_end = false;
  int32_t computed_rows = 0;  // Prompt rows that forward passes computed for it.
  int32_t images_encoded = 0;
  bool encoding = false;

  // Rows of the prompt that were in its first choice's KV so far, and where each came from first.
  int32_t covered_rows = 0, hit_rows = 0, first_computed_rows = 0;
  int32_t preemptions = 0;  // As far as seen.
  bool pin_stays = false;   // Its prefix is pinned, and nobody released it.
  bool column_waited = false, image_waited = false;
  int32_t hits_when_waiting = 0;
  bool ran_before_step = false;  // It was running when the step began.

  // Under a budget: the order of slots that each row saw, by choice, layer and row.
  std::map<std::array<int32_t, 3>, uint64_t> slot_orders;

  // Pages that it takes at the least when nothing is shared; a pin has whole columns only.
  int64_t PagesAtLeast() const { return oracle.PagesFor(least_new_tokens()); }
  // Pages that the core may ask for on its behalf, if it generates as little as it can.
  int64_t PagesAtMost() const { return oracle.MostPagesFor(least_new_tokens()); }
  int64_t least_new_tokens() const {
    return oracle.max_new_is_open() || spec.pin != 0 ? 1 : oracle.max_new_tokens();
  }
  int32_t num_tokens() const {
    int32_t count = 0;
    for (const Choice& choice : choices) count += choice.tokens;
    return count;
  }
  bool any_token() const { return num_tokens() > 0; }
};

}  // namespace prefixd::simulation

#endif  // PREFIXD_TESTS_SIMULATION_LIVE_REQUEST_H_
