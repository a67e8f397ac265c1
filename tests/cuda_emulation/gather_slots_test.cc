// GatherSlots against copies of slots and means in double.
#include <gtest/gtest.h>

#include <iterator>
#include <random>
#include <string>
#include <vector>

#include "engine/backend/cuda/kernels/kv_ops.h"
#include "tests/cuda_emulation/emulator/reports.h"
#include "tests/cuda_emulation/emulator/testing.h"
#include "tests/cuda_emulation/test_matrix.h"
#include "tests/cuda_emulation/test_pages.h"

namespace prefixd::cuda {
namespace {

// Slots of scrambled pages 4, 0, 2 into pages 1 and 6.
constexpr int64_t kSources[] = {4 * 16 + 15, 0, 2 * 16 + 3, 2 * 16 + 2, 15, 4 * 16};
constexpr int64_t kDestinations[] = {6 * 16 + 1, 16, 17, 31, 6 * 16 + 15, 6 * 16};

std::string RunGather(const PageShape& shape, Placement placement) {
  std::mt19937 random(3);
  TestPages pages(shape, placement);
  pages.Fill(&random, 0, 80);
  const std::vector<uint32_t> before = AllBits(&pages);
  std::vector<uint32_t> expected = before;
  for (int i = 0; i < 6; ++i) {
    CopySlot(pages, before, kSources[i], kDestinations[i], &expected);
  }
  const emu::DeviceArray<int64_t> sources(
      std::vector<int64_t>{std::begin(kSources), std::end(kSources)});
  const emu::DeviceArray<int64_t> destinations(
      {std::begin(kDestinations), std::end(kDestinations)});
  if (LaunchGatherSlots(sources.data(), nullptr, destinations.data(), 6, pages.view(), nullptr) !=
      cudaSuccess) {
    return "launch failed";
  }
  return Difference(expected, &pages.elements());
}

// Means of 1, 3 and 2 of the sources.
std::string RunGatherMeans(const PageShape& shape, Placement placement) {
  std::mt19937 random(4);
  TestPages pages(shape, placement);
  pages.Fill(&random, 0, 80);
  std::vector<uint32_t> expected = AllBits(&pages);
  const std::vector<int32_t> first = {0, 1, 4, 6};
  std::vector<double> means;
  const auto for_each = [&](auto fn) {
    for (int d = 0; d < 3; ++d) {
      for (const int part : {kKey, kValue}) {
        for (int64_t head = 0; head < shape.num_kv_heads; ++head) {
          for (int64_t c = 0; c < shape.head_dim; ++c) fn(d, part, head, c);
        }
      }
    }
  };
  for_each([&](int d, int part, int64_t head, int64_t c) {
    double mean = 0;
    for (int32_t i = first[d]; i < first[d + 1]; ++i) {
      mean += pages.Get(kSources[i], part, head, c) / (first[d + 1] - first[d]);
    }
    means.push_back(mean);
  });
  const emu::DeviceArray<int64_t> sources(
      std::vector<int64_t>{std::begin(kSources), std::end(kSources)});
  const emu::DeviceArray<int64_t> destinations(
      {std::begin(kDestinations), std::begin(kDestinations) + 3});
  const emu::DeviceArray<int32_t> first_source(first);
  if (LaunchGatherSlots(sources.data(), first_source.data(), destinations.data(), 3, pages.view(),
                        nullptr) != cudaSuccess) {
    return "launch failed";
  }
  pages.elements().Download();
  std::string mismatch;
  size_t next = 0;
  for_each([&](int d, int part, int64_t head, int64_t c) {
    const int64_t index = pages.Index(kDestinations[d], part, head, c);
    if (!IsClose(shape.type, pages.elements().Get(index), means[next++], 1)) {
      mismatch = "mean " + std::to_string(d);
    }
    expected[index] = pages.elements().Bits(index);
  });
  return mismatch.empty() ? Difference(expected, &pages.elements()) : mismatch;
}

TEST(GatherSlotsTest, AllTypesAndShapes) {
  for (const PageShape& shape : kPageShapes) {
    for (const Placement placement : kPlacements) {
      EXPECT_EQ(RunGather(shape, placement), "") << Name(shape.type) << " " << shape.head_dim;
      EXPECT_EQ(RunGatherMeans(shape, placement), "") << Name(shape.type) << " " << shape.head_dim;
    }
  }
}

TEST(GatherSlotsTest, AllOrders) {
  emu::ForAllOrders(kSeeds, [] {
    EXPECT_EQ(RunGather(kPageShapes[4], Placement::kAligned), "");
    EXPECT_EQ(RunGatherMeans(kPageShapes[1], Placement::kColumn5), "");
  });
}

TEST(GatherSlotsTest, FindsANextPage) {
  const PlantedBug bug(KernelBug::kGatherNextPage);
  EXPECT_NE(RunGather(kPageShapes[0], Placement::kAligned), "");
  EXPECT_NE(RunGatherMeans(kPageShapes[0], Placement::kAligned), "");
  emu::TakeReports();
}

TEST(GatherSlotsTest, FindsAMeanOfOneMore) {
  const PlantedBug bug(KernelBug::kMeanOfOneMore);
  EXPECT_NE(RunGatherMeans(kPageShapes[0], Placement::kAligned), "");
  emu::TakeReports();
}

TEST(GatherSlotsTest, FindsATailThatIsNotMasked) {
  const PlantedBug bug(KernelBug::kTailNotMasked);
  EXPECT_NE(RunGatherMeans(kPageShapes[1], Placement::kAligned), "");
  emu::TakeReports();
}

}  // namespace
}  // namespace prefixd::cuda
