// Plays a scenario: chaos in virtual time, then healing.
#ifndef PREFIXD_TESTS_SIMULATION_PLAY_H_
#define PREFIXD_TESTS_SIMULATION_PLAY_H_

#include <cstdint>

#include "tests/simulation/report.h"
#include "tests/simulation/scenario.h"

namespace prefixd::simulation {

// Arrivals and faults stop after `max_events` events. What was violated first is in `report`; a
// crash or hang is the caller's to notice.
void Play(const Scenario& scenario, int64_t max_events, Report* report);

}  // namespace prefixd::simulation

#endif  // PREFIXD_TESTS_SIMULATION_PLAY_H_
