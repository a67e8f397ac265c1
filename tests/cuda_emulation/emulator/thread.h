// One emulated thread of a block.
#ifndef PREFIXD_TESTS_CUDA_EMULATION_EMULATOR_THREAD_H_
#define PREFIXD_TESTS_CUDA_EMULATION_EMULATOR_THREAD_H_

#include <cstdint>
#include <vector>

#include "shim/vectors.h"
#include "tests/cuda_emulation/emulator/fiber.h"

namespace prefixd::emu {

// A place in a kernel's source.
struct Site {
  const char* file = "";
  int line = 0;

  // As a default argument: where the function that has it is called.
  static constexpr Site Here(const char* file = __builtin_FILE(), int line = __builtin_LINE()) {
    return {file, line};
  }
};

enum class ThreadState : uint8_t { kReady, kAtBlockBarrier, kAtCollective, kDone };

// A copy by cp.async that no wait has covered yet.
struct PendingCopy {
  void* shared = nullptr;
  const void* global = nullptr;  // Null: zeros.
  int group = 0;
};

struct Thread {
  uint3 index{};      // threadIdx
  uint32_t rank = 0;  // In the block, x fastest; lane = rank % 32.
  ThreadState state = ThreadState::kDone;

  // What it waits for.
  const char* operation = "";
  Site site;
  uint32_t mask = 0;
  void* operands = nullptr;
  void (*collective)(void* operands[32], uint32_t mask) = nullptr;

  std::vector<PendingCopy> copies;
  int copy_group = 0;  // Of the next copy.

  // Of the race detector: what this lane knows of the lanes of its warp.
  uint32_t clocks[32] = {};

  Fiber fiber;
};

}  // namespace prefixd::emu

#endif  // PREFIXD_TESTS_CUDA_EMULATION_EMULATOR_THREAD_H_
