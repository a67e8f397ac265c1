// The execution model: blocks of a grid run one after another, the threads of a block as fibers
// that take turns at barriers, warp collectives and atomics, in an order that the test chooses.
// One OS thread at a time uses the emulator, any thread.
//
// A fault (deadlock, divergent barrier, a lane that its mask does not name, a race, a broken guard)
// is recorded (reports.h) and ends the grid; its threads are abandoned where they are.
#ifndef PREFIXD_TESTS_CUDA_EMULATION_EMULATOR_GRID_H_
#define PREFIXD_TESTS_CUDA_EMULATION_EMULATOR_GRID_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>

#include "shim/vectors.h"
#include "tests/cuda_emulation/emulator/schedule.h"
#include "tests/cuda_emulation/emulator/thread.h"

namespace prefixd::emu {

struct Stats {
  uint64_t launches = 0, blocks = 0, switches = 0, barriers = 0, collectives = 0;
};
Stats& stats();

// What threadIdx & co. read; valid inside a kernel.
extern Thread* current_thread;
extern uint3 block_index;
extern dim3 block_size, grid_size;

// Runs `body` once for every thread. False if a fault was recorded.
bool RunGrid(const std::string& name, dim3 grid, dim3 block, size_t shared_bytes,
             const std::function<void()>& body);

// Records "kernel, block: what"; the grid ends when the thread that runs gives way.
void RecordBlockFault(const std::string& what);

// The rest is called from within kernels.

inline int Lane() { return static_cast<int>(current_thread->rank % 32); }

// The block's dynamic shared memory: shared_bytes, all 0xFF (NaN) when the block starts.
unsigned char* DynamicSharedMemory();

// Whether [p, p + bytes) lies in the block's shared memory, dynamic or static.
bool IsShared(const void* p, size_t bytes);

// Waits for all threads of the block that have not returned. Fault: they wait at different places.
void BlockBarrier(Site site);

// Every lane named by `mask` calls with the same operation; the last one runs it over the operands
// of all 32 lanes (null where not named), then all go on. `name` is for reports.
// Shuffles, votes and matrix operations do not order memory; __syncwarp does.
using CollectiveFn = void (*)(void* operands[32], uint32_t mask);
void WarpCollective(const char* name, uint32_t mask, void* operands, CollectiveFn operation,
                    Site site, bool orders_memory = false);

// A place where, in random order, others may go first.
void MaybeYield();

// Records "kernel, block, thread: what" and abandons the grid. `what` is a function that returns
// the text, so that no string is left behind on the abandoned stack.
void RecordFault(const std::string& what);
[[noreturn]] void AbandonThread();
template <typename What>
[[noreturn]] void Fault(const What& what) {
  RecordFault(what());
  AbandonThread();
}

// Fault unless p is a multiple of 16.
void CheckAligned16(const void* p, const char* what);

}  // namespace prefixd::emu

#endif  // PREFIXD_TESTS_CUDA_EMULATION_EMULATOR_GRID_H_
