#include <gtest/gtest.h>

#include <vector>

#include "tests/cuda_emulation/emulator/device_array.h"
#include "tests/cuda_emulation/emulator/reports.h"
#include "tests/cuda_emulation/emulator/testing.h"
#include "tests/cuda_emulation/emulator_test_kernels.h"

namespace prefixd::emu {
namespace {

TEST(EmulatedKernel, AddsABlocksValuesInEveryOrder) {
  std::vector<float> x(3 * 2 * 128);
  for (size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(i % 7);
  ForAllOrders(5, [&] {
    DeviceArray<float> device_x(x), y(3);
    ASSERT_EQ(LaunchBlockSums(device_x.data(), y.data(), 3, 2, SumBug::kNone), cudaSuccess);
    const std::vector<float> sums = y.Download();
    for (int block = 0; block < 3; ++block) {
      double expected = 0;
      for (int i = 0; i < 256; ++i) expected += x[block * 256 + i];
      EXPECT_EQ(sums[block], expected);
    }
  });
}

}  // namespace
}  // namespace prefixd::emu
