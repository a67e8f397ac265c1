// What tests of kernels share. Linked into every prefixd_cuda_test: a test that leaves reports
// behind fails, and each begins in ascending order.
#ifndef PREFIXD_TESTS_CUDA_EMULATION_EMULATOR_TESTING_H_
#define PREFIXD_TESTS_CUDA_EMULATION_EMULATOR_TESTING_H_

#include <functional>

namespace prefixd::emu {

// Runs `body` in ascending, descending and random orders with seeds 1..num_seeds; failures name the
// order. Stops after the first order that failed.
void ForAllOrders(int num_seeds, const std::function<void()>& body);

}  // namespace prefixd::emu

#endif  // PREFIXD_TESTS_CUDA_EMULATION_EMULATOR_TESTING_H_
