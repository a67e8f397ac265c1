// Finds accesses of two threads that nothing orders, whether or not this run went wrong by them.
// What orders: barriers of the block, __syncwarp among its lanes, and the end of a launch. Shuffles
// and votes order nothing, as the CUDA guide says. Atomics do not race with each other and order
// nothing either.
//
// Several readers are remembered, of one warp if its lanes read between the same two __syncwarps;
// what is left out can hide a race, never invent one.
#ifndef PREFIXD_TESTS_CUDA_EMULATION_EMULATOR_RACE_DETECTOR_H_
#define PREFIXD_TESTS_CUDA_EMULATION_EMULATOR_RACE_DETECTOR_H_

#include <cstdint>
#include <memory>

#include "tests/cuda_emulation/emulator/access.h"
#include "tests/cuda_emulation/emulator/thread.h"

namespace prefixd::emu {

// What the grid tells.
void OnGridStart();
void OnBlockStart();
void OnBlockBarrier();
void OnWarpBarrier(const std::unique_ptr<Thread>* warp, uint32_t mask);

// Forgets all accesses and gives their memory back.
void ClearRaceDetector();

}  // namespace prefixd::emu

#endif  // PREFIXD_TESTS_CUDA_EMULATION_EMULATOR_RACE_DETECTOR_H_
