// Attention over pages, for one row and for many, with the same arithmetic (docs/decisions.md,
// rule 3): softmax state per block of 256 slots, blocks merged in ascending order with one formula.
// The query vectors of a kv head's group and of neighbouring rows form a tile that passes over the
// pages together. Few tiles (decoding) are cut into blocks, so that all threads have work; the
// blocks' states are merged afterwards, in the same order and with the same formula.
//
// Engine thread only. Holds scratch that only grows.
#ifndef PREFIXD_ENGINE_BACKEND_CPU_ATTENTION_H_
#define PREFIXD_ENGINE_BACKEND_CPU_ATTENTION_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "engine/backend/cpu/kernels.h"
#include "engine/backend/cpu/kv_pool.h"
#include "engine/backend/cpu/thread_pool.h"
#include "engine/tensor/tensor.h"

namespace prefixd::cpu {

// Where one call reads and writes. Head h of row t lies at q + t * q_stride + h * head_dim.
struct AttentionCall {
  const float* q = nullptr;
  ptrdiff_t q_stride = 0;
  float* y = nullptr;
  ptrdiff_t y_stride = 0;
  int num_heads = 0;
  int num_kv_heads = 0;
  float scale = 0;
  PageLayout layout{ElementType::kF32, 0};
  const std::byte* pages = nullptr;  // Head h of page p at pages + p * page_bytes + h * head_bytes.
  int64_t page_bytes = 0;
  int64_t head_bytes = 0;
};

// Consecutive rows; row i sees slots [0, first_visible + i * visible_step).
struct AttentionRows {
  int64_t row_begin = 0;
  int num_rows = 0;
  int first_visible = 0;
  int visible_step = 0;
  const int32_t* page_ids = nullptr;  // Null: page i has id i.
};

class Attention {
 public:
  Attention(const Kernels* kernels, ThreadPool* pool) : kernels_(kernels), pool_(pool) {}

  // One call: Begin, AddRows for every group of rows, Run.
  void Begin(const AttentionCall& call);
  void AddRows(const AttentionRows& rows);
  // Errors: RESOURCE_EXHAUSTED.
  absl::Status Run();

 private:
  // Query vectors r = (row i, head j of the group), r = i * group + j, of one kv head.
  struct Tile {
    AttentionRows rows;
    int kv_head = 0;
    int num_vectors = 0;
    int num_blocks = 0;
    int64_t first_part = 0;  // Index of block 0 among all parts, when cut into blocks.
  };
  struct Part {
    int32_t tile = 0;
    int32_t block = 0;
  };
  // Softmax states of a tile's vectors.
  struct States {
    float* acc;  // [num_vectors, value_stride].
    float* max;
    float* sum;
  };
  struct ThreadScratch;

  absl::Status Reserve(bool parts);
  ThreadScratch ScratchOf(int thread) const;
  States PartStates(int64_t part) const;
  int FirstVector(const Tile& tile, int block) const;
  void PackQueries(const Tile& tile, float* q) const;
  void ComputeBlock(const Tile& tile, int block, const ThreadScratch& scratch,
                    const States& out) const;
  void Merge(const Tile& tile, int block, const States& part, const States& total) const;
  void Finish(const Tile& tile, const States& states) const;
  void RunTile(const Tile& tile, int thread) const;
  void RunParts();

  const Kernels* const kernels_;
  ThreadPool* const pool_;
  AttentionCall call_;
  int group_ = 1;         // Query heads per kv head.
  int query_stride_ = 0;  // Of packed queries.
  int max_vectors_ = 0;
  int64_t work_ = 0;  // Multiply-adds of the call.
  std::vector<Tile> tiles_;
  std::vector<Part> parts_;
  Buffer thread_scratch_;
  Buffer part_scratch_;
};

}  // namespace prefixd::cpu

#endif  // PREFIXD_ENGINE_BACKEND_CPU_ATTENTION_H_
