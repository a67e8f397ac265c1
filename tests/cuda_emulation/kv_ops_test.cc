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

// Empty, or the first element that differs from `expected`.
std::string Difference(const std::vector<uint32_t>& expected, TestElements* actual) {
  actual->Download();
  for (int64_t i = 0; i < actual->size(); ++i) {
    if (actual->Bits(i) != expected[static_cast<size_t>(i)]) return "element " + std::to_string(i);
  }
  return "";
}

std::vector<uint32_t> AllBits(TestPages* pages) {
  std::vector<uint32_t> bits;
  for (int64_t i = 0; i < pages->elements().size(); ++i) bits.push_back(pages->elements().Bits(i));
  return bits;
}

// bits of slot `to` = bits of slot `from` in `source`.
void CopySlot(const TestPages& pages, const std::vector<uint32_t>& source, int64_t from, int64_t to,
              std::vector<uint32_t>* bits) {
  for (const int part : {kKey, kValue}) {
    for (int64_t head = 0; head < pages.shape().num_kv_heads; ++head) {
      for (int64_t c = 0; c < pages.shape().head_dim; ++c) {
        (*bits)[pages.Index(to, part, head, c)] = source[pages.Index(from, part, head, c)];
      }
    }
  }
}

const std::vector<PageShape> kShapes = {{Element::kF32, 7, 2, 64},  {Element::kF16, 7, 3, 17},
                                        {Element::kBF16, 7, 1, 1},  {Element::kF32, 7, 1, 5},
                                        {Element::kBF16, 7, 5, 80}, {Element::kF16, 7, 2, 8}};

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
  for (const PageShape& shape : kShapes) {
    for (const Placement placement : kPlacements) {
      EXPECT_EQ(RunCopyPages(shape, placement), "") << Name(shape.type) << " " << shape.head_dim;
      EXPECT_EQ(RunStagePages(shape, placement), "") << Name(shape.type) << " " << shape.head_dim;
    }
  }
}

TEST(MovePagesTest, AllOrders) {
  emu::ForAllOrders(kSeeds, [] {
    EXPECT_EQ(RunCopyPages(kShapes[1], Placement::kColumn5), "");
    EXPECT_EQ(RunStagePages(kShapes[5], Placement::kAligned), "");
  });
}

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
  for (const PageShape& shape : kShapes) {
    for (const Placement placement : kPlacements) {
      EXPECT_EQ(RunGather(shape, placement), "") << Name(shape.type) << " " << shape.head_dim;
      EXPECT_EQ(RunGatherMeans(shape, placement), "") << Name(shape.type) << " " << shape.head_dim;
    }
  }
}

TEST(GatherSlotsTest, AllOrders) {
  emu::ForAllOrders(kSeeds, [] {
    EXPECT_EQ(RunGather(kShapes[4], Placement::kAligned), "");
    EXPECT_EQ(RunGatherMeans(kShapes[1], Placement::kColumn5), "");
  });
}

TEST(GatherSlotsTest, FindsANextPage) {
  const PlantedBug bug(KernelBug::kGatherNextPage);
  EXPECT_NE(RunGather(kShapes[0], Placement::kAligned), "");
  EXPECT_NE(RunGatherMeans(kShapes[0], Placement::kAligned), "");
  emu::TakeReports();
}

TEST(GatherSlotsTest, FindsAMeanOfOneMore) {
  const PlantedBug bug(KernelBug::kMeanOfOneMore);
  EXPECT_NE(RunGatherMeans(kShapes[0], Placement::kAligned), "");
  emu::TakeReports();
}

TEST(GatherSlotsTest, FindsATailThatIsNotMasked) {
  const PlantedBug bug(KernelBug::kTailNotMasked);
  EXPECT_NE(RunGatherMeans(kShapes[1], Placement::kAligned), "");
  emu::TakeReports();
}

// Page to page, slot to slot and mean of two slots in a pool of more than 2^32 elements.
TEST(FarPagesTest, PagesBeyond32BitsOfElements) {
  SparsePages pages({Element::kF16, (1 << 17) + 4, 8, 128});
  const int32_t last = (1 << 17) + 3;
  for (int64_t c = 0; c < 128; ++c) {
    pages.Set(last * int64_t{16} + 15, kValue, 7, c, FloatToF16(static_cast<float>(c)));
    pages.Set(last * int64_t{16} + 14, kValue, 7, c, FloatToF16(static_cast<float>(c + 2)));
  }
  const emu::DeviceArray<int32_t> pairs(std::vector<int32_t>{last, last - 1}),
      first_source(std::vector<int32_t>{0, 2});
  const emu::DeviceArray<int64_t> sources(
      std::vector<int64_t>{last * int64_t{16} + 15, last * int64_t{16} + 14});
  const emu::DeviceArray<int64_t> slot(std::vector<int64_t>{(last - 2) * int64_t{16} + 1});
  const emu::DeviceArray<int64_t> mean(std::vector<int64_t>{(last - 2) * int64_t{16} + 2});
  ASSERT_EQ(LaunchCopyPages(pairs.data(), 1, pages.view(), nullptr), cudaSuccess);
  ASSERT_EQ(LaunchGatherSlots(sources.data(), nullptr, slot.data(), 1, pages.view(), nullptr),
            cudaSuccess);
  ASSERT_EQ(
      LaunchGatherSlots(sources.data(), first_source.data(), mean.data(), 1, pages.view(), nullptr),
      cudaSuccess);
  for (int64_t c = 0; c < 128; ++c) {
    const auto x = static_cast<float>(c);
    EXPECT_EQ(pages.Get((last - 1) * int64_t{16} + 15, kValue, 7, c), FloatToF16(x));
    EXPECT_EQ(pages.Get((last - 2) * int64_t{16} + 1, kValue, 7, c), FloatToF16(x));
    EXPECT_EQ(pages.Get((last - 2) * int64_t{16} + 2, kValue, 7, c), FloatToF16(x + 1));
  }
}

std::string RunApplyDeltas(int32_t count) {
  std::vector<int32_t> indices, values, target(static_cast<size_t>(3 * count + 5), -1);
  std::vector<int32_t> expected = target;
  for (int32_t i = 0; i < count; ++i) {
    indices.push_back((count - 1 - i) * 3 + 2);
    values.push_back(1000 + i);
    expected[static_cast<size_t>(indices.back())] = values.back();
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
