#include "engine/backend/cuda/kernels/tile_attention.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "tests/cuda_emulation/chunk_batch.h"
#include "tests/cuda_emulation/emulator/testing.h"

namespace prefixd::cuda_test {
namespace {

using cuda::KernelBug;
using cuda::RowTile;

constexpr double kMaxError = 5e-3;
constexpr double kMaxLseError = 1e-4;

// Bytes of row r of y, and its lse: what must not depend on the rows around it.
std::string RowBits(const TileResult& result, int64_t row) {
  const HostMatrix& y = result.y;
  const int64_t size = cuda::ElementSize(y.type());
  std::string bits(reinterpret_cast<const char*>(y.bytes().data()) + row * y.stride() * size,
                   y.cols() * size);
  const size_t heads = result.lse.size() / y.rows();
  bits.append(reinterpret_cast<const char*>(result.lse.data() + row * heads),
              heads * sizeof(float));
  return bits;
}

void ExpectAgreement(const ChunkBatchOptions& options, int num_seeds) {
  ChunkBatch batch(options);
  const AttentionResult want = batch.Reference();
  emu::ForAllOrders(num_seeds, [&] {
    const TileResult got = RunTiles(&batch, batch.Tiles());
    ASSERT_EQ(got.error, cudaSuccess);
    EXPECT_LE(RelativeError(want.y, got.y), kMaxError);
    EXPECT_LE(LargestError(want.lse, got.lse), kMaxLseError);
  });
}

ChunkBatchOptions Options(Element type, int head_dim, int num_heads, int num_kv_heads,
                          std::vector<Chunk> chunks) {
  ChunkBatchOptions options;
  options.type = options.kv_type = type;
  options.head_dim = head_dim;
  options.num_heads = num_heads;
  options.num_kv_heads = num_kv_heads;
  options.chunks = std::move(chunks);
  return options;
}

// Long enough for three tiles of keys, of which the last is not whole.
ChunkBatchOptions ThreeTiles() {
  return Options(Element::kBF16, 64, 2, 1, {{.cached = 30, .length = 130}});
}

bool IsWrong(const ChunkBatchOptions& options) {
  ChunkBatch batch(options);
  const AttentionResult want = batch.Reference();
  const TileResult got = RunTiles(&batch, batch.Tiles());
  return got.error != cudaSuccess || !(RelativeError(want.y, got.y) <= kMaxError) ||
         !(LargestError(want.lse, got.lse) <= kMaxLseError);
}

TEST(TileAttention, AgreesAtAllLengthsAroundATile) {
  ExpectAgreement(
      Options(Element::kBF16, 64, 1, 1,
              {{0, 1}, {300, 15}, {7, 16}, {33, 17}, {0, 63}, {64, 64}, {100, 65}, {15, 1}}),
      2);
}

TEST(TileAttention, AgreesInTwentyRandomOrders) { ExpectAgreement(ThreeTiles(), 20); }

TEST(TileAttention, AgreesOnLongChunks) {
  ExpectAgreement(Options(Element::kF16, 64, 1, 1, {{0, 257}, {300, 130}}), 1);
}

TEST(TileAttention, AgreesForAllGroupsOfHeads) {
  ExpectAgreement(Options(Element::kBF16, 64, 6, 2, {{250, 65}}), 1);  // 3 heads on a kv head.
  ExpectAgreement(Options(Element::kF16, 128, 4, 2, {{5, 65}, {0, 3}}), 1);
  ExpectAgreement(Options(Element::kF16, 64, 4, 1, {{40, 64}}), 1);
  ExpectAgreement(Options(Element::kBF16, 128, 8, 1, {{20, 17}, {0, 16}}), 1);
  ExpectAgreement(Options(Element::kBF16, 128, 2, 2, {{63, 66}}), 1);
}

TEST(TileAttention, AgreesWithBidirectionalPrefixes) {
  ExpectAgreement(Options(Element::kBF16, 64, 2, 1, {{0, 130, 100}, {0, 65, 65}, {16, 40, 30}}), 1);
}

TEST(TileAttention, AgreesWhereFewSlotsMatter) {
  ChunkBatchOptions options = ThreeTiles();
  options.sharpness = 6;
  ExpectAgreement(options, 1);
}

TEST(TileAttention, AgreesForHeadsNarrowerThanTheirTiles) {
  ExpectAgreement(Options(Element::kBF16, 80, 2, 1, {{30, 70}, {0, 3}}), 1);
  ExpectAgreement(Options(Element::kF16, 72, 2, 2, {{5, 65}}), 1);
}

TEST(TileAttention, AgreesWithDistances) {
  for (const int head_dim : {64, 80, 128}) {
    const Element type = head_dim == 80 ? Element::kF16 : Element::kBF16;
    ChunkBatchOptions options = Options(type, head_dim, 3, 3, {{30, 70}, {0, 20}, {0, 66, 50}});
    options.alibi = true;
    ExpectAgreement(options, 1);
  }
}

TEST(TileAttention, GivesPaddingRowsZerosAndLeavesOtherRowsAlone) {
  ChunkBatchOptions options = Options(Element::kF16, 64, 2, 2, {{3, 20}, {0, 5}});
  options.padding_rows = 3;
  ChunkBatch batch(options);
  std::vector<RowTile> tiles = batch.Tiles();
  const TileResult all = RunTiles(&batch, tiles);
  for (int64_t row = 25; row < 28; ++row) {
    for (int64_t col = 0; col < 128; ++col) EXPECT_EQ(all.y.at(row, col), 0);
    EXPECT_EQ(all.lse[row * 2], -std::numeric_limits<float>::infinity());
  }
  tiles[1].num_rows = 0;  // The second chunk.
  const TileResult some = RunTiles(&batch, tiles);
  for (int64_t row = 0; row < 28; ++row) {
    if (row >= 20 && row < 25) {
      for (int64_t col = 0; col < 128; ++col) EXPECT_TRUE(std::isnan(some.y.at(row, col)));
      EXPECT_TRUE(std::isnan(some.lse[row * 2 + 1]));
    } else {
      EXPECT_EQ(RowBits(some, row), RowBits(all, row)) << row;
    }
  }
}

TEST(TileAttention, NeedsNoLse) {
  ChunkBatch batch(Options(Element::kBF16, 64, 1, 1, {{0, 9}}));
  const TileResult want = RunTiles(&batch, batch.Tiles());
  HostMatrix y(Element::kBF16, 9, 64);
  emu::DeviceArray<uint8_t> device_y(y.bytes());
  emu::DeviceArray<RowTile> tiles(batch.Tiles());
  cuda::TileAttention call;
  call.q = &batch.device_q();
  call.pages = batch.device_pages();
  call.num_heads = 1;
  call.scale = batch.scale();
  call.rows = batch.device_rows();
  call.tiles = tiles.data();
  call.num_tiles = 1;
  call.y = y.View(device_y.data());
  ASSERT_EQ(cuda::LaunchTileAttention(call, nullptr), cudaSuccess);
  y.bytes() = device_y.Download();
  for (int64_t row = 0; row < 9; ++row) {
    for (int64_t col = 0; col < 64; ++col) EXPECT_EQ(y.at(row, col), want.y.at(row, col));
  }
}

// The cut into tiles changes which rows share a tile, where they stand in it and how far the tile
// looks.
TEST(TileAttention, ARowsBitsDependOnNoOtherRow) {
  ChunkBatch batch(Options(Element::kBF16, 64, 2, 1, {{30, 70}, {0, 130, 90}, {64, 1}}));
  const TileResult whole = RunTiles(&batch, batch.Tiles());
  ASSERT_EQ(whole.error, cudaSuccess);
  for (const int32_t rows : {1, 16, 37}) {
    const TileResult cut = RunTiles(&batch, batch.Tiles(rows));
    for (int64_t row = 0; row < batch.num_rows(); ++row) {
      EXPECT_EQ(RowBits(cut, row), RowBits(whole, row)) << "row " << row << ", tiles of " << rows;
    }
  }
}

TEST(TileAttention, ReachesPagesBeyond32Bits) {
  ChunkBatchOptions options = Options(Element::kBF16, 64, 1, 1, {{20, 20}});
  options.first_page = (int64_t{1} << 33) / (2 * cuda::kSlots * 64);
  ExpectAgreement(options, 0);
}

TEST(TileAttention, TakesWhatItSays) {
  cuda::KvPages pages;
  pages.type = Element::kF16;
  for (const int head_dim : {32, 64, 72, 80, 96, 128, 256}) {
    pages.head_dim = head_dim;
    EXPECT_EQ(cuda::TileKernelTakes(Element::kF16, pages),
              head_dim == 64 || head_dim == 72 || head_dim == 80 || head_dim == 128);
    EXPECT_FALSE(cuda::TileKernelTakes(Element::kBF16, pages));
    EXPECT_FALSE(cuda::TileKernelTakes(Element::kF32, pages));
  }
}

TEST(TileAttention, RejectsWrongShapesAndAlignment) {
  ChunkBatch batch(Options(Element::kBF16, 64, 2, 1, {{0, 4}}));
  HostMatrix y(Element::kBF16, 4, 128);
  emu::DeviceArray<uint8_t> device_y(y.bytes());
  emu::DeviceArray<RowTile> tiles(batch.Tiles());
  cuda::DeviceMatrix q = batch.device_q();
  cuda::TileAttention good;
  good.q = &q;
  good.pages = batch.device_pages();
  good.num_heads = 2;
  good.scale = 1;
  good.rows = batch.device_rows();
  good.tiles = tiles.data();
  good.num_tiles = 1;
  good.y = y.View(device_y.data());
  ASSERT_EQ(cuda::LaunchTileAttention(good, nullptr), cudaSuccess);
  const auto error = [&](void (*change)(cuda::TileAttention*)) {
    cuda::TileAttention call = good;
    change(&call);
    return cuda::LaunchTileAttention(call, nullptr);
  };
  EXPECT_EQ(error([](auto* call) { call->num_tiles = 0; }), cudaSuccess);
  EXPECT_EQ(error([](auto* call) { call->num_tiles = -1; }), cudaErrorInvalidValue);
  EXPECT_EQ(error([](auto* call) { call->q = nullptr; }), cudaErrorInvalidValue);
  EXPECT_EQ(error([](auto* call) { call->tiles = nullptr; }), cudaErrorInvalidValue);
  EXPECT_EQ(error([](auto* call) { call->num_heads = 3; }), cudaErrorInvalidValue);
  EXPECT_EQ(error([](auto* call) { call->num_heads = 0; }), cudaErrorInvalidValue);
  EXPECT_EQ(error([](auto* call) { call->pages.num_kv_heads = 0; }), cudaErrorInvalidValue);
  EXPECT_EQ(error([](auto* call) { call->pages.head_dim = 96; }), cudaErrorInvalidValue);
  EXPECT_EQ(error([](auto* call) { call->slopes = static_cast<const float*>(call->y.data); }),
            cudaErrorInvalidValue);  // No positions.
  EXPECT_EQ(error([](auto* call) { call->pages.type = Element::kF16; }), cudaErrorInvalidValue);
  EXPECT_EQ(error([](auto* call) { call->y.type = Element::kF16; }), cudaErrorInvalidValue);
  EXPECT_EQ(error([](auto* call) { call->y.cols = 64; }), cudaErrorInvalidValue);
  EXPECT_EQ(error([](auto* call) { call->y.rows = 3; }), cudaErrorInvalidValue);
  EXPECT_EQ(error([](auto* call) { call->y.stride += 1; }), cudaErrorInvalidValue);
  EXPECT_EQ(error([](auto* call) { call->num_heads = 1 << 30; }), cudaErrorInvalidValue);
  q.data = static_cast<uint8_t*>(q.data) + 2;
  EXPECT_EQ(cuda::LaunchTileAttention(good, nullptr), cudaErrorInvalidValue);
}

TEST(TileAttentionBugs, APrefetchBeforeTheBarrierIsCaught) {
  EXPECT_TRUE(IsCaught(KernelBug::kTileEarlyPrefetch, [] { return IsWrong(ThreeTiles()); }));
}

TEST(TileAttentionBugs, AMissingBarrierIsCaught) {
  EXPECT_TRUE(IsCaught(KernelBug::kTileNoBarrier, [] { return IsWrong(ThreeTiles()); }));
}

TEST(TileAttentionBugs, AMissingWaitIsCaught) {
  EXPECT_TRUE(IsCaught(KernelBug::kTileNoWait, [] { return IsWrong(ThreeTiles()); }));
}

TEST(TileAttentionBugs, AMaskThatShowsOneKeyMoreIsCaught) {
  EXPECT_TRUE(IsCaught(KernelBug::kTileMaskOffByOne, [] { return IsWrong(ThreeTiles()); }));
}

TEST(TileAttentionBugs, DistancesOfTheWrongSignAreCaught) {
  EXPECT_TRUE(IsCaught(KernelBug::kAlibiWrongSign, [] {
    ChunkBatchOptions options = ThreeTiles();
    options.alibi = true;
    return IsWrong(options);
  }));
}

TEST(TileAttentionBugs, NothingIsCaughtWithoutABug) {
  EXPECT_FALSE(IsCaught(KernelBug::kNone, [] { return IsWrong(ThreeTiles()); }));
}

}  // namespace
}  // namespace prefixd::cuda_test
