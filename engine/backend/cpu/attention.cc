#include "engine/backend/cpu/attention.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "base/status_macros.h"
#include "engine/backend/cpu/memory.h"

namespace prefixd::cpu {
namespace {

constexpr int kTileVectors = 48;           // Query vectors per tile, unless one row has more.
constexpr int64_t kInlineWork = 32 << 10;  // Multiply-adds below which waking others costs more.

constexpr int64_t RoundUp16(int64_t n) { return (n + 15) / 16 * 16; }

absl::Status Grow(int64_t floats, Buffer* buffer) {
  const uint64_t bytes = static_cast<uint64_t>(floats) * sizeof(float);
  if (buffer->size_bytes() >= bytes) return absl::OkStatus();
  *buffer = Buffer();
  PREFIXD_ASSIGN_OR_RETURN(*buffer, AllocateZeroed(bytes, MemoryUse::kDense, "attention scratch"));
  return absl::OkStatus();
}

}  // namespace

struct Attention::ThreadScratch {
  float* q;
  float* scores;
  int32_t* visible;
  States states;
  States block;
};

void Attention::Begin(const AttentionCall& call) {
  call_ = call;
  group_ = call.num_heads / call.num_kv_heads;
  query_stride_ = (call.layout.head_dim + 1) / 2 * 2;
  max_vectors_ = 0;
  work_ = 0;
  tiles_.clear();
  parts_.clear();
}

void Attention::AddRows(const AttentionRows& rows) {
  const int tile_rows = std::max(1, kTileVectors / group_);
  for (int kv_head = 0; kv_head < call_.num_kv_heads; ++kv_head) {
    // Later rows see more slots: begun first, they end with the others.
    for (int tile = (rows.num_rows + tile_rows - 1) / tile_rows - 1; tile >= 0; --tile) {
      const int begin = tile * tile_rows;
      Tile t = {.rows = rows, .kv_head = kv_head};
      t.rows.row_begin += begin;
      t.rows.num_rows = std::min(tile_rows, rows.num_rows - begin);
      t.rows.first_visible += begin * rows.visible_step;
      t.num_vectors = t.rows.num_rows * group_;
      const int visible = t.rows.first_visible + (t.rows.num_rows - 1) * rows.visible_step;
      t.num_blocks = (visible + kBlockSlots - 1) / kBlockSlots;
      max_vectors_ = std::max(max_vectors_, t.num_vectors);
      work_ += int64_t{2} * t.num_vectors * visible * call_.layout.head_dim;
      tiles_.push_back(t);
    }
  }
}

absl::Status Attention::Run() {
  const bool alone = work_ < kInlineWork || pool_->num_threads() == 1;
  bool has_blocks = false;
  for (const Tile& tile : tiles_) has_blocks |= tile.num_blocks > 1;
  const bool parts =
      !alone && has_blocks && static_cast<int>(tiles_.size()) < 2 * pool_->num_threads();
  if (parts) {
    for (size_t i = 0; i < tiles_.size(); ++i) {
      tiles_[i].first_part = static_cast<int64_t>(parts_.size());
      for (int block = 0; block < tiles_[i].num_blocks; ++block) {
        parts_.push_back({static_cast<int32_t>(i), block});
      }
    }
  }
  PREFIXD_RETURN_IF_ERROR(Reserve(parts));
  if (parts) {
    RunParts();
  } else if (alone) {
    for (const Tile& tile : tiles_) RunTile(tile, 0);
  } else {
    pool_->Run(static_cast<int64_t>(tiles_.size()),
               [this](int64_t i, int thread) { RunTile(tiles_[i], thread); });
  }
  return absl::OkStatus();
}

void Attention::RunParts() {
  pool_->Run(static_cast<int64_t>(parts_.size()), [this](int64_t i, int thread) {
    const Tile& tile = tiles_[parts_[i].tile];
    const ThreadScratch scratch = ScratchOf(thread);
    PackQueries(tile, scratch.q);
    ComputeBlock(tile, parts_[i].block, scratch, PartStates(i));
  });
  for (const Tile& tile : tiles_) {
    const States total = PartStates(tile.first_part);
    for (int block = 1; block < tile.num_blocks; ++block) {
      Merge(tile, block, PartStates(tile.first_part + block), total);
    }
    Finish(tile, total);
  }
}

// Floats of one tile's states, rounded so that the next one is aligned.
static int64_t StateFloats(int64_t vectors, int64_t value_stride) {
  return vectors * value_stride + 2 * RoundUp16(vectors);
}

absl::Status Attention::Reserve(bool parts) {
  const int64_t states = StateFloats(max_vectors_, call_.layout.value_stride);
  const int64_t per_thread = RoundUp16(int64_t{max_vectors_} * query_stride_) +
                             int64_t{max_vectors_} * kBlockSlots + RoundUp16(max_vectors_) +
                             2 * states;
  PREFIXD_RETURN_IF_ERROR(Grow(per_thread * pool_->num_threads(), &thread_scratch_));
  if (!parts) return absl::OkStatus();
  return Grow(static_cast<int64_t>(parts_.size()) * states, &part_scratch_);
}

Attention::States Attention::PartStates(int64_t part) const {
  const int64_t values = int64_t{max_vectors_} * call_.layout.value_stride;
  float* base = reinterpret_cast<float*>(part_scratch_.data()) +
                part * StateFloats(max_vectors_, call_.layout.value_stride);
  return {.acc = base, .max = base + values, .sum = base + values + RoundUp16(max_vectors_)};
}

Attention::ThreadScratch Attention::ScratchOf(int thread) const {
  const int64_t n = max_vectors_;
  const int64_t values = n * call_.layout.value_stride;
  const int64_t states = StateFloats(n, call_.layout.value_stride);
  const int64_t queries = RoundUp16(n * query_stride_);
  const int64_t per_thread = queries + n * kBlockSlots + RoundUp16(n) + 2 * states;
  ThreadScratch s;
  s.q = reinterpret_cast<float*>(thread_scratch_.data()) + thread * per_thread;
  s.scores = s.q + queries;
  s.visible = reinterpret_cast<int32_t*>(s.scores + n * kBlockSlots);
  float* first = s.scores + n * kBlockSlots + RoundUp16(n);
  float* second = first + states;
  s.states = {.acc = first, .max = first + values, .sum = first + values + RoundUp16(n)};
  s.block = {.acc = second, .max = second + values, .sum = second + values + RoundUp16(n)};
  return s;
}

void Attention::PackQueries(const Tile& tile, float* q) const {
  const int head_dim = call_.layout.head_dim;
  for (int i = 0; i < tile.rows.num_rows; ++i) {
    const float* row = call_.q + (tile.rows.row_begin + i) * call_.q_stride;
    for (int j = 0; j < group_; ++j, q += query_stride_) {
      std::memcpy(q, row + int64_t{tile.kv_head * group_ + j} * head_dim, head_dim * sizeof(float));
      if (query_stride_ > head_dim) q[head_dim] = 0.0f;
    }
  }
}

// The first vector that sees a slot of `block`.
int Attention::FirstVector(const Tile& tile, int block) const {
  const int hidden = block * kBlockSlots - tile.rows.first_visible + 1;  // Of the first row.
  if (hidden <= 0 || tile.rows.visible_step == 0) return 0;
  return (hidden + tile.rows.visible_step - 1) / tile.rows.visible_step * group_;
}

void Attention::ComputeBlock(const Tile& tile, int block, const ThreadScratch& scratch,
                             const States& out) const {
  const PageLayout& layout = call_.layout;
  const int first = FirstVector(tile, block);
  const int begin = block * kBlockSlots;
  int visible = 0;
  for (int r = first; r < tile.num_vectors; ++r) {
    visible = tile.rows.first_visible + r / group_ * tile.rows.visible_step - begin;
    scratch.visible[r] = std::min(visible, kBlockSlots);
  }
  const int num_pages = (std::min(visible, kBlockSlots) + kPageRows - 1) / kPageRows;
  const std::byte* keys[kBlockPages];
  const std::byte* values[kBlockPages];
  for (int i = 0; i < num_pages; ++i) {
    const int index = block * kBlockPages + i;
    const int64_t id = tile.rows.page_ids == nullptr ? index : tile.rows.page_ids[index];
    keys[i] = call_.pages + id * call_.page_bytes + call_.head_bytes * tile.kv_head;
    values[i] = keys[i] + layout.key_bytes;
  }
  kernels_->attention_block({.q = scratch.q + int64_t{first} * query_stride_,
                             .q_stride = query_stride_,
                             .rows = tile.num_vectors - first,
                             .head_dim = layout.head_dim,
                             .visible = scratch.visible + first,
                             .scale = call_.scale,
                             .type = layout.type,
                             .k_pages = keys,
                             .v_pages = values,
                             .value_stride = layout.value_stride,
                             .scores = scratch.scores,
                             .acc = out.acc + int64_t{first} * layout.value_stride,
                             .max = out.max + first,
                             .sum = out.sum + first});
}

void Attention::Merge(const Tile& tile, int block, const States& part, const States& total) const {
  const int n = call_.layout.value_stride;
  for (int r = FirstVector(tile, block); r < tile.num_vectors; ++r) {
    kernels_->merge_block(part.max + r, part.sum + r, part.acc + int64_t{r} * n, n, total.max + r,
                          total.sum + r, total.acc + int64_t{r} * n);
  }
}

void Attention::Finish(const Tile& tile, const States& states) const {
  const int head_dim = call_.layout.head_dim;
  for (int r = 0; r < tile.num_vectors; ++r) {
    const float* acc = states.acc + int64_t{r} * call_.layout.value_stride;
    const int head = tile.kv_head * group_ + r % group_;
    float* y =
        call_.y + (tile.rows.row_begin + r / group_) * call_.y_stride + int64_t{head} * head_dim;
    const float factor = 1.0f / states.sum[r];
    for (int d = 0; d < head_dim; ++d) y[d] = acc[d] * factor;
  }
}

void Attention::RunTile(const Tile& tile, int thread) const {
  const ThreadScratch scratch = ScratchOf(thread);
  PackQueries(tile, scratch.q);
  ComputeBlock(tile, 0, scratch, scratch.states);
  for (int block = 1; block < tile.num_blocks; ++block) {
    ComputeBlock(tile, block, scratch, scratch.block);
    Merge(tile, block, scratch.block, scratch.states);
  }
  Finish(tile, scratch.states);
}

}  // namespace prefixd::cpu
