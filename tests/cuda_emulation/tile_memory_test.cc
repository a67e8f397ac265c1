#include "engine/backend/cuda/kernels/tile_memory.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <set>

#include "engine/backend/cuda/device.h"
#include "engine/backend/cuda/kernels/tile_attention.h"

namespace prefixd::cuda_test {
namespace {

// 32 banks of 4 bytes: 8 places of 16.
template <int kWidth>
void ExpectDistinctBanks() {
  using Memory = cuda::TileMemory<cuda::dev::bf16, kWidth>;
  alignas(128) static const unsigned char memory[Memory::kBytes] = {};
  const auto* const tile = reinterpret_cast<const cuda::dev::bf16*>(memory);
  for (int first = 0; first < cuda::kTileRows; first += 8) {
    for (int chunk = 0; chunk < Memory::kChunks; ++chunk) {
      std::set<uintptr_t> places;
      for (int row = first; row < first + 8; ++row) {
        places.insert(reinterpret_cast<uintptr_t>(Memory::At(tile, row, chunk)) / 16 % 8);
      }
      EXPECT_EQ(places.size(), 8u) << "width " << kWidth << ", chunk " << chunk;
    }
  }
}

TEST(TileMemory, EightRowsOfAChunkLieInDifferentBanks) {
  ExpectDistinctBanks<32>();
  ExpectDistinctBanks<64>();
  ExpectDistinctBanks<80>();
  ExpectDistinctBanks<96>();
  ExpectDistinctBanks<128>();
}

}  // namespace
}  // namespace prefixd::cuda_test
