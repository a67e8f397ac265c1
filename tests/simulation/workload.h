// Draws a scenario from a seed: the shape of the core, prompts that share beginnings, and a mixture
// of clients, clocks and faults that differs from seed to seed (swarm testing; Groce et al., ISSTA
// 2012).
#ifndef PREFIXD_TESTS_SIMULATION_WORKLOAD_H_
#define PREFIXD_TESTS_SIMULATION_WORKLOAD_H_

#include <cstdint>

#include "tests/simulation/scenario.h"

namespace prefixd::simulation {

Scenario DrawScenario(uint64_t seed);

}  // namespace prefixd::simulation

#endif  // PREFIXD_TESTS_SIMULATION_WORKLOAD_H_
