// Batches of chunks of sequences with their paged K and V, on the host and on the emulated device:
// what the tests of tile attention and of column sums run on. One thread at a time.
#ifndef PREFIXD_TESTS_CUDA_EMULATION_CHUNK_BATCH_H_
#define PREFIXD_TESTS_CUDA_EMULATION_CHUNK_BATCH_H_

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "engine/backend/cuda/kernel_bug.h"
#include "engine/backend/cuda/kernels/column_sums.h"
#include "engine/backend/cuda/kernels/tile_attention.h"
#include "tests/cuda_emulation/emulator/device_array.h"
#include "tests/cuda_emulation/paged_reference.h"

namespace prefixd::cuda_test {

// Row i sees the `cached` slots before the chunk and the chunk's up to its own, or the first
// `prefix` slots if that is more. A sequence each.
struct Chunk {
  int32_t cached = 0;
  int32_t length = 1;
  int32_t prefix = 0;  // <= cached + length
};

struct ChunkBatchOptions {
  Element type = Element::kBF16;
  Element kv_type = Element::kBF16;
  int head_dim = 64;
  int num_heads = 1;
  int num_kv_heads = 1;
  std::vector<Chunk> chunks;
  float sharpness = 1;  // Times the usual scale: large ones leave few slots with a probability.
  bool alibi = false;
  int padding_rows = 0;    // At the end; they see nothing.
  int64_t first_page = 0;  // Added to all page ids; the pool begins that many pages earlier.
};

class ChunkBatch {
 public:
  explicit ChunkBatch(const ChunkBatchOptions& options);

  const ChunkBatchOptions& options() const { return options_; }
  int32_t num_rows() const { return static_cast<int32_t>(visible_.size()); }
  int32_t first_row(int chunk) const { return first_row_[chunk]; }
  const std::vector<int32_t>& visible() const { return visible_; }
  float scale() const { return scale_; }
  const std::vector<float>& slopes() const { return slopes_; }  // Empty without ALiBi.
  const PagedCache& cache() const { return cache_; }
  const HostMatrix& q() const { return q_; }
  AttentionResult Reference() const;

  // Device memory; q is columns of a wider matrix.
  const cuda::DeviceMatrix& device_q() const { return device_q_; }
  cuda::KvPages device_pages();
  cuda::AttentionRows device_rows();
  const float* device_slopes();  // Null without ALiBi.

  // Every chunk in tiles of `rows` rows, the last one of what remains.
  std::vector<cuda::RowTile> Tiles(int32_t rows = cuda::kTileRows) const;

 private:
  ChunkBatchOptions options_;
  float scale_;
  std::vector<float> slopes_;
  PagedCache cache_;
  std::vector<int32_t> first_row_, sequence_, visible_;
  HostMatrix q_;
  cuda::DeviceMatrix device_q_;
  emu::DeviceArray<uint8_t> q_bytes_, pages_;
  emu::DeviceArray<int32_t> device_sequence_, device_visible_, tables_, device_position_,
      positions_;
  emu::DeviceArray<float> device_slopes_;
};

struct TileResult {
  cudaError_t error = cudaSuccess;
  HostMatrix y;
  std::vector<float> lse;
};
TileResult RunTiles(ChunkBatch* batch, const std::vector<cuda::RowTile>& tiles);

// Whether some order of threads makes `is_wrong` true or the emulator report something while `bug`
// is planted. Takes the reports.
bool IsCaught(cuda::KernelBug bug, const std::function<bool()>& is_wrong);

}  // namespace prefixd::cuda_test

#endif  // PREFIXD_TESTS_CUDA_EMULATION_CHUNK_BATCH_H_
