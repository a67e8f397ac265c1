// Included before each file of a test on a card. Kernels of a card have no bugs that can be planted
// (kernel_bug.h); a test that plants one is skipped there.
#ifndef PREFIXD_TESTS_CUDA_EMULATION_CARD_PLANTED_BUG_H_
#define PREFIXD_TESTS_CUDA_EMULATION_CARD_PLANTED_BUG_H_

#include "engine/backend/cuda/kernel_bug.h"
#include "tests/cuda_emulation/card/skip.h"

namespace prefixd::cuda {

class NoPlantedBug {
 public:
  NoPlantedBug& operator=(KernelBug bug) {
    if (bug != KernelBug::kNone) emu::SkipOnCard("bugs are planted in the emulation only");
    return *this;
  }
  operator KernelBug() const { return KernelBug::kNone; }
};
inline NoPlantedBug planted_kernel_bug;

}  // namespace prefixd::cuda

#endif  // PREFIXD_TESTS_CUDA_EMULATION_CARD_PLANTED_BUG_H_
