// Mistakes planted in split attention, each found: by a wrong result, or by a report of the
// emulator or the race detector.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "engine/backend/cuda/kernel_bug.h"
#include "tests/cuda_emulation/emulator/grid.h"
#include "tests/cuda_emulation/emulator/reports.h"
#include "tests/cuda_emulation/split_attention_case.h"

namespace prefixd::cuda_test {
namespace {

using cuda::KernelBug;
using cuda::SplitKernel;

constexpr SplitKernel kKernels[] = {SplitKernel::kPlain, SplitKernel::kVector,
                                    SplitKernel::kMatrix};

bool Wrong(const SplitCase& split_case, const SplitRun& run) {
  const SplitOutput output = split_case.Run(run);
  const bool reported = !emu::TakeReports().empty();
  return reported || output.error != cudaSuccess || !(split_case.Error(run, output) <= 5e-3);
}

// In how many of three orders of threads the bug shows; without it, none may.
int OrdersThatFind(KernelBug bug, const SplitCase& split_case, const SplitRun& run) {
  int found = 0;
  for (const emu::Order order :
       {emu::Order::kAscending, emu::Order::kDescending, emu::Order::kRandom}) {
    emu::SetConfig({.order = order, .seed = 7});
    EXPECT_FALSE(Wrong(split_case, run));
    cuda::planted_kernel_bug = bug;
    found += Wrong(split_case, run);
    cuda::planted_kernel_bug = KernelBug::kNone;
  }
  emu::SetConfig({});
  return found;
}

SplitCase Decode(int group_heads) {
  SplitShape shape;
  shape.group_heads = group_heads;
  shape.lengths = {250, 300, 17};
  return SplitCase(shape);
}

TEST(SplitAttentionBugs, MissingBarrierBeforeReading) {
  // Of kMatrix's warps the first one alone computes here: where it runs last it is right by luck.
  for (const SplitKernel kernel : kKernels) {
    EXPECT_GE(OrdersThatFind(KernelBug::kSplitReadsBeforeBarrier, Decode(2), {.kernel = kernel}),
              kernel == SplitKernel::kMatrix ? 2 : 3);
  }
}

TEST(SplitAttentionBugs, MissingBarrierBeforeReuse) {
  // kVector uses its memory again for the second eight heads, kMatrix for the third tile.
  for (const SplitKernel kernel : {SplitKernel::kVector, SplitKernel::kMatrix}) {
    EXPECT_GE(OrdersThatFind(KernelBug::kSplitReusesBeforeBarrier, Decode(17), {.kernel = kernel}),
              2);
  }
}

TEST(SplitAttentionBugs, MissingWaitForCopies) {
  EXPECT_EQ(
      OrdersThatFind(KernelBug::kSplitMissingCopyWait, Decode(4), {.kernel = SplitKernel::kMatrix}),
      3);
}

TEST(SplitAttentionBugs, PageIndexOffByOne) {
  for (const SplitKernel kernel : kKernels) {
    EXPECT_EQ(OrdersThatFind(KernelBug::kSplitPageOffByOne, Decode(2), {.kernel = kernel}), 3);
  }
}

TEST(SplitAttentionBugs, PageOffsetsIn32Bits) {
  const SplitRun far{.kernel = SplitKernel::kPlain,
                     .first_page = (int64_t{1} << 32) / (2 * 16 * 64)};
  for (const SplitKernel kernel : kKernels) {
    SplitRun run = far;
    run.kernel = kernel;
    EXPECT_EQ(OrdersThatFind(KernelBug::kSplitPageOffset32, Decode(2), run), 3);
  }
}

TEST(SplitAttentionBugs, UnmaskedTail) {
  for (const SplitKernel kernel : kKernels) {
    EXPECT_EQ(OrdersThatFind(KernelBug::kSplitUnmaskedTail, Decode(2), {.kernel = kernel}), 3);
  }
}

TEST(SplitAttentionBugs, WrongVisibility) {
  SplitShape shape;
  shape.lengths = {40, 40};
  shape.sequence = {1, 1, 1};
  shape.visible = {38, 39, 40};
  const SplitCase split_case(shape);
  for (const SplitKernel kernel : kKernels) {
    EXPECT_EQ(OrdersThatFind(KernelBug::kSplitWrongVisibility, split_case, {.kernel = kernel}), 3);
  }
}

TEST(SplitAttentionBugs, SharedMemoryTooSmall) {
  for (const SplitKernel kernel : kKernels) {
    const auto find = [&] {
      return OrdersThatFind(KernelBug::kSplitSharedMemorySmall, Decode(2), {.kernel = kernel});
    };
#if defined(__SANITIZE_ADDRESS__)
    EXPECT_DEATH(find(), "AddressSanitizer");
#else
    EXPECT_EQ(find(), 3);
#endif
  }
}

TEST(SplitAttentionBugs, PathOfAnotherRow) {
  SplitShape shape;
  shape.lengths = {60};
  shape.sequence = {0, 0, 0};
  shape.visible = {35, 35, 36};
  shape.paths = {{40}, {50}, {50, 45}};
  const SplitCase split_case(shape);
  for (const SplitKernel kernel : {SplitKernel::kPlain, SplitKernel::kMatrix}) {
    EXPECT_EQ(OrdersThatFind(KernelBug::kSplitWrongPath, split_case, {.kernel = kernel}), 3);
  }
}

TEST(SplitAttentionBugs, SkippedMemberOfAGroup) {
  SplitShape shape;
  shape.lengths = {60, 50, 33};
  shape.shared_slots = 32;
  EXPECT_EQ(OrdersThatFind(KernelBug::kSplitSkipsMember, SplitCase(shape),
                           {.kernel = SplitKernel::kMatrix, .groups = {{{0, 1, 2}, 32}}}),
            3);
}

}  // namespace
}  // namespace prefixd::cuda_test
