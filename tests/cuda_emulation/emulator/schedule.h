// The order in which threads and blocks take turns, chosen by the test.
#ifndef PREFIXD_TESTS_CUDA_EMULATION_EMULATOR_SCHEDULE_H_
#define PREFIXD_TESTS_CUDA_EMULATION_EMULATOR_SCHEDULE_H_

#include <cstdint>

#include "tests/cuda_emulation/emulator/ready_set.h"

namespace prefixd::emu {

// kAscending and kDescending run every pair of threads, and of blocks, in both orders.
enum class Order { kAscending, kDescending, kRandom };

struct Config {
  Order order = Order::kAscending;
  uint64_t seed = 1;  // Of kRandom; launches since the last SetConfig differ.
};
void SetConfig(const Config& config);
const Config& config();

// The rest is the grid's.

// Draws the order of blocks of a launch.
void StartSchedule(uint64_t num_blocks);
// The block that runs as number k of the launch.
uint64_t BlockInTurn(uint64_t k);
// The thread that runs next, of those that can; -1 if none.
int NextThread(const ReadySet& ready, uint32_t num_threads);
// Whether a thread that could go on lets others go first.
bool YieldsNow();

}  // namespace prefixd::emu

#endif  // PREFIXD_TESTS_CUDA_EMULATION_EMULATOR_SCHEDULE_H_
