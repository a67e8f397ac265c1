// Finds accesses of two threads that nothing orders, whether or not this run went wrong by them.
#ifndef PREFIXD_TESTS_CUDA_EMULATION_EMULATOR_RACE_DETECTOR_H_
#define PREFIXD_TESTS_CUDA_EMULATION_EMULATOR_RACE_DETECTOR_H_

#include <cstdint>
#include <memory>

#include "tests/cuda_emulation/emulator/access.h"
#include "tests/cuda_emulation/emulator/thread.h"

namespace prefixd::emu {

// What orders accesses, told by the grid.
void OnGridStart();
void OnBlockStart();
void OnBlockBarrier();
void OnCollective(const std::unique_ptr<Thread>* warp, uint32_t mask);

}  // namespace prefixd::emu

#endif  // PREFIXD_TESTS_CUDA_EMULATION_EMULATOR_RACE_DETECTOR_H_
