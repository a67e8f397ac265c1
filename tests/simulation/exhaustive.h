// Small-scope search: two requests of two tenants in a few pages, and every order of what can
// happen to them up to a depth. States are told apart by World::StateHash; from each new one the
// world must also heal.
#ifndef PREFIXD_TESTS_SIMULATION_EXHAUSTIVE_H_
#define PREFIXD_TESTS_SIMULATION_EXHAUSTIVE_H_

#include <cstdint>
#include <vector>

#include "tests/simulation/report.h"

namespace prefixd::simulation {

struct ExhaustiveResult {
  Report report;
  uint64_t states = 0, transitions = 0;
};

// Number of small worlds that there are to search.
int NumSmallWorlds();

// Breadth first, so that a failure is found by a shortest sequence, which is the report's context.
// A crash or hang is the caller's to notice; `result` then tells how far it came.
void SearchSmallWorld(int index, int depth, ExhaustiveResult* result);

}  // namespace prefixd::simulation

#endif  // PREFIXD_TESTS_SIMULATION_EXHAUSTIVE_H_
