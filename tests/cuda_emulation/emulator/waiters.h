// Says where the threads of a block wait.
#ifndef PREFIXD_TESTS_CUDA_EMULATION_EMULATOR_WAITERS_H_
#define PREFIXD_TESTS_CUDA_EMULATION_EMULATOR_WAITERS_H_

#include <memory>
#include <string>
#include <vector>

#include "tests/cuda_emulation/emulator/thread.h"

namespace prefixd::emu {

// "file.cu:12", the file without its folders; empty without a file.
std::string SiteText(Site site);

// "threads 0-15 at __syncthreads (a.cu:12); threads 16-31 at __shfl_sync, mask ffffffff (a.cu:30);
// threads 32-63 returned".
std::string WaitersText(const std::vector<std::unique_ptr<Thread>>& threads, uint32_t num_threads);

}  // namespace prefixd::emu

#endif  // PREFIXD_TESTS_CUDA_EMULATION_EMULATOR_WAITERS_H_
