// cp.async: what is copied arrives as late as the program allows. Until a wait covers it, the
// destination holds 0xFF (NaN).
#ifndef PREFIXD_TESTS_CUDA_EMULATION_EMULATOR_ASYNC_COPY_H_
#define PREFIXD_TESTS_CUDA_EMULATION_EMULATOR_ASYNC_COPY_H_

namespace prefixd::emu {

// Fault: an address is not a multiple of 16, or `shared` is not shared memory.
void CpAsync16(void* shared, const void* global, bool predicate);
void CpAsyncCommit();
void CpAsyncWait(int newest_groups);

}  // namespace prefixd::emu

#endif  // PREFIXD_TESTS_CUDA_EMULATION_EMULATOR_ASYNC_COPY_H_
