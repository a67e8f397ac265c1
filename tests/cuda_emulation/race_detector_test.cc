// What the race detector reports and what it must not. Without it (the plain twin of this test) the
// kernels only have to run.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "tests/cuda_emulation/emulator/access.h"
#include "tests/cuda_emulation/emulator/device_array.h"
#include "tests/cuda_emulation/emulator/reports.h"
#include "tests/cuda_emulation/emulator/shadow.h"
#include "tests/cuda_emulation/emulator/testing.h"
#include "tests/cuda_emulation/race_kernels.h"

namespace prefixd::emu {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

void RunWithoutRace(Sharing sharing) {
  ForAllOrders(10, [&] {
    DeviceArray<unsigned> memory(std::vector<unsigned>(256, 0));
    EXPECT_EQ(LaunchSharing(sharing, memory.data()), cudaSuccess);
  });
}

TEST(RaceDetector, LetsOrderedAccessesBe) {
  for (const Sharing sharing :
       {Sharing::kOwnWords, Sharing::kOwnHalves, Sharing::kOwnBytes, Sharing::kReadTogether,
        Sharing::kBarrierBetween, Sharing::kWarpBarrierBetween, Sharing::kAtomics,
        Sharing::kAtomicThenBarrier, Sharing::kStaticShared}) {
    SCOPED_TRACE(static_cast<int>(sharing));
    RunWithoutRace(sharing);
  }
}

TEST(RaceDetector, ForgetsALaunchWhenItEnds) {
  DeviceArray<unsigned> memory(std::vector<unsigned>(256, 0));
  EXPECT_EQ(LaunchSharing(Sharing::kAtomics, memory.data()), cudaSuccess);
  EXPECT_EQ(LaunchSharing(Sharing::kReadTogether, memory.data()), cudaSuccess);
  EXPECT_EQ(LaunchSharing(Sharing::kAtomics, memory.data()), cudaSuccess);
}

void ExpectRace(Sharing sharing, const std::string& text, const std::string& buffer) {
  if (!race_detector_on) GTEST_SKIP() << "a test of the raced twin";
  ForAllOrders(10, [&] {
    DeviceArray<unsigned> memory(std::vector<unsigned>(256, 0));
    const cudaError_t error = LaunchSharing(sharing, memory.data());
    const std::vector<std::string> reports = TakeReports();
    EXPECT_EQ(error, cudaErrorLaunchFailure);
    EXPECT_THAT(reports,
                ElementsAre(AllOf(HasSubstr("kernel SharingKernel, block ("), HasSubstr(text),
                                  HasSubstr(buffer), HasSubstr("race_kernels.cu:"))));
  });
}

constexpr char kShared[] = "of dynamic shared memory of 256 bytes";
constexpr char kGlobal[] = "byte 800 of a device buffer of 1024 bytes";

TEST(RaceDetector, EqualValues) { ExpectRace(Sharing::kEqualValues, "writes", kShared); }
TEST(RaceDetector, BlocksWrite) { ExpectRace(Sharing::kBlocksWrite, "of block (", kGlobal); }
TEST(RaceDetector, BlocksWriteAndRead) {
  ExpectRace(Sharing::kBlocksWriteAndRead, "of block (", kGlobal);
}
TEST(RaceDetector, AShuffleOrdersNothing) {
  ExpectRace(Sharing::kShuffleBetween, "nothing orders the two", kShared);
}
TEST(RaceDetector, AWarpBarrierOrdersItsLanesOnly) {
  ExpectRace(Sharing::kPartialWarpBarrier, "nothing orders the two", kShared);
}
TEST(RaceDetector, ManyReadersOneWriter) {
  ExpectRace(Sharing::kManyReadersOneWriter, "thread 20", kShared);
}
TEST(RaceDetector, LanesReadOneWrites) {
  ExpectRace(Sharing::kLaneReadersOneWriter, "thread 0", kShared);
}
TEST(RaceDetector, AtomicAndPlainRead) {
  ExpectRace(Sharing::kAtomicAndRead, "atomically", kGlobal);
}
TEST(RaceDetector, StaticSharedMemory) {
  ExpectRace(Sharing::kStaticSharedNoBarrier, "race", "static shared memory");
}
TEST(RaceDetector, ReadsBesideABuffer) {
  ExpectRace(Sharing::kReadBeyondShared, "an access beside", "dynamic shared memory of 256 bytes");
  ExpectRace(Sharing::kReadBeyondGlobal, "an access beside", "a device buffer of 1024 bytes");
}

TEST(Shadow, SplitsCellsWhereAccessesAreSmall) {
  Shadow shadow;
  std::vector<uintptr_t> seen;
  const auto mark = [&](ShadowCell* cell, uintptr_t address) {
    seen.push_back(address);
    cell->write.code = 5;
  };
  shadow.ForCells(0x10003F8, 16, mark);  // Across two pages of the shadow.
  EXPECT_THAT(seen, ElementsAre(0x10003F8, 0x10003FC, 0x1000400, 0x1000404));
  seen.clear();
  shadow.ForCells(0x1000402, 4, [&](ShadowCell* cell, uintptr_t address) {
    seen.push_back(address);
    EXPECT_EQ(cell->write.code, 5u);  // What was known of the word holds for its halves.
  });
  EXPECT_THAT(seen, ElementsAre(0x1000402, 0x1000404));
  seen.clear();
  shadow.ForCells(0x1000407, 2, mark);
  EXPECT_THAT(seen, ElementsAre(0x1000407, 0x1000408));
  shadow.Clear();
  shadow.ForCells(0x1000400, 4,
                  [](ShadowCell* cell, uintptr_t) { EXPECT_EQ(cell->write.code, 0u); });
}

}  // namespace
}  // namespace prefixd::emu
