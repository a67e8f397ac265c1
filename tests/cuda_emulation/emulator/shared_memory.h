// The shared memory of the block that runs: the launch's dynamic bytes between guards, and the
// static __shared__ variables of all kernels.
#ifndef PREFIXD_TESTS_CUDA_EMULATION_EMULATOR_SHARED_MEMORY_H_
#define PREFIXD_TESTS_CUDA_EMULATION_EMULATOR_SHARED_MEMORY_H_

#include <cstddef>
#include <cstdint>

namespace prefixd::emu {

inline constexpr size_t kMostSharedBytes = 227 << 10;

// Gives a block its memory: all 0xFF (NaN), `bytes` of it dynamic. AddressSanitizer knows its end.
void ResetSharedMemory(size_t bytes);

unsigned char* SharedMemoryBegin();
size_t SharedMemoryBytes();

// Static __shared__ variables: one range; empty if there are none, or under AddressSanitizer.
unsigned char* StaticSharedBegin();
size_t StaticSharedBytes();

enum class SharedPlace { kElsewhere, kDynamic, kStatic, kGuard };
SharedPlace PlaceInSharedMemory(const void* p);

// Whether nothing was written next to the dynamic memory.
bool SharedGuardsHold();

}  // namespace prefixd::emu

#endif  // PREFIXD_TESTS_CUDA_EMULATION_EMULATOR_SHARED_MEMORY_H_
