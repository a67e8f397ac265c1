// How a test steers the emulated device and what it can read from it: the order of streams, the
// size of its memory, faults on demand, counters.
//
// Streams. Eager: work runs when it is enqueued. Late: nothing runs until a synchronisation, a
// query or a dependency demands it; with a seed, unrelated streams come some random way in between,
// and nodes of a graph run in a random order that their dependencies allow. So a missing event
// wait, or pinned memory that is written too early, shows as wrong data.
//
// Memory. Every device buffer is aligned to exactly 256 bytes, lies between two zones of canaries
// (read at every synchronisation and at free), holds 0xFF bytes at first and is unreadable after
// free. Device memory is unreadable, too, while no work of a stream runs: a host dereference is a
// fault (of more than 1 MiB, this holds after waits and at times between). Misuse of the API adds a
// report (emulator/reports.h) beside the error that it returns.
//
// Threads: all calls, also those of the runtime API, take one lock.
#ifndef PREFIXD_TESTS_CUDA_EMULATION_EMULATOR_EMULATED_DEVICE_H_
#define PREFIXD_TESTS_CUDA_EMULATION_EMULATOR_EMULATED_DEVICE_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "tests/cuda_emulation/shim/runtime_api.h"

namespace prefixd::emu {

enum class StreamMode { kEager, kLate };

struct DeviceOptions {
  StreamMode mode = StreamMode::kEager;
  uint64_t seed = 0;  // Of late streams; 0: unrelated streams do not move.
  size_t total_memory = size_t{16} << 30;
  int device_count = 1;
  int compute_major = 9;
  int compute_minor = 0;
  int driver_version = 13000;
  int multiprocessors = 132;
  bool guard_from_host = true;  // See Memory, above.
  double hang_limit_s = 30;     // A wait for a hung stream gives up with a report.
};

// Each number counts down: 1 hits the next call of its kind, 0 none. Products of cuBLASLt are
// launches, too.
struct Faults {
  int allocation = 0;         // cudaMalloc, cudaMallocAsync: cudaErrorMemoryAllocation.
  int pinned_allocation = 0;  // cudaMallocHost, cudaHostAlloc: cudaErrorMemoryAllocation.
  int launch = 0;             // cudaErrorInvalidConfiguration of the launch; not sticky.
  int device_lost = 0;        // A launch whose run ends in cudaErrorIllegalAddress; sticky.
  int hang = 0;               // A launch that its stream hangs at, until ReleaseStreams.
};

struct Counters {
  // Calls, also while a stream is captured; what a graph replays is in kernels_run alone. Products
  // of cuBLASLt are not among the launches.
  uint64_t launches = 0;
  uint64_t kernels_run = 0;
  uint64_t graph_launches = 0;
  uint64_t graphs_instantiated = 0;
  uint64_t copies_to_device = 0, copies_to_host = 0, copies_on_device = 0, memsets = 0;
  uint64_t synchronizations = 0;  // Calls that wait, also copies that do.
  uint64_t queries = 0;
  uint64_t allocations = 0, pinned_allocations = 0;
  uint64_t bytes_in_use = 0, peak_bytes = 0, pinned_bytes = 0;
  uint64_t matmuls = 0, heuristics = 0;  // Calls of cuBLASLt.
};

// Changes take effect with the next call; total_memory may not go below what is in use.
DeviceOptions GetDeviceOptions();
void SetDeviceOptions(const DeviceOptions& options);
void SetFaults(const Faults& faults);
Faults RemainingFaults();
Counters GetCounters();
void ResetCounters();  // All but bytes in use; the peak starts from them.

// The stream runs nothing until it is released.
void HangStream(cudaStream_t stream);
void ReleaseStreams();

// Buffers of device and pinned memory that nobody has freed, one line each.
std::vector<std::string> LiveBuffers();

// As a new process: runs nothing that is pending, destroys streams, events, graphs and memory,
// forgets errors, faults, counters and options.
void ResetDevice();

// A launch failure that came with a report no longer makes the device a lost one.
void ForgiveLaunchFailures();

// Memory for tests, not counted and out of the faults' way. They abort where the device would fail.
// Read and Write run what is pending first, on every stream.
void* AllocateDevice(size_t bytes);  // bytes may be 0.
void FreeDevice(void* pointer);
void WriteDevice(void* to, const void* from, size_t bytes);
void ReadDevice(void* to, const void* from, size_t bytes);

}  // namespace prefixd::emu

#endif  // PREFIXD_TESTS_CUDA_EMULATION_EMULATOR_EMULATED_DEVICE_H_
