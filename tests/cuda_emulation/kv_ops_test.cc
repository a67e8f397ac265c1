// The ops that move pages and slots, and ApplyDeltas.
#include "engine/backend/cuda/kernels/kv_ops.h"

#include <gtest/gtest.h>

#include <random>
#include <string>
#include <vector>

#include "tests/cuda_emulation/emulator/reports.h"
#include "tests/cuda_emulation/emulator/testing.h"
#include "tests/cuda_emulation/sparse_pages.h"
#include "tests/cuda_emulation/test_matrix.h"
#include "tests/cuda_emulation/test_pages.h"

namespace prefixd::cuda {
namespace {

std::string RunCopyPages(const PageShape& shape, Placement placement) {
  std::mt19937 random(1);
  TestPages pages(shape, placement);
  pages.Fill(&random, 16, 96);  // Page 0 and 6 hold guards only.
  const std::vector<uint32_t> before = AllBits(&pages);
  std::vector<uint32_t> expected = before;
  for (int64_t s = 0; s < 16; ++s) {
    CopySlot(pages, before, 3 * 16 + s, 1 * 16 + s, &expected);
    CopySlot(pages, before, 5 * 16 + s, 6 * 16 + s, &expected);
    CopySlot(pages, before, 3 * 16 + s, 2 * 16 + s, &expected);
  }
  const emu::DeviceArray<int32_t> pairs(std::vector<int32_t>{3, 1, 5, 6, 3, 2});
  if (LaunchCopyPages(pairs.data(), 3, pages.view(), nullptr) != cudaSuccess) {
    return "launch failed";
  }
  return Difference(expected, &pages.elements());
}

// Pages 5, 0, 3 to a dense run, and from there to pages 2, 6, 4.
std::string RunStagePages(const PageShape& shape, Placement placement) {
  std::mt19937 random(2);
  TestPages pages(shape, placement);
  pages.Fill(&random, 0, 96);
  const std::vector<uint32_t> before = AllBits(&pages);
  TestPages staged({shape.type, 3, shape.num_kv_heads, shape.head_dim}, placement);
  const int64_t from[] = {5, 0, 3}, to[] = {2, 6, 4};
  std::vector<uint32_t> expected_run = AllBits(&staged), expected = before;
  for (int64_t i = 0; i < 3; ++i) {
    for (int64_t s = 0; s < 16; ++s) {
      // A page holds the same elements in the same order wherever it lies.
      CopySlot(pages, before, from[i] * 16 + s, i * 16 + s, &expected_run);
      CopySlot(pages, before, from[i] * 16 + s, to[i] * 16 + s, &expected);
    }
  }
  const emu::DeviceArray<int32_t> sources(std::vector<int32_t>{5, 0, 3}),
      destinations(std::vector<int32_t>{2, 6, 4});
  if (LaunchStagePages(pages.view(), sources.data(), 3, staged.view().data, nullptr) !=
          cudaSuccess ||
      LaunchUnstagePages(staged.view().data, destinations.data(), 3, pages.view(), nullptr) !=
          cudaSuccess) {
    return "launch failed";
  }
  const std::string mismatch = Difference(expected_run, &staged.elements());
  return mismatch.empty() ? Difference(expected, &pages.elements()) : "run: " + mismatch;
}

TEST(MovePagesTest, AllTypesAndShapes) {
  for (const PageShape& shape : kPageShapes) {
    for (const Placement placement : kPlacements) {
      EXPECT_EQ(RunCopyPages(shape, placement), "") << Name(shape.type) << " " << shape.head_dim;
      EXPECT_EQ(RunStagePages(shape, placement), "") << Name(shape.type) << " " << shape.head_dim;
    }
  }
}

TEST(MovePagesTest, PositionsGoAlong) {
  TestPages pages({.num_pages = 4, .num_kv_heads = 1, .head_dim = 2}, Placement::kAligned);
  std::vector<int32_t> positions(4 * 16);
  for (size_t i = 0; i < positions.size(); ++i) positions[i] = static_cast<int32_t>(3 * i);
  emu::DeviceArray<int32_t> device_positions(positions);
  KvPages view = pages.view();
  view.positions = device_positions.data();
  const emu::DeviceArray<int32_t> pairs(std::vector<int32_t>{3, 1});
  ASSERT_EQ(LaunchCopyPages(pairs.data(), 1, view, nullptr), cudaSuccess);
  for (int s = 0; s < 16; ++s) positions[16 + s] = positions[48 + s];
  EXPECT_EQ(device_positions.Download(), positions);

  // Slots 50 and 3 to 32 and 33; the mean of 49 and 51 to 34.
  const emu::DeviceArray<int64_t> sources(std::vector<int64_t>{50, 3, 49, 51}),
      destinations(std::vector<int64_t>{32, 33, 34});
  const emu::DeviceArray<int32_t> first(std::vector<int32_t>{0, 1, 2, 4});
  ASSERT_EQ(LaunchGatherSlots(sources.data(), first.data(), destinations.data(), 3, view, nullptr),
            cudaSuccess);
  positions[32] = positions[50];
  positions[33] = positions[3];
  positions[34] = positions[49];
  EXPECT_EQ(device_positions.Download(), positions);
  ASSERT_EQ(LaunchGatherSlots(sources.data(), nullptr, destinations.data(), 3, view, nullptr),
            cudaSuccess);
  EXPECT_EQ(device_positions.Download(), positions);
}

TEST(MovePagesTest, AllOrders) {
  emu::ForAllOrders(kSeeds, [] {
    EXPECT_EQ(RunCopyPages(kPageShapes[1], Placement::kColumn5), "");
    EXPECT_EQ(RunStagePages(kPageShapes[5], Placement::kAligned), "");
  });
}

// Page to page, to a run and back, slot to slot and mean of two slots in a pool of more than 2^32
// elements; where it is not aligned, elements are what offsets count.
void RunFarPages(Placement placement) {
  SparsePages pages({Element::kF16, (1 << 17) + 4, 8, 128}, placement);
  const int32_t last = (1 << 17) + 3;
  const int64_t source = last * int64_t{16} + 15, to = (last - 2) * int64_t{16};
  for (int64_t c = 0; c < 128; ++c) {
    pages.Set(source, kValue, 7, c, FloatToF16(static_cast<float>(c)));
    pages.Set(source - 1, kValue, 7, c, FloatToF16(static_cast<float>(c + 2)));
  }
  TestPages run({Element::kF16, 1, 8, 128}, placement);
  const emu::DeviceArray<int32_t> pairs(std::vector<int32_t>{last, last - 1}),
      first_source(std::vector<int32_t>{0, 2}), back(std::vector<int32_t>{last - 3});
  const emu::DeviceArray<int64_t> sources(std::vector<int64_t>{source, source - 1}),
      slot(std::vector<int64_t>{to + 1}), mean(std::vector<int64_t>{to + 2});
  ASSERT_EQ(LaunchCopyPages(pairs.data(), 1, pages.view(), nullptr), cudaSuccess);
  ASSERT_EQ(LaunchStagePages(pages.view(), pairs.data(), 1, run.view().data, nullptr), cudaSuccess);
  ASSERT_EQ(LaunchUnstagePages(run.view().data, back.data(), 1, pages.view(), nullptr),
            cudaSuccess);
  ASSERT_EQ(LaunchGatherSlots(sources.data(), nullptr, slot.data(), 1, pages.view(), nullptr),
            cudaSuccess);
  ASSERT_EQ(
      LaunchGatherSlots(sources.data(), first_source.data(), mean.data(), 1, pages.view(), nullptr),
      cudaSuccess);
  for (int64_t c = 0; c < 128; ++c) {
    const auto x = static_cast<float>(c);
    EXPECT_EQ(pages.Get(source - 16, kValue, 7, c), FloatToF16(x));
    EXPECT_EQ(pages.Get(source - 3 * 16, kValue, 7, c), FloatToF16(x));
    EXPECT_EQ(pages.Get(to + 1, kValue, 7, c), FloatToF16(x));
    EXPECT_EQ(pages.Get(to + 2, kValue, 7, c), FloatToF16(x + 1));
  }
}

TEST(FarPagesTest, PagesBeyond32BitsOfElements) {
  for (const Placement placement : kPlacements) RunFarPages(placement);
}

std::string RunApplyDeltas(int32_t count) {
  std::vector<int32_t> indices, values, target(static_cast<size_t>(3 * count + 5), -1);
  std::vector<int32_t> expected = target;
  for (int32_t i = 0; i < count; ++i) {
    const bool skipped = i % 5 == 4;
    indices.push_back(skipped ? -1 - i : (count - 1 - i) * 3 + 2);
    values.push_back(1000 + i);
    if (!skipped) expected[static_cast<size_t>(indices.back())] = values.back();
  }
  const emu::DeviceArray<int32_t> device_indices(indices), device_values(values);
  emu::DeviceArray<int32_t> device_target(target);
  if (LaunchApplyDeltas(device_indices.data(), device_values.data(), count, device_target.data(),
                        nullptr) != cudaSuccess) {
    return "launch failed";
  }
  return device_target.Download() == expected ? "" : "wrong words";
}

TEST(ApplyDeltasTest, WordsGoToTheirPlaces) {
  emu::ForAllOrders(kSeeds, [] {
    for (const int32_t count : {1, 2, 255, 256, 257, 700}) EXPECT_EQ(RunApplyDeltas(count), "");
  });
  EXPECT_EQ(LaunchApplyDeltas(nullptr, nullptr, 0, nullptr, nullptr), cudaSuccess);
  EXPECT_EQ(LaunchApplyDeltas(nullptr, nullptr, 1, nullptr, nullptr), cudaErrorInvalidValue);
}

TEST(ApplyDeltasTest, FindsAStaleIndex) {
  const PlantedBug bug(KernelBug::kStaleDelta);
  EXPECT_NE(RunApplyDeltas(2), "");
  emu::TakeReports();
}

}  // namespace
}  // namespace prefixd::cuda
