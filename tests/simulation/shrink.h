// Makes a failing scenario small: fewer requests, then fewer actions and faults, then simpler
// numbers and shorter prompts, as long as it still fails.
#ifndef PREFIXD_TESTS_SIMULATION_SHRINK_H_
#define PREFIXD_TESTS_SIMULATION_SHRINK_H_

#include <functional>

#include "tests/simulation/scenario.h"

namespace prefixd::simulation {

// `fails` plays a scenario, at most `max_runs` times in all. Requires: fails(scenario).
Scenario Shrink(Scenario scenario, int max_runs, const std::function<bool(const Scenario&)>& fails);

}  // namespace prefixd::simulation

#endif  // PREFIXD_TESTS_SIMULATION_SHRINK_H_
