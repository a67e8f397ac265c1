// The emulator runs right kernels and reports wrong ones. Every test also runs with the race
// detector, as cuda_emulator_test_raced.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <vector>

#include "tests/cuda_emulation/emulator/access.h"
#include "tests/cuda_emulation/emulator/device_array.h"
#include "tests/cuda_emulation/emulator/grid.h"
#include "tests/cuda_emulation/emulator/reports.h"
#include "tests/cuda_emulation/emulator/testing.h"
#include "tests/cuda_emulation/fault_kernels.h"

namespace prefixd::emu {
namespace {

using ::testing::AllOf;
using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::vector<float> Numbers(size_t count) {
  std::vector<float> numbers(count);
  for (size_t i = 0; i < count; ++i) numbers[i] = static_cast<float>(i % 7);
  return numbers;
}

std::vector<float> BlockSums(SumBug bug, size_t shared_bytes = 16) {
  const DeviceArray<float> x(Numbers(3 * 2 * 128));
  DeviceArray<float> y(3 * 128);
  LaunchBlockSums(x.data(), y.data(), 3, 2, bug, shared_bytes);
  return y.Download();
}

std::vector<float> ExpectedBlockSums() {
  const std::vector<float> x = Numbers(3 * 2 * 128);
  std::vector<float> sums(3 * 128);
  for (size_t i = 0; i < sums.size(); ++i) {
    double sum = 0;
    for (size_t k = 0; k < 256; ++k) sum += x[i / 128 * 256 + k];
    sums[i] = static_cast<float>(sum);
  }
  return sums;
}

TEST(EmulatedKernel, AddsABlocksValuesInEveryOrder) {
  ForAllOrders(5, [] { EXPECT_EQ(BlockSums(SumBug::kNone), ExpectedBlockSums()); });
}

// A wrong result in some order; with the race detector, a report in every order.
void ExpectRaceShows(const std::function<bool()>& result_is_right) {
  int num_wrong = 0;
  ForAllOrders(5, [&] {
    num_wrong += result_is_right() ? 0 : 1;
    const std::vector<std::string> reports = TakeReports();
    if (race_detector_on) {
      EXPECT_THAT(reports, ElementsAre(HasSubstr("nothing orders the two")));
    } else {
      EXPECT_THAT(reports, ElementsAre());
    }
  });
  EXPECT_GT(num_wrong, 0);
}

TEST(MissingBarrier, BeforeReadingShows) {
  ExpectRaceShows([] { return BlockSums(SumBug::kNoFirstBarrier) == ExpectedBlockSums(); });
}

TEST(MissingBarrier, BeforeWritingAgainShows) {
  ExpectRaceShows([] { return BlockSums(SumBug::kNoSecondBarrier) == ExpectedBlockSums(); });
}

std::vector<float> AsyncCopy(CopyBug bug) {
  const DeviceArray<float> x(Numbers(5 * 128));
  DeviceArray<float> y(5 * 128);
  LaunchAsyncCopy(x.data(), y.data(), 5, bug);
  return y.Download();
}

TEST(AsyncCopy, ArrivesWhenWaitedFor) {
  ForAllOrders(5, [] { EXPECT_EQ(AsyncCopy(CopyBug::kNone), Numbers(5 * 128)); });
}

TEST(AsyncCopy, IsNotThereWithoutAWait) {
  ForAllOrders(5, [] { EXPECT_NE(AsyncCopy(CopyBug::kNoWait), Numbers(5 * 128)); });
}

TEST(AsyncCopy, IsNotThereAfterAWaitForOlderGroups) {
  ForAllOrders(5, [] { EXPECT_NE(AsyncCopy(CopyBug::kWaitsForTooFew), Numbers(5 * 128)); });
}

TEST(AsyncCopy, IsNotThereForOthersWithoutABarrier) {
  ExpectRaceShows([] { return AsyncCopy(CopyBug::kNoBarrier) == Numbers(5 * 128); });
}

// The one report of a fault, in every order.
void ExpectFault(PlannedFault fault, const std::string& text) {
  ForAllOrders(5, [&] {
    DeviceArray<float> x(std::vector<float>(64, 0.0f));
    EXPECT_EQ(LaunchFault(fault, x.data()), cudaErrorLaunchFailure);
    EXPECT_THAT(TakeReports(), ElementsAre(AllOf(HasSubstr("kernel FaultKernel, block (0,0,0)"),
                                                 HasSubstr(text))));
  });
}

TEST(Fault, ShuffleUnderDivergenceIsADeadlock) {
  ExpectFault(PlannedFault::kShuffleUnderDivergence,
              "deadlock: threads 0-15 at __shfl_xor_sync, mask ffffffff (fault_kernels.cu:");
}

TEST(Fault, CallerMustBeInItsMask) {
  ExpectFault(PlannedFault::kCallerNotInMask, "is not in its mask 0000ffff");
}

TEST(Fault, SourceOfAShuffleMustBeInTheMask) {
  ExpectFault(PlannedFault::kSourceNotInMask, "reads lane 20, which is not in mask 0000ffff");
}

TEST(Fault, MaskNamesNoLanesThatAreNotThere) {
  ExpectFault(PlannedFault::kMaskOfMissingLanes,
              "mask ffffffff names lanes of a warp of 8 threads");
}

TEST(Fault, LanesOfAMaskDoTheSame) {
  ExpectFault(PlannedFault::kDifferentOperations, "lanes of mask ffffffff do different things");
}

TEST(Fault, HalfABlockAtAnotherBarrier) {
  ExpectFault(PlannedFault::kDifferentBarriers,
              "different barriers: threads 0-31 at __syncthreads");
}

TEST(Fault, DeadlockSaysWhoWaitsWhere) {
  ForAllOrders(5, [] {
    DeviceArray<float> x(64);
    LaunchFault(PlannedFault::kBarrierAgainstShuffle, x.data());
    const std::vector<std::string> reports = TakeReports();
    ASSERT_EQ(reports.size(), 1u);
    EXPECT_THAT(reports[0],
                HasSubstr("threads 0-4, 6-31 at __shfl_xor_sync, mask ffffffff (fault_"));
    EXPECT_THAT(reports[0], HasSubstr("threads 32-63 at __syncthreads (fault_kernels.cu:"));
    EXPECT_THAT(reports[0], HasSubstr("thread 5 at __syncthreads (fault_kernels.cu:"));
  });
}

TEST(Fault, Load16WantsItsAlignment) {
  ExpectFault(PlannedFault::kMisalignedLoad16, "Load16: an address that is not a multiple of 16");
}

TEST(Fault, AsyncCopyGoesToSharedMemory) {
#if defined(__SANITIZE_ADDRESS__)
  GTEST_SKIP() << "static shared memory may lie anywhere";
#endif
  ExpectFault(PlannedFault::kCopyToGlobal, "cp.async: the destination is not shared memory");
}

TEST(Fault, MisalignedAccessWithoutLoad16) {
  DeviceArray<float> x(std::vector<float>(64, 0.0f));
#if defined(__SANITIZE_ADDRESS__)
  EXPECT_DEATH(LaunchFault(PlannedFault::kMisalignedReference, x.data()), "misaligned address");
#else
  if (!race_detector_on) GTEST_SKIP() << "the processor raises a signal";
  LaunchFault(PlannedFault::kMisalignedReference, x.data());
  EXPECT_THAT(TakeReports(), ElementsAre(HasSubstr("not a multiple of 16")));
#endif
}

TEST(Fault, SharedMemoryFourBytesTooSmall) {
#if defined(__SANITIZE_ADDRESS__)
  EXPECT_DEATH(BlockSums(SumBug::kNone, 12), "use-after-poison");
#else
  BlockSums(SumBug::kNone, 12);
  EXPECT_THAT(TakeReports(),
              ElementsAre(HasSubstr(race_detector_on
                                        ? "an access beside dynamic shared memory of 12 bytes"
                                        : "bytes were written beside the 12 bytes of dynamic")));
#endif
}

TEST(Fault, WriteBeyondADeviceBuffer) {
  DeviceArray<float> y(31);
#if defined(__SANITIZE_ADDRESS__)
  EXPECT_DEATH(LaunchFill(y.data(), 1, 1, 32, 0), "use-after-poison");
#else
  EXPECT_EQ(LaunchFill(y.data(), 1, 1, 32, 0), cudaErrorLaunchFailure);
  EXPECT_THAT(TakeReports(), ElementsAre(AllOf(HasSubstr("FillKernel"),
                                               HasSubstr("a device buffer of 124 bytes"))));
#endif
}

TEST(Launch, WhatNoDeviceTakesIsReported) {
  DeviceArray<float> y(2048);
  EXPECT_EQ(LaunchFill(y.data(), 1, 0, 32, 0), cudaErrorInvalidConfiguration);
  EXPECT_EQ(LaunchFill(y.data(), 1, 1, 1025, 0), cudaErrorInvalidConfiguration);
  EXPECT_THAT(TakeReports(),
              AllOf(::testing::SizeIs(2), Each(HasSubstr("no device takes a grid"))));
}

TEST(Launch, MuchSharedMemoryMustBeAllowedFirst) {
  DeviceArray<float> y(32);
  EXPECT_EQ(LaunchFill(y.data(), 1, 1, 32, 49153), cudaErrorInvalidValue);
  EXPECT_THAT(TakeReports(), ElementsAre(HasSubstr("more than AllowSharedMemory allowed")));
  EXPECT_EQ(AllowFill(50000), cudaSuccess);
  EXPECT_EQ(LaunchFill(y.data(), 1, 1, 32, 50000), cudaSuccess);
  EXPECT_EQ(AllowFill(233000), cudaErrorInvalidValue);
}

TEST(Launch, LeavesNothingToTheNext) {
  ForAllOrders(3, [] {
    for (int i = 0; i < 2; ++i) {
      DeviceArray<uint32_t> y(3 * 129);
      ASSERT_EQ(LaunchReadFreshShared(y.data()), cudaSuccess);
      std::vector<uint32_t> seen = y.Download();
#if defined(__SANITIZE_ADDRESS__)  // Static shared memory is not poisoned there.
      for (size_t block = 0; block < 3; ++block) seen[block * 129 + 128] = 0xFFFFFFFF;
#endif
      EXPECT_THAT(seen, Each(0xFFFFFFFF));
    }
  });
}

TEST(Launch, RunsAfterAFault) {
  ForAllOrders(3, [] {
    DeviceArray<float> x(std::vector<float>(64, 0.0f));
    EXPECT_EQ(LaunchFault(PlannedFault::kBarrierAgainstShuffle, x.data()), cudaErrorLaunchFailure);
    TakeReports();
    AsyncCopy(CopyBug::kNoWait);
    EXPECT_EQ(cudaGetLastError(), cudaSuccess);
    EXPECT_EQ(BlockSums(SumBug::kNone), ExpectedBlockSums());
  });
}

TEST(Barrier, DoesNotWaitForThreadsThatReturned) {
  ForAllOrders(3, [] {
    DeviceArray<float> y(std::vector<float>(96, 0.0f));
    ASSERT_EQ(LaunchEarlyReturn(y.data()), cudaSuccess);
    const std::vector<float> ones = y.Download();
    for (size_t i = 0; i < 96; ++i) EXPECT_EQ(ones[i], i % 3 == 0 ? 0 : 1);
  });
}

TEST(Atomics, CountEveryThreadInEveryOrder) {
  ForAllOrders(20, [] {
    DeviceArray<unsigned> counters(std::vector<unsigned>(4, 0));
    ASSERT_EQ(LaunchCounters(counters.data()), cudaSuccess);
    EXPECT_THAT(counters.Download(), ElementsAre(256u, 255u * 256 / 2, 255u, 128u));
  });
}

TEST(DeviceArray, LivesAsLongAsItsOwner) {
  const size_t before = LiveBuffers().size();
  {
    DeviceArray<float> a(3), b(std::vector<float>{1, 2});
    a = std::move(b);
    EXPECT_EQ(LiveBuffers().size(), before + 2);
    EXPECT_THAT(a.Download(), ElementsAre(1, 2));
  }
  EXPECT_EQ(LiveBuffers().size(), before);
}

}  // namespace
}  // namespace prefixd::emu
