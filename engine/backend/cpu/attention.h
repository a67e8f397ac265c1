// Attention over pages, for one row and for many, with the same arithmetic (docs/decisions.md,
// rule 3): softmax state per block of 256 slots, blocks merged in ascending order with one formula.
// Query vectors pass over the pages in the tiles of an AttentionPlan: those of a kv head's group,
// of neighbouring rows, and of sequences with common pages. A tile with much of the call's work is
// cut into blocks, so that all threads have some; the blocks' states are merged afterwards, in the
// same order and with the same formula.
//
// Rows of trees pass over the whole pages of their context together; what is left of the context
// and the slots of their path are gathered into pages of scratch just before they are used.
//
// ALiBi (arXiv:2108.12409): slope * (slot position - row position) is added to the scaled scores of
// a block, in float32 and with one rounding, before its softmax.
//
// Engine thread only. Holds scratch that only grows.
#ifndef PREFIXD_ENGINE_BACKEND_CPU_ATTENTION_H_
#define PREFIXD_ENGINE_BACKEND_CPU_ATTENTION_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "engine/backend/cpu/attention_call.h"
#include "engine/backend/cpu/attention_plan.h"
#include "engine/backend/cpu/attention_sums.h"
#include "engine/backend/cpu/kernels.h"
#include "engine/backend/cpu/thread_pool.h"
#include "engine/tensor/tensor.h"

namespace prefixd::cpu {

class Attention {
 public:
  Attention(const Kernels* kernels, ThreadPool* pool)
      : kernels_(kernels), pool_(pool), sums_(kernels, pool) {}

  // For benchmarks and tests: whether sequences with common pages pass over them together. The
  // results are the same.
  void set_share_pages(bool share) { share_pages_ = share; }

  // One call: Begin, AddRows or AddRowsWithSums for every sequence, Run.
  void Begin(const AttentionCall& call);
  void AddRows(const AttentionRows& rows) {
    rows_.push_back(rows);
    has_paths_ |= rows.path != nullptr;
  }
  // Also adds the probabilities of rows first_summed_row and later to `sums`; see AttentionSums.
  // Requires: visible_step 1, and page ids.
  void AddRowsWithSums(AttentionRows rows, int first_summed_row, float* sums);
  // Errors: RESOURCE_EXHAUSTED, before anything is added to sums.
  absl::Status Run();

 private:
  using Member = AttentionPlan::Member;
  using Tile = AttentionPlan::Tile;
  // A tile of one kv head, or one block of it.
  struct Item {
    int32_t tile = 0;
    int32_t kv_head = 0;
    int32_t block = -1;  // -1: all of them.
    int64_t states = 0;  // Where the block's states begin in part_scratch_, in floats.
  };
  // Softmax states of a tile's vectors.
  struct States {
    float* acc;  // [num_vectors, value_stride].
    float* max;
    float* sum;
  };
  // Addresses of the K and V of one kv head in the pages of a block.
  struct PageHeads {
    const std::byte* keys[kBlockPages];
    const std::byte* values[kBlockPages];
    const float* positions[kBlockPages];  // With ALiBi.
  };
  // The pages of a block that are gathered: [kBlockPages][bytes of one] each.
  struct PathPages {
    std::byte* keys = nullptr;
    std::byte* values = nullptr;
    float* positions = nullptr;
  };
  struct ThreadScratch;

  absl::Status Attend();
  bool RunsAlone() const;
  void MakeItems(bool alone);
  int64_t ThreadFloats() const;
  absl::Status Reserve();
  ThreadScratch ScratchOf(int thread) const;
  States StatesAt(float* base, int num_vectors) const;
  States PartStates(const Item& item) const;
  int NumVectors(const Member& member) const { return member.rows.num_rows * group_; }
  int FirstVector(const Member& member, int block) const;
  void PackQueries(const Tile& tile, int kv_head, float* q) const;
  void PackBiases(const Tile& tile, int kv_head, const ThreadScratch& scratch) const;
  void ComputeScores(const AttentionBlock& a) const;
  bool SelectStrip(const AttentionPlan::Strip& strip, int kv_head, int block,
                   const ThreadScratch& scratch, const States& out, PageHeads* heads,
                   AttentionBlock* a) const;
  void GatherKeys(const AttentionPlan::Strip& strip, int kv_head, int block,
                  const PathPages& to) const;
  void GatherValues(const AttentionPlan::Strip& strip, int kv_head, int block,
                    const PathPages& to) const;
  void SelectVectors(int first, int last, const ThreadScratch& scratch, const States& out,
                     AttentionBlock* a) const;
  void ComputeBlock(const Tile& tile, int kv_head, int block, const ThreadScratch& scratch,
                    const States& out) const;
  void Merge(const Tile& tile, int block, const States& part, const States& total) const;
  void Finish(const Tile& tile, int kv_head, const States& states) const;
  void RunItem(const Item& item, int thread) const;
  void MergeParts(const Item* first) const;

  const Kernels* const kernels_;
  ThreadPool* const pool_;
  bool share_pages_ = true;
  AttentionCall call_;
  int group_ = 1;         // Query heads per kv head.
  int query_stride_ = 0;  // Of packed queries.
  std::vector<AttentionRows> rows_;
  bool has_paths_ = false;  // Some are of a tree.
  AttentionPlan plan_;
  int max_vectors_ = 0;      // Of a tile.
  int64_t part_floats_ = 0;  // Of all states of parts.
  std::vector<Item> items_;
  std::vector<int32_t> cut_items_;  // The first item of every tile that is cut into blocks.
  Buffer thread_scratch_;
  Buffer part_scratch_;
  AttentionSums sums_;
};

}  // namespace prefixd::cpu

#endif  // PREFIXD_ENGINE_BACKEND_CPU_ATTENTION_H_
