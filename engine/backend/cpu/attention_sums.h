// The second pass of attention with sums (KvSegment::sums): from the final maximum and sum of every
// row and head it computes the probabilities again and folds them into the sums, rows in ascending
// order (docs/decisions.md, rule 5).
//
// Work is cut into ranges of keys, each with all rows that see some of them and all heads. Every
// sum belongs to one range, so neither the ranges nor the threads show in its bits. Sequences do
// not pass over common pages together here.
//
// Engine thread only, but for SetState. Holds scratch that only grows: the states, two numbers for
// each row and head of a call, and a tile for each thread.
#ifndef PREFIXD_ENGINE_BACKEND_CPU_ATTENTION_SUMS_H_
#define PREFIXD_ENGINE_BACKEND_CPU_ATTENTION_SUMS_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "engine/backend/cpu/attention_call.h"
#include "engine/backend/cpu/attention_plan.h"
#include "engine/backend/cpu/kernels.h"
#include "engine/backend/cpu/thread_pool.h"
#include "engine/tensor/tensor.h"

namespace prefixd::cpu {

class AttentionSums {
 public:
  AttentionSums(const Kernels* kernels, ThreadPool* pool) : kernels_(kernels), pool_(pool) {}

  // One call: Begin, Add for every sequence with sums, Reserve, SetState for every row and head
  // that was added, Run.
  void Begin(const AttentionCall& call);
  // Adds the probabilities of `rows` to sums[0, rows.last_visible()). Requires: rows.num_rows >= 1,
  // visible_step 1, and sums that overlap those of no other rows of the call.
  void Add(const AttentionRows& rows, float* sums);
  // Errors: RESOURCE_EXHAUSTED.
  absl::Status Reserve();
  // The final softmax state of batch row `row` and query head `head` of the index-th rows that were
  // added. Rows before these are ignored. Safe from any thread, for different rows or heads.
  void SetState(int index, int64_t row, int head, float max, float sum) const;
  void Run();

  int size() const { return static_cast<int>(rows_.size()); }

 private:
  struct Rows {
    AttentionRows rows;
    float* sums = nullptr;
    int64_t states = 0;  // Where its [kv head][row][head of the group] begin, in vectors.
  };
  // Keys [begin, begin + range_slots_) of the index-th rows.
  struct Item {
    int32_t index = 0;
    int32_t begin = 0;
  };
  struct ThreadScratch;

  void MakeItems();
  ThreadScratch ScratchOf(int thread) const;
  int64_t ThreadFloats() const;
  float* max() const { return reinterpret_cast<float*>(states_.data()); }
  float* factor() const { return max() + num_states_; }
  void PackQueries(const Rows& r, int begin, int count, int kv_head, float* q) const;
  void PackBiases(const Rows& r, int begin, int count, int kv_head,
                  const ThreadScratch& scratch) const;
  void AddTile(const Rows& r, int begin, int count, int range_begin,
               const ThreadScratch& scratch) const;
  void RunItem(const Item& item, int thread) const;

  const Kernels* const kernels_;
  ThreadPool* const pool_;
  AttentionCall call_;
  int group_ = 1;         // Query heads per kv head.
  int query_stride_ = 0;  // Of packed queries.
  int tile_rows_ = 1;
  int range_slots_ = 0;
  int64_t num_states_ = 0;
  int64_t work_ = 0;  // Multiply-adds, roughly.
  std::vector<Rows> rows_;
  std::vector<Item> items_;
  Buffer states_;
  Buffer thread_scratch_;
};

}  // namespace prefixd::cpu

#endif  // PREFIXD_ENGINE_BACKEND_CPU_ATTENTION_SUMS_H_
