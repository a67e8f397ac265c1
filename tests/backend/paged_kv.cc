#include "tests/backend/paged_kv.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

namespace prefixd {

float AttentionShape::scale() const {
  return static_cast<float>(1.0 / std::sqrt(static_cast<double>(head_dim)));
}

std::vector<float> AttentionShape::slopes() const {
  std::vector<float> slopes;
  for (int h = 1; h <= num_heads; ++h) {
    slopes.push_back(static_cast<float>(std::exp2(-8.0 * h / num_heads)));
  }
  return slopes;
}

int32_t PagesFor(int64_t num_tokens) {
  return static_cast<int32_t>((num_tokens + kPageSlots - 1) / kPageSlots);
}

std::unique_ptr<KvPool> MakePoisonedPool(Backend* backend, const AttentionShape& shape,
                                         int32_t num_pages) {
  auto pool = MakePool(backend, {.num_pages = num_pages,
                                 .num_kv_heads = shape.num_kv_heads,
                                 .head_dim = shape.head_dim,
                                 .dtype = shape.kv_dtype,
                                 .keeps_positions = shape.alibi});
  std::vector<int32_t> pages(num_pages), slots(num_pages * kPageSlots);
  std::iota(pages.begin(), pages.end(), 0);
  std::iota(slots.begin(), slots.end(), 0);
  const GuardedTensor nans =
      GuardedTensor::Input(backend, HostMatrix(static_cast<int64_t>(slots.size()), shape.qkv_cols(),
                                               std::numeric_limits<float>::quiet_NaN()));
  const KvSegment all = {.num_rows = static_cast<int32_t>(slots.size()),
                         .pages = pages,
                         .write_slots = slots,
                         .first_visible = 1,
                         .first_position = 1 << 20};
  EXPECT_TRUE(
      backend
          ->WriteKv(nans.view(), nullptr, shape.num_heads, absl::MakeConstSpan(&all, 1), pool.get())
          .ok());
  return pool;
}

HostMatrix RunStep(Backend* backend, const AttentionShape& shape,
                   const std::vector<SequencePiece>& pieces, KvPool* pool) {
  HostMatrix batch(0, shape.qkv_cols());
  std::vector<int32_t> positions;
  for (const SequencePiece& piece : pieces) {
    const HostMatrix rows = piece.qkv->Rows(piece.begin, piece.count);
    batch.values.insert(batch.values.end(), rows.values.begin(), rows.values.end());
    for (int32_t i = 0; i < piece.count; ++i) positions.push_back(piece.begin + i);
  }
  batch.rows = static_cast<int64_t>(positions.size());

  std::vector<KvSegment> segments;
  int32_t row_begin = 0;
  for (const SequencePiece& piece : pieces) {
    // Token t lies in slot t, so positions double as slots.
    segments.push_back(
        {.row_begin = row_begin,
         .num_rows = piece.count,
         .pages = piece.pages,
         .write_slots = absl::MakeConstSpan(positions).subspan(row_begin, piece.count),
         .first_visible = piece.begin + 1,
         .visible_prefix = piece.visible_prefix,
         .first_position = piece.position_of_first_token + piece.begin,
         .sums = piece.sums,
         .first_summed_row = piece.first_summed_row});
    row_begin += piece.count;
  }

  const GuardedTensor qkv = GuardedTensor::Output(backend, batch);
  const GuardedTensor angles = GuardedTensor::Output(
      backend, HostMatrix(batch.rows, shape.rotate ? shape.head_dim : 0), TensorUse::kAngles);
  if (shape.rotate) {
    std::vector<float> frequencies(shape.head_dim / 2);
    for (size_t i = 0; i < frequencies.size(); ++i) {
      frequencies[i] = static_cast<float>(
          std::pow(100.0, -static_cast<double>(i) / static_cast<double>(frequencies.size())));
    }
    EXPECT_TRUE(backend->RotaryAngles(positions, frequencies, angles.view()).ok());
  }
  EXPECT_TRUE(backend
                  ->WriteKv(qkv.view(), shape.rotate ? &angles.view() : nullptr, shape.num_heads,
                            segments, pool)
                  .ok());
  qkv.CheckGuards();
  const GuardedTensor slopes = GuardedTensor::Output(
      backend, RowVector(shape.alibi ? shape.slopes() : std::vector<float>{}), TensorUse::kAngles);
  return RunOp(backend, batch.rows, shape.output_cols(), [&](const Tensor& y) {
    return backend->PagedAttention(
        qkv.view(), *pool, shape.num_heads,
        {.scale = shape.scale(), .alibi_slopes = shape.alibi ? &slopes.view() : nullptr}, segments,
        y);
  });
}

HostMatrix RunSteps(Backend* backend, const AttentionShape& shape, SequencePiece sequence,
                    const std::vector<int32_t>& counts, KvPool* pool) {
  HostMatrix y(0, shape.output_cols());
  for (const int32_t count : counts) {
    sequence.count = count;
    const HostMatrix part = RunStep(backend, shape, {sequence}, pool);
    y.values.insert(y.values.end(), part.values.begin(), part.values.end());
    y.rows += count;
    sequence.begin += count;
    sequence.first_summed_row = std::max(0, sequence.first_summed_row - count);
  }
  return y;
}

HostMatrix RunSequence(Backend* backend, const AttentionShape& shape, const HostMatrix& qkv,
                       int32_t chunk, const std::vector<int32_t>& pages) {
  const int32_t num_tokens = static_cast<int32_t>(qkv.rows);
  const auto pool =
      MakePoisonedPool(backend, shape, *std::max_element(pages.begin(), pages.end()) + 1);
  HostMatrix y(0, shape.output_cols());
  for (int32_t begin = 0; begin < num_tokens; begin += chunk) {
    const int32_t count = std::min(chunk, num_tokens - begin);
    const HostMatrix part =
        RunStep(backend, shape, {{.qkv = &qkv, .pages = pages, .begin = begin, .count = count}},
                pool.get());
    y.values.insert(y.values.end(), part.values.begin(), part.values.end());
    y.rows += count;
  }
  return y;
}

}  // namespace prefixd
