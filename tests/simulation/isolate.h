// Runs scenarios in child processes: a failed check of the core, a wild pointer or an endless loop
// is then one more thing that a run can find.
#ifndef PREFIXD_TESTS_SIMULATION_ISOLATE_H_
#define PREFIXD_TESTS_SIMULATION_ISOLATE_H_

#include <array>
#include <cstdint>
#include <functional>
#include <optional>

#include "tests/simulation/exhaustive.h"
#include "tests/simulation/report.h"
#include "tests/simulation/scenario.h"

namespace prefixd::simulation {

struct SeedRange {
  uint64_t first = 1;
  uint64_t count = 1;
  int jobs = 1;  // Processes at a time.
  int64_t max_events = 2000;
  int seconds_per_seed = 30;    // A seed that takes longer has failed.
  uint64_t repeat_every = 100;  // Every such seed runs twice, to the same trace.
};

struct SeedResults {
  struct Failure {
    uint64_t seed = 0;
    Report report;
  };
  std::optional<Failure> failure;  // Of the smallest failing seed that was reached.
  uint64_t seeds = 0, events = 0, steps = 0;
  std::array<uint64_t, kNumMarks> marks{};
};

// Runs seeds until all are done or one fails.
SeedResults RunSeeds(const SeedRange& range);

// Runs `body`, which may take `seconds`.
Report RunIsolated(int seconds, const std::function<void(Report*)>& body);
// Plays one scenario.
Report RunIsolated(const Scenario& scenario, int64_t max_events, int seconds);

// Searches one small world.
ExhaustiveResult SearchIsolated(int index, int depth);

}  // namespace prefixd::simulation

#endif  // PREFIXD_TESTS_SIMULATION_ISOLATE_H_
