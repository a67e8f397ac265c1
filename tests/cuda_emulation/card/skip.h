// Ends the running test as skipped: what it wants is there in the emulation only.
#ifndef PREFIXD_TESTS_CUDA_EMULATION_CARD_SKIP_H_
#define PREFIXD_TESTS_CUDA_EMULATION_CARD_SKIP_H_

namespace prefixd::emu {

[[noreturn]] void SkipOnCard(const char* why);

}  // namespace prefixd::emu

#endif  // PREFIXD_TESTS_CUDA_EMULATION_CARD_SKIP_H_
