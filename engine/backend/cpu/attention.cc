#include "engine/backend/cpu/attention.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/types/span.h"
#include "base/status_macros.h"
#include "engine/backend/cpu/attention_path.h"

namespace prefixd::cpu {
namespace {

constexpr int64_t RoundUp16(int64_t n) { return (n + 15) / 16 * 16; }

constexpr int NumBlocks(int slots) { return (slots + kBlockSlots - 1) / kBlockSlots; }

// Floats of the states of so many vectors, rounded so that the next ones are aligned.
constexpr int64_t StateFloats(int64_t vectors, int64_t value_stride) {
  return vectors * value_stride + 2 * RoundUp16(vectors);
}

// y = x * factor. A loop of fixed length inside, which compilers turn into vectors.
void Scale(const float* __restrict x, float factor, int n, float* __restrict y) {
  constexpr int kStep = 16;
  int i = 0;
  for (; i + kStep <= n; i += kStep) {
    for (int j = 0; j < kStep; ++j) y[i + j] = x[i + j] * factor;
  }
  for (; i < n; ++i) y[i] = x[i] * factor;
}

}  // namespace

struct Attention::ThreadScratch {
  float* q;
  float* scores;
  int32_t* visible;
  float* slopes;         // With ALiBi.
  float* row_positions;  // With ALiBi.
  States states;
  States block;
  PathPages path;  // With rows of a tree.
};

void Attention::Begin(const AttentionCall& call) {
  call_ = call;
  group_ = call.num_heads / call.num_kv_heads;
  query_stride_ = (call.layout.head_dim + 1) / 2 * 2;
  rows_.clear();
  has_paths_ = false;
  sums_.Begin(call);
}

void Attention::AddRowsWithSums(AttentionRows rows, int first_summed_row, float* sums) {
  AttentionRows summed = rows;
  summed.row_begin += first_summed_row;
  summed.num_rows -= first_summed_row;
  summed.first_visible += first_summed_row * rows.visible_step;
  summed.first_position += first_summed_row;
  if (summed.num_rows > 0) {
    rows.sums = sums_.size();
    sums_.Add(summed, sums);
  }
  AddRows(rows);
}

absl::Status Attention::Run() {
  PREFIXD_RETURN_IF_ERROR(Attend());
  if (sums_.size() > 0) sums_.Run();
  return absl::OkStatus();
}

absl::Status Attention::Attend() {
  PlanAttention(rows_,
                {.vectors_per_row = group_,
                 .num_kv_heads = call_.num_kv_heads,
                 .num_threads = pool_->num_threads(),
                 .share_pages = share_pages_},
                &plan_);
  const bool alone = RunsAlone();
  MakeItems(alone);
  PREFIXD_RETURN_IF_ERROR(Reserve());
  PREFIXD_RETURN_IF_ERROR(sums_.Reserve());
  if (alone) {
    for (const Item& item : items_) RunItem(item, 0);
    return absl::OkStatus();
  }
  pool_->Run(static_cast<int64_t>(items_.size()),
             [this](int64_t i, int thread) { RunItem(items_[i], thread); });
  const auto merge = [this](int64_t i, int) { MergeParts(&items_[cut_items_[i]]); };
  if (part_floats_ >= kInlineAttentionWork) {
    pool_->Run(static_cast<int64_t>(cut_items_.size()), merge);
  } else {
    for (size_t i = 0; i < cut_items_.size(); ++i) merge(static_cast<int64_t>(i), 0);
  }
  return absl::OkStatus();
}

bool Attention::RunsAlone() const {
  if (pool_->num_threads() == 1) return true;
  int64_t products = 0;
  for (const Tile& tile : plan_.tiles) products += tile.work;
  return 2 * products * call_.num_kv_heads * call_.layout.head_dim < kInlineAttentionWork;
}

void Attention::MakeItems(bool alone) {
  items_.clear();
  cut_items_.clear();
  max_vectors_ = 0;
  part_floats_ = 0;
  int64_t work = 0;
  for (const Tile& tile : plan_.tiles) {
    max_vectors_ = std::max(max_vectors_, tile.num_vectors);
    work += tile.work * call_.num_kv_heads;
  }
  // Half of a thread's fair share.
  const int64_t most = work / (2 * pool_->num_threads());
  const auto is_cut = [&](const Tile& tile) {
    return !alone && tile.work > most && tile.last_visible > kBlockSlots;
  };
  const auto for_each_tile = [&](auto add) {
    for (const AttentionPlan::Set& set : plan_.sets) {
      for (int kv_head = 0; kv_head < call_.num_kv_heads; ++kv_head) {
        for (int tile = set.tile_begin; tile < set.tile_end; ++tile) add(tile, kv_head);
      }
    }
  };
  bool any_cut = false;
  for_each_tile([&](int tile, int kv_head) {
    if (is_cut(plan_.tiles[tile])) {
      any_cut = true;
    } else {
      items_.push_back({tile, kv_head});
    }
  });
  if (!any_cut) return;
  // Small items last.
  for_each_tile([&](int tile, int kv_head) {
    if (!is_cut(plan_.tiles[tile])) return;
    cut_items_.push_back(static_cast<int32_t>(items_.size()));
    for (int block = 0; block < NumBlocks(plan_.tiles[tile].last_visible); ++block) {
      items_.push_back({tile, kv_head, block, part_floats_});
      part_floats_ += StateFloats(plan_.tiles[tile].num_vectors, call_.layout.value_stride);
    }
  });
}

int64_t Attention::ThreadFloats() const {
  const int64_t n = max_vectors_;
  const int64_t floats = RoundUp16(n * query_stride_) + n * kBlockSlots + 3 * RoundUp16(n) +
                         2 * StateFloats(n, call_.layout.value_stride);
  if (!has_paths_) return floats;
  return floats + kBlockPages * call_.layout.head_bytes() / int64_t{sizeof(float)} + kBlockSlots;
}

absl::Status Attention::Reserve() {
  PREFIXD_RETURN_IF_ERROR(GrowScratch(ThreadFloats() * pool_->num_threads(), &thread_scratch_));
  return GrowScratch(part_floats_, &part_scratch_);
}

Attention::States Attention::StatesAt(float* base, int num_vectors) const {
  const int64_t values = int64_t{num_vectors} * call_.layout.value_stride;
  return {.acc = base, .max = base + values, .sum = base + values + RoundUp16(num_vectors)};
}

Attention::States Attention::PartStates(const Item& item) const {
  return StatesAt(reinterpret_cast<float*>(part_scratch_.data()) + item.states,
                  plan_.tiles[item.tile].num_vectors);
}

Attention::ThreadScratch Attention::ScratchOf(int thread) const {
  const int64_t n = max_vectors_;
  const int64_t states = StateFloats(n, call_.layout.value_stride);
  ThreadScratch s;
  s.q = reinterpret_cast<float*>(thread_scratch_.data()) + thread * ThreadFloats();
  s.scores = s.q + RoundUp16(n * query_stride_);
  s.slopes = s.scores + n * kBlockSlots;
  s.row_positions = s.slopes + RoundUp16(n);
  s.visible = reinterpret_cast<int32_t*>(s.row_positions + RoundUp16(n));
  float* first = s.row_positions + 2 * RoundUp16(n);
  s.states = StatesAt(first, max_vectors_);
  s.block = StatesAt(first + states, max_vectors_);
  if (has_paths_) {
    s.path.positions = first + 2 * states;
    s.path.keys = reinterpret_cast<std::byte*>(s.path.positions + kBlockSlots);
    s.path.values = s.path.keys + kBlockPages * call_.layout.key_bytes;
  }
  return s;
}

void Attention::PackQueries(const Tile& tile, int kv_head, float* q) const {
  const int head_dim = call_.layout.head_dim;
  for (int m = tile.member_begin; m < tile.member_end; ++m) {
    const AttentionRows& rows = plan_.members[m].rows;
    for (int i = 0; i < rows.num_rows; ++i) {
      const float* row = call_.q + (rows.row_begin + i) * call_.q_stride;
      for (int j = 0; j < group_; ++j, q += query_stride_) {
        std::memcpy(q, row + int64_t{kv_head * group_ + j} * head_dim, head_dim * sizeof(float));
        if (query_stride_ > head_dim) q[head_dim] = 0.0f;
      }
    }
  }
}

void Attention::PackBiases(const Tile& tile, int kv_head, const ThreadScratch& scratch) const {
  int vector = 0;
  for (int m = tile.member_begin; m < tile.member_end; ++m) {
    const AttentionRows& rows = plan_.members[m].rows;
    for (int i = 0; i < rows.num_rows; ++i) {
      for (int j = 0; j < group_; ++j, ++vector) {
        scratch.slopes[vector] = call_.alibi_slopes[kv_head * group_ + j];
        scratch.row_positions[vector] = static_cast<float>(rows.first_position + i);
      }
    }
  }
}

// The first of the member's vectors that sees a slot of `block`; their number if none does.
int Attention::FirstVector(const Member& member, int block) const {
  const AttentionRows& rows = member.rows;
  const int hidden = block * kBlockSlots - rows.first_visible + 1;  // Of the first row.
  if (hidden <= 0 || rows.visible_prefix > block * kBlockSlots) return 0;
  if (rows.visible_step == 0) return NumVectors(member);
  return std::min(rows.num_rows, (hidden + rows.visible_step - 1) / rows.visible_step) * group_;
}

// The part of `block` that the strip's pages are, for the rows that see it; `heads` receives the
// addresses of its pages. Returns false if there is none.
bool Attention::SelectStrip(const AttentionPlan::Strip& strip, int kv_head, int block,
                            const ThreadScratch& scratch, const States& out, PageHeads* heads,
                            AttentionBlock* a) const {
  const int page_begin = std::max(strip.page_begin - block * kBlockPages, 0);
  const int page_end = std::min(strip.page_end - block * kBlockPages, kBlockPages);
  if (page_begin >= page_end) return false;
  const Member& member = plan_.members[strip.member_begin];
  const Member& last = plan_.members[strip.member_end - 1];
  const int32_t* ids = member.rows.page_ids;
  for (int page = page_begin; page < page_end; ++page) {
    const int index = block * kBlockPages + page;
    if (member.rows.path != nullptr && index >= member.rows.context_pages()) {
      heads->keys[page] = scratch.path.keys + page * call_.layout.key_bytes;
      heads->values[page] = scratch.path.values + page * call_.layout.value_bytes;
      heads->positions[page] = scratch.path.positions + page * kPageRows;
      continue;
    }
    const int64_t id = ids == nullptr ? index : ids[index];
    heads->keys[page] = call_.page(id) + call_.head_bytes * kv_head;
    heads->values[page] = heads->keys[page] + call_.layout.key_bytes;
    if (call_.alibi_slopes != nullptr) heads->positions[page] = call_.positions(id);
  }
  // Only rows of one member can see different numbers of the strip's slots.
  SelectVectors(member.vector_begin + FirstVector(member, block),
                last.vector_begin + NumVectors(last), scratch, out, a);
  a->k_pages = heads->keys;
  a->v_pages = heads->values;
  a->slot_positions = heads->positions;
  a->page_begin = page_begin;
  a->page_end = page_end;
  return true;
}

// Fills those of the strip's pages of the block that SelectStrip took from scratch: keys and, with
// ALiBi, positions.
void Attention::GatherKeys(const AttentionPlan::Strip& strip, int kv_head, int block,
                           const PathPages& to) const {
  ForEachPathPage(plan_.members[strip.member_begin].rows, strip, block, [&](const PathPage& page) {
    CopyPathKeys(call_, page, kv_head, to.keys + page.of_block * call_.layout.key_bytes);
    if (call_.alibi_slopes == nullptr) return;
    CopyPathPositions(call_, page, to.positions + page.of_block * kPageRows);
  });
}

// The same of their values.
void Attention::GatherValues(const AttentionPlan::Strip& strip, int kv_head, int block,
                             const PathPages& to) const {
  ForEachPathPage(plan_.members[strip.member_begin].rows, strip, block, [&](const PathPage& page) {
    CopyPathValues(call_, page, kv_head, to.values + page.of_block * call_.layout.value_bytes);
  });
}

void Attention::SelectVectors(int first, int last, const ThreadScratch& scratch, const States& out,
                              AttentionBlock* a) const {
  a->q = scratch.q + int64_t{first} * query_stride_;
  a->rows = last - first;
  a->visible = scratch.visible + first;
  a->slopes = scratch.slopes + first;
  a->row_positions = scratch.row_positions + first;
  a->scores = scratch.scores + int64_t{first} * kBlockSlots;
  a->acc = out.acc + int64_t{first} * call_.layout.value_stride;
  a->max = out.max + first;
  a->sum = out.sum + first;
}

// With ALiBi, as softmax takes them.
void Attention::ComputeScores(const AttentionBlock& a) const {
  kernels_->attention_scores(a);
  if (call_.alibi_slopes != nullptr) kernels_->attention_bias(a);
}

void Attention::ComputeBlock(const Tile& tile, int kv_head, int block, const ThreadScratch& scratch,
                             const States& out) const {
  for (int m = tile.member_begin; m < tile.member_end; ++m) {
    const Member& member = plan_.members[m];
    int32_t* visible = scratch.visible + member.vector_begin;
    for (int i = 0; i < member.rows.num_rows; ++i) {
      const int slots = member.rows.visible(i);
      for (int j = 0; j < group_; ++j) {
        *visible++ = std::min(slots - block * kBlockSlots, kBlockSlots);
      }
    }
  }
  AttentionBlock a = {.q_stride = query_stride_,
                      .head_dim = call_.layout.head_dim,
                      .scale = call_.scale,
                      .type = call_.layout.type,
                      .value_stride = call_.layout.value_stride};
  PageHeads heads;
  const auto strips = absl::MakeConstSpan(plan_.strips)
                          .subspan(tile.strip_begin, tile.strip_end - tile.strip_begin);
  const auto select = [&](const AttentionPlan::Strip& strip) {
    return SelectStrip(strip, kv_head, block, scratch, out, &heads, &a);
  };
  if (strips.size() == 1) {
    if (!select(strips[0])) return;
    GatherKeys(strips[0], kv_head, block, scratch.path);
    ComputeScores(a);
    a.scale = call_.softmax_scale();
    kernels_->attention_softmax(a);
    GatherValues(strips[0], kv_head, block, scratch.path);
    kernels_->attention_values(a);
    return;
  }
  for (const AttentionPlan::Strip& strip : strips) {
    if (!select(strip)) continue;
    GatherKeys(strip, kv_head, block, scratch.path);
    ComputeScores(a);
  }
  SelectVectors(0, tile.num_vectors, scratch, out, &a);
  a.scale = call_.softmax_scale();
  kernels_->attention_softmax(a);
  for (const AttentionPlan::Strip& strip : strips) {
    if (!select(strip)) continue;
    GatherValues(strip, kv_head, block, scratch.path);
    kernels_->attention_values(a);
  }
}

void Attention::Merge(const Tile& tile, int block, const States& part, const States& total) const {
  const int n = call_.layout.value_stride;
  for (int m = tile.member_begin; m < tile.member_end; ++m) {
    const Member& member = plan_.members[m];
    for (int i = FirstVector(member, block); i < NumVectors(member); ++i) {
      const int r = member.vector_begin + i;
      kernels_->merge_block(part.max + r, part.sum + r, part.acc + int64_t{r} * n, n, total.max + r,
                            total.sum + r, total.acc + int64_t{r} * n);
    }
  }
}

void Attention::Finish(const Tile& tile, int kv_head, const States& states) const {
  const int head_dim = call_.layout.head_dim;
  int r = 0;
  for (int m = tile.member_begin; m < tile.member_end; ++m) {
    const AttentionRows& rows = plan_.members[m].rows;
    for (int i = 0; i < rows.num_rows; ++i) {
      float* y =
          call_.y + (rows.row_begin + i) * call_.y_stride + int64_t{kv_head} * group_ * head_dim;
      for (int j = 0; j < group_; ++j, ++r, y += head_dim) {
        const float* acc = states.acc + int64_t{r} * call_.layout.value_stride;
        Scale(acc, 1.0f / states.sum[r], head_dim, y);
        if (rows.sums < 0) continue;
        sums_.SetState(rows.sums, rows.row_begin + i, kv_head * group_ + j, states.max[r],
                       states.sum[r]);
      }
    }
  }
}

void Attention::RunItem(const Item& item, int thread) const {
  const Tile& tile = plan_.tiles[item.tile];
  const ThreadScratch scratch = ScratchOf(thread);
  PackQueries(tile, item.kv_head, scratch.q);
  if (call_.alibi_slopes != nullptr) PackBiases(tile, item.kv_head, scratch);
  if (item.block >= 0) {
    return ComputeBlock(tile, item.kv_head, item.block, scratch, PartStates(item));
  }
  ComputeBlock(tile, item.kv_head, 0, scratch, scratch.states);
  for (int block = 1; block < NumBlocks(tile.last_visible); ++block) {
    ComputeBlock(tile, item.kv_head, block, scratch, scratch.block);
    Merge(tile, block, scratch.block, scratch.states);
  }
  Finish(tile, item.kv_head, scratch.states);
}

// The items of a tile's blocks stand one after another.
void Attention::MergeParts(const Item* first) const {
  const Tile& tile = plan_.tiles[first->tile];
  const States total = PartStates(*first);
  for (int block = 1; block < NumBlocks(tile.last_visible); ++block) {
    Merge(tile, block, PartStates(first[block]), total);
  }
  Finish(tile, first->kv_head, total);
}

}  // namespace prefixd::cpu
