#include "engine/backend/cpu/attention_sums.h"

#include <algorithm>
#include <cstring>

#include "base/status_macros.h"

namespace prefixd::cpu {
namespace {

// Pages of keys of an item. Few are enough for the score kernels to run at full speed; more save
// some packing of queries.
constexpr int kMostPages = 8;
constexpr int kEnoughPages = 4;
constexpr int kMostSlots = kMostPages * kPageRows;

constexpr int RoundUp16(int n) { return (n + 15) / 16 * 16; }

}  // namespace

struct AttentionSums::ThreadScratch {
  float* q;              // [tile vectors, query_stride_].
  float* scores;         // [tile vectors, kBlockSlots].
  float* slopes;         // [tile vectors], with ALiBi.
  float* row_positions;  // [tile vectors], with ALiBi.
  int32_t* visible;      // [tile vectors].
  float* probabilities;  // [tile_rows_, kMostSlots].
  float* sums;           // [kMostSlots].
};

void AttentionSums::Begin(const AttentionCall& call) {
  call_ = call;
  group_ = call.num_heads / call.num_kv_heads;
  query_stride_ = (call.layout.head_dim + 1) / 2 * 2;
  tile_rows_ = std::max(1, kTileVectors / group_);
  num_states_ = 0;
  work_ = 0;
  rows_.clear();
  items_.clear();
}

void AttentionSums::Add(const AttentionRows& rows, float* sums) {
  rows_.push_back({rows, sums, num_states_});
  num_states_ += int64_t{rows.num_rows} * call_.num_heads;
  work_ += int64_t{rows.num_rows} * call_.num_heads * rows.last_visible() * call_.layout.head_dim;
}

void AttentionSums::MakeItems() {
  int64_t num_pages = 0;
  for (const Rows& r : rows_) num_pages += (r.rows.last_visible() + kPageRows - 1) / kPageRows;
  const int64_t threads = pool_->num_threads();
  // Some items for every thread; one, where more would be slow.
  int pages = kMostPages;
  while (pages > 1 && num_pages < pages * threads * (pages > kEnoughPages ? 4 : 1)) pages /= 2;
  range_slots_ = pages * kPageRows;
  // Earlier keys are seen by more rows: these items are begun first.
  for (int index = 0; index < size(); ++index) {
    for (int begin = 0; begin < rows_[index].rows.last_visible(); begin += range_slots_) {
      items_.push_back({index, begin});
    }
  }
}

int64_t AttentionSums::ThreadFloats() const {
  const int vectors = tile_rows_ * group_;
  return int64_t{RoundUp16(vectors)} * query_stride_ + int64_t{vectors} * kBlockSlots +
         3 * RoundUp16(vectors) + int64_t{tile_rows_} * kMostSlots + kMostSlots;
}

absl::Status AttentionSums::Reserve() {
  if (rows_.empty()) return absl::OkStatus();
  MakeItems();
  PREFIXD_RETURN_IF_ERROR(GrowScratch(2 * num_states_, &states_));
  return GrowScratch(ThreadFloats() * pool_->num_threads(), &thread_scratch_);
}

AttentionSums::ThreadScratch AttentionSums::ScratchOf(int thread) const {
  const int vectors = tile_rows_ * group_;
  ThreadScratch s;
  s.q = reinterpret_cast<float*>(thread_scratch_.data()) + thread * ThreadFloats();
  s.scores = s.q + int64_t{RoundUp16(vectors)} * query_stride_;
  s.probabilities = s.scores + int64_t{vectors} * kBlockSlots;
  s.sums = s.probabilities + int64_t{tile_rows_} * kMostSlots;
  s.slopes = s.sums + kMostSlots;
  s.row_positions = s.slopes + RoundUp16(vectors);
  s.visible = reinterpret_cast<int32_t*>(s.row_positions + RoundUp16(vectors));
  return s;
}

void AttentionSums::SetState(int index, int64_t row, int head, float max, float sum) const {
  const Rows& r = rows_[index];
  const int64_t i = row - r.rows.row_begin;
  if (i < 0) return;
  const int64_t vector =
      r.states + (head / group_ * int64_t{r.rows.num_rows} + i) * group_ + head % group_;
  this->max()[vector] = max;
  factor()[vector] = 1.0f / sum;
}

void AttentionSums::Run() {
  if (work_ < kInlineAttentionWork || pool_->num_threads() == 1) {
    for (const Item& item : items_) RunItem(item, 0);
    return;
  }
  pool_->Run(static_cast<int64_t>(items_.size()),
             [this](int64_t i, int thread) { RunItem(items_[i], thread); });
}

void AttentionSums::PackQueries(const Rows& r, int begin, int count, int kv_head, float* q) const {
  const int head_dim = call_.layout.head_dim;
  for (int i = begin; i < begin + count; ++i) {
    const float* from =
        call_.q + (r.rows.row_begin + i) * call_.q_stride + int64_t{kv_head} * group_ * head_dim;
    for (int j = 0; j < group_; ++j, q += query_stride_, from += head_dim) {
      std::memcpy(q, from, head_dim * sizeof(float));
      if (query_stride_ > head_dim) q[head_dim] = 0.0f;
    }
  }
}

void AttentionSums::PackBiases(const Rows& r, int begin, int count, int kv_head,
                               const ThreadScratch& scratch) const {
  int vector = 0;
  for (int i = begin; i < begin + count; ++i) {
    for (int j = 0; j < group_; ++j, ++vector) {
      scratch.slopes[vector] = call_.alibi_slopes[kv_head * group_ + j];
      scratch.row_positions[vector] = static_cast<float>(r.rows.first_position + i);
    }
  }
}

// Rows [begin, begin + count), which all see key range_begin.
void AttentionSums::AddTile(const Rows& r, int begin, int count, int range_begin,
                            const ThreadScratch& scratch) const {
  int32_t* visible = scratch.visible;
  int seen = 0;
  for (int i = begin; i < begin + count; ++i) {
    seen = std::min(r.rows.visible(i) - range_begin, range_slots_);
    for (int j = 0; j < group_; ++j) *visible++ = seen;
  }
  const bool alibi = call_.alibi_slopes != nullptr;
  const std::byte* keys[kMostPages];
  const float* positions[kMostPages];
  const int32_t* const ids = r.rows.page_ids + range_begin / kPageRows;
  const int num_pages = (seen + kPageRows - 1) / kPageRows;
  for (int p = 0; p < num_pages && alibi; ++p) positions[p] = call_.positions(ids[p]);
  const AttentionBlock block = {.q = scratch.q,
                                .q_stride = query_stride_,
                                .rows = count * group_,
                                .head_dim = call_.layout.head_dim,
                                .visible = scratch.visible,
                                .scale = call_.scale,
                                .slopes = scratch.slopes,
                                .row_positions = scratch.row_positions,
                                .slot_positions = positions,
                                .type = call_.layout.type,
                                .k_pages = keys,
                                .page_begin = 0,
                                .page_end = num_pages,
                                .scores = scratch.scores};
  for (int kv_head = 0; kv_head < call_.num_kv_heads; ++kv_head) {
    PackQueries(r, begin, count, kv_head, scratch.q);
    for (int p = 0; p < num_pages; ++p) keys[p] = call_.page(ids[p]) + call_.head_bytes * kv_head;
    kernels_->attention_scores(block);
    if (alibi) {
      PackBiases(r, begin, count, kv_head, scratch);
      kernels_->attention_bias(block);
    }
    const int64_t vector = r.states + (kv_head * int64_t{r.rows.num_rows} + begin) * group_;
    kernels_->attention_heads({.scores = scratch.scores,
                               .rows = count,
                               .group = group_,
                               .visible = scratch.visible,
                               .scale = call_.softmax_scale(),
                               .max = max() + vector,
                               .factor = factor() + vector,
                               .first = kv_head == 0,
                               .slots = RoundUp16(seen),
                               .p = scratch.probabilities,
                               .p_stride = kMostSlots});
  }
  kernels_->attention_fold(scratch.probabilities, kMostSlots, count, RoundUp16(seen),
                           1.0f / static_cast<float>(call_.num_heads), scratch.sums);
}

void AttentionSums::RunItem(const Item& item, int thread) const {
  const Rows& r = rows_[item.index];
  const ThreadScratch scratch = ScratchOf(thread);
  const int num_slots = std::min(r.rows.last_visible() - item.begin, range_slots_);
  // The sums of slots that no row sees are neither read nor written.
  std::memcpy(scratch.sums, r.sums + item.begin, num_slots * sizeof(float));
  std::fill(scratch.sums + num_slots, scratch.sums + kMostSlots, 0.0f);
  // Those before do not see the first of the keys.
  const int first_row =
      r.rows.visible_prefix > item.begin ? 0 : std::max(0, item.begin - r.rows.first_visible + 1);
  for (int row = first_row; row < r.rows.num_rows; row += tile_rows_) {
    AddTile(r, row, std::min(tile_rows_, r.rows.num_rows - row), item.begin, scratch);
  }
  std::memcpy(r.sums + item.begin, scratch.sums, num_slots * sizeof(float));
}

}  // namespace prefixd::cpu
