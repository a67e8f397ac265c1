// WriteKv against loops in double.
#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <string>
#include <vector>

#include "engine/backend/cuda/kernels/kv_ops.h"
#include "tests/cuda_emulation/emulator/reports.h"
#include "tests/cuda_emulation/emulator/testing.h"
#include "tests/cuda_emulation/sparse_pages.h"
#include "tests/cuda_emulation/test_matrix.h"
#include "tests/cuda_emulation/test_pages.h"

namespace prefixd::cuda {
namespace {

struct TypePair {
  Element qkv;
  Element pages;
};
constexpr TypePair kPairs[] = {{Element::kF32, Element::kF32}, {Element::kF32, Element::kBF16},
                               {Element::kF32, Element::kF16}, {Element::kBF16, Element::kBF16},
                               {Element::kF16, Element::kF16}, {Element::kBF16, Element::kF32}};

struct WriteCase {
  TypePair types = {Element::kBF16, Element::kBF16};
  int num_heads = 4;
  int num_kv_heads = 2;
  int head_dim = 64;
  bool rotate = true;
  int rotated = 0;  // Elements of a head; 0: all.
  Placement placement = Placement::kAligned;
};

std::string Name(const WriteCase& c) {
  return Name(c.types.qkv) + " to " + Name(c.types.pages) + " head_dim " +
         std::to_string(c.head_dim) + " " + Name(c.placement) + (c.rotate ? " rotated" : "");
}

// Rows 1 and 4 are padding.
const std::vector<int64_t> kRowSlots = {37, -1, 3, 48, -7, 63};

// Element `c` of a head of row `r` that starts at column `begin`, after rotation of the first
// `rotated` elements.
double Rotated(const HostMatrix& qkv, const HostMatrix& angles, int64_t r, int64_t begin, int64_t c,
               int64_t rotated) {
  if (c >= rotated) return qkv.Get(r, begin + c);
  const int64_t half = rotated / 2, i = c % half;
  const double cosine = angles.Get(r, i), sine = angles.Get(r, half + i);
  const double a = qkv.Get(r, begin + i), b = qkv.Get(r, begin + half + i);
  return c < half ? a * cosine - b * sine : b * cosine + a * sine;
}

std::string RunWriteKv(const WriteCase& c) {
  std::mt19937 random(static_cast<uint32_t>(c.head_dim));
  const int64_t rows = static_cast<int64_t>(kRowSlots.size()), dim = c.head_dim;
  TestMatrix qkv(c.types.qkv, rows, (c.num_heads + 2 * c.num_kv_heads) * dim, c.placement);
  const int64_t rotated = c.rotated > 0 ? c.rotated : dim;
  TestMatrix angles(Element::kF32, rows, rotated, c.placement);
  TestPages pages({c.types.pages, 4, c.num_kv_heads, c.head_dim}, c.placement);
  qkv.Fill(&random, 2);
  angles.Fill(&random, 1);
  const HostMatrix before(qkv), turn(angles);
  const emu::DeviceArray<int64_t> slots(kRowSlots);
  const DeviceMatrix angles_view = angles.view();
  const emu::DeviceArray<int32_t> positions(std::vector<int32_t>{100, 101, 7, 0, 5, 1000000});
  std::vector<int32_t> expected_positions(4 * 16, -5);
  emu::DeviceArray<int32_t> slot_positions(expected_positions);
  for (const int r : {0, 2, 3, 5}) expected_positions[kRowSlots[r]] = positions.Download()[r];
  KvPages view = pages.view();
  view.positions = slot_positions.data();
  if (LaunchWriteKv(qkv.view(), c.rotate ? &angles_view : nullptr, c.num_heads, slots.data(),
                    positions.data(), view, nullptr) != cudaSuccess) {
    return "launch failed";
  }
  if (slot_positions.Download() != expected_positions) return "positions";
  const auto exact = [&](int64_t r, int64_t column) {
    return c.rotate ? Rotated(before, turn, r, column / dim * dim, column % dim, rotated)
                    : before.Get(r, column);
  };
  const std::string q_mismatch = Mismatch(
      &qkv,
      [&](int64_t r, int64_t i) {
        return i < c.num_heads * dim ? exact(r, i) : qkv.Get(r, i);  // k and v: anything.
      },
      [](int64_t, int64_t) { return 2.0; });
  if (!q_mismatch.empty()) return "q: " + q_mismatch;
  pages.elements().Download();
  std::vector<bool> written(static_cast<size_t>(pages.elements().size()));
  for (int64_t r = 0; r < rows; ++r) {
    if (kRowSlots[r] < 0) continue;
    for (const int part : {kKey, kValue}) {
      for (int64_t head = 0; head < c.num_kv_heads; ++head) {
        for (int64_t i = 0; i < dim; ++i) {
          const int64_t column = (c.num_heads + part * c.num_kv_heads + head) * dim + i;
          const int64_t index = pages.Index(kRowSlots[r], part, head, i);
          written[index] = true;
          const bool right =
              part == kKey && c.rotate
                  ? IsClose(c.types.pages, pages.elements().Get(index), exact(r, column), 2)
                  : pages.elements().Bits(index) == ToBits(c.types.pages, before.Get(r, column));
          if (!right) return "row " + std::to_string(r) + " column " + std::to_string(column);
        }
      }
    }
  }
  for (int64_t i = 0; i < pages.elements().size(); ++i) {
    if (!written[i] && !pages.elements().IsGuard(i)) return "written: " + std::to_string(i);
  }
  return "";
}

TEST(WriteKvTest, AllTypesAndHeadSizes) {
  for (const TypePair types : kPairs) {
    for (const Placement placement : kPlacements) {
      for (const int dim : {2, 6, 16, 34, 64, 80, 100, 128}) {
        for (const bool rotate : {true, false}) {
          const WriteCase c{
              .types = types, .head_dim = dim, .rotate = rotate, .placement = placement};
          EXPECT_EQ(RunWriteKv(c), "") << Name(c);
        }
      }
      for (const int dim : {1, 3, 63, 65}) {
        const WriteCase c{.types = types, .head_dim = dim, .rotate = false, .placement = placement};
        EXPECT_EQ(RunWriteKv(c), "") << Name(c);
      }
    }
  }
}

TEST(WriteKvTest, RotatesTheFirstElementsOnly) {
  for (const TypePair types : kPairs) {
    for (const Placement placement : kPlacements) {
      for (const auto& [dim, rotated] : std::vector<std::pair<int, int>>{
               {80, 20}, {64, 16}, {64, 32}, {128, 64}, {9, 4}, {6, 2}, {256, 64}}) {
        const WriteCase c{
            .types = types, .head_dim = dim, .rotated = rotated, .placement = placement};
        EXPECT_EQ(RunWriteKv(c), "") << Name(c) << " of " << rotated;
      }
    }
  }
}

TEST(WriteKvTest, ManyHeadsInAllOrders) {
  emu::ForAllOrders(kSeeds, [] {
    for (const TypePair types : {kPairs[3], kPairs[5]}) {
      const WriteCase c{.types = types, .num_heads = 9, .num_kv_heads = 3, .head_dim = 256};
      EXPECT_EQ(RunWriteKv(c), "") << Name(c);
    }
  });
}

TEST(WriteKvTest, BitsOfARowDependOnThatRowAlone) {
  constexpr int kDim = 80, kHeads = 3;
  std::mt19937 random(1);
  TestMatrix batch(Element::kBF16, 6, (kHeads + 2) * kDim, Placement::kAligned);
  TestMatrix alone(Element::kBF16, 6, (kHeads + 2) * kDim, Placement::kColumn5);
  TestMatrix angles(Element::kF32, 6, kDim, Placement::kAligned);
  batch.Fill(&random, 2);
  angles.Fill(&random, 1);
  for (int64_t r = 0; r < 6; ++r) {
    for (int64_t c = 0; c < batch.cols(); ++c) alone.Set(r, c, batch.Get(r, c));
  }
  alone.Upload();
  TestPages pages({.num_kv_heads = 1, .head_dim = kDim}, Placement::kAligned);
  TestPages single({.num_kv_heads = 1, .head_dim = kDim}, Placement::kAligned);
  const emu::DeviceArray<int64_t> slots(kRowSlots);
  const DeviceMatrix all_angles = angles.view();
  ASSERT_EQ(LaunchWriteKv(batch.view(), &all_angles, kHeads, slots.data(), nullptr, pages.view(),
                          nullptr),
            cudaSuccess);
  for (int64_t r = 0; r < 6; ++r) {
    const DeviceMatrix row_angles = angles.Rows(r, 1);
    ASSERT_EQ(LaunchWriteKv(alone.Rows(r, 1), &row_angles, kHeads, slots.data() + r, nullptr,
                            single.view(), nullptr),
              cudaSuccess);
  }
  batch.Download();
  alone.Download();
  pages.elements().Download();
  single.elements().Download();
  for (int64_t r = 0; r < 6; ++r) {
    for (int64_t c = 0; c < kHeads * kDim; ++c) ASSERT_EQ(alone.Bits(r, c), batch.Bits(r, c));
  }
  for (int64_t i = 0; i < pages.elements().size(); ++i) {
    ASSERT_EQ(single.elements().IsGuard(i), pages.elements().IsGuard(i)) << i;
    if (pages.elements().IsGuard(i)) continue;
    ASSERT_EQ(single.elements().Bits(i), pages.elements().Bits(i)) << i;
  }
}

// The last slot of a pool of 2^32 + 2^16 elements: where 32 bits end at 2^31 and at 2^32.
std::string RunFarSlot(Placement placement) {
  SparsePages pages({Element::kBF16, (1 << 17) + 2, 8, 128}, placement);
  const int64_t slot = int64_t{pages.view().num_pages} * kSlots - 1;
  std::mt19937 random(1);
  TestMatrix qkv(Element::kBF16, 1, 17 * 128, Placement::kAligned);
  qkv.Fill(&random, 2);
  const emu::DeviceArray<int64_t> slots(std::vector<int64_t>{slot});
  if (LaunchWriteKv(qkv.view(), nullptr, 1, slots.data(), nullptr, pages.view(), nullptr) !=
      cudaSuccess) {
    return "launch failed";
  }
  for (const int part : {kKey, kValue}) {
    for (int64_t head = 0; head < 8; ++head) {
      for (int64_t c = 0; c < 128; ++c) {
        if (pages.Get(slot, part, head, c) != qkv.Bits(0, (1 + part * 8 + head) * 128 + c)) {
          return "head " + std::to_string(head) + " element " + std::to_string(c);
        }
      }
    }
  }
  return "";
}

TEST(WriteKvTest, PagesBeyond32BitsOfElements) {
  for (const Placement placement : kPlacements) EXPECT_EQ(RunFarSlot(placement), "");
}

TEST(WriteKvTest, FindsOffsetsOf32Bits) {
  const PlantedBug bug(KernelBug::kSlotOffset32);
  EXPECT_NE(RunFarSlot(Placement::kAligned), "");
  emu::TakeReports();
}

TEST(WriteKvTest, FindsRotationOfNeighbours) {
  const PlantedBug bug(KernelBug::kRotatesNeighbours);
  EXPECT_NE(RunWriteKv({}), "");
  emu::TakeReports();
}

TEST(WriteKvTest, FindsPaddingThatIsWritten) {
  const PlantedBug bug(KernelBug::kWritesPadding);
  EXPECT_NE(RunWriteKv({}), "");
  emu::TakeReports();
}

TEST(WriteKvTest, FindsATailThatIsNotMasked) {
  const PlantedBug bug(KernelBug::kTailNotMasked);
  EXPECT_NE(RunWriteKv({.head_dim = 34}), "");
  emu::TakeReports();
}

TEST(WriteKvTest, WrongShapesAreErrors) {
  TestMatrix qkv(Element::kF16, 2, 8 * 16, Placement::kAligned);
  TestMatrix angles(Element::kF32, 2, 16, Placement::kAligned);
  TestMatrix short_angles(Element::kF32, 1, 16, Placement::kAligned);
  TestPages f16({.type = Element::kF16, .head_dim = 16}, Placement::kAligned);
  TestPages bf16({.type = Element::kBF16, .head_dim = 16}, Placement::kAligned);
  TestPages wide({.type = Element::kF16, .head_dim = 17}, Placement::kAligned);
  const emu::DeviceArray<int64_t> slots(std::vector<int64_t>{0, 1});
  const DeviceMatrix right = angles.view(), wrong = short_angles.view();
  const auto launch = [&](const DeviceMatrix* a, int heads, TestPages* pages) {
    return LaunchWriteKv(qkv.view(), a, heads, slots.data(), nullptr, pages->view(), nullptr);
  };
  EXPECT_EQ(launch(&right, 4, &f16), cudaSuccess);
  EXPECT_EQ(launch(&wrong, 4, &f16), cudaErrorInvalidValue);
  EXPECT_EQ(launch(&right, 3, &f16), cudaErrorInvalidValue);
  EXPECT_EQ(launch(&right, 4, &bf16), cudaErrorInvalidValue);
  EXPECT_EQ(launch(&right, 4, &wide), cudaErrorInvalidValue);
  KvPages keeping = f16.view();
  emu::DeviceArray<int32_t> positions(4 * 16);
  keeping.positions = positions.data();
  EXPECT_EQ(LaunchWriteKv(qkv.view(), &right, 4, slots.data(), nullptr, keeping, nullptr),
            cudaErrorInvalidValue);
}

}  // namespace
}  // namespace prefixd::cuda
