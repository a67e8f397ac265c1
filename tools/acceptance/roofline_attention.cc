// Attention and column sums.
#include <algorithm>
#include <cmath>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "engine/backend/cuda/kernels/column_sums.h"
#include "engine/backend/cuda/kernels/split_attention.h"
#include "engine/backend/cuda/kernels/tile_attention.h"
#include "tools/acceptance/roofline.h"

namespace prefixd::acceptance {
namespace {

float ScaleOf(const DecoderShape& layer) {
  return 1.0f / std::sqrt(static_cast<float>(layer.head_dim));
}

std::vector<cuda::RowTile> TilesOf(int rows) {
  std::vector<cuda::RowTile> tiles;
  for (int row = 0; row < rows; row += cuda::kTileRows) {
    tiles.push_back({row, std::min(cuda::kTileRows, rows - row)});
  }
  return tiles;
}

// Operations of causal attention over `rows` rows: two products over half of the square.
double CausalFlops(const DecoderShape& layer, double rows) {
  return 2 * rows * rows * static_cast<double>(layer.q_size());
}

}  // namespace

absl::Status Roofline::DecodeAttention(int count, int slots, const std::string& step) {
  const DecoderShape& layer = options_.model.layer;
  return Measure({.kernel = "split_attention",
                  .shape = absl::StrCat(count, " sequences of ", slots),
                  .kind = KernelKind::kDecodeAttention,
                  .bytes = 4.0 * count * slots * static_cast<double>(layer.kv_size()),
                  .flops = 4.0 * count * slots * static_cast<double>(layer.q_size()),
                  .step = step,
                  .calls = static_cast<double>(options_.model.num_layers)},
                 [&]() -> absl::StatusOr<Launch> {
                   auto s = std::make_shared<Sequences>();
                   PREFIXD_ASSIGN_OR_RETURN(*s, NewSequences(count, slots, 1));
                   PREFIXD_ASSIGN_OR_RETURN(s->scratch,
                                            DeviceBuffer::Create(cuda::SplitScratchBytes(
                                                count, layer.num_heads, layer.head_dim, slots)));
                   return [s, layer](cudaStream_t stream) {
                     cuda::SplitAttention call;
                     call.q = &s->q.view;
                     call.pages = s->pages;
                     call.num_heads = layer.num_heads;
                     call.scale = ScaleOf(layer);
                     call.rows = s->rows;
                     call.y = s->y.view;
                     call.scratch = s->scratch.data();
                     return CheckCuda(cuda::LaunchSplitAttention(call, stream), "launch");
                   };
                 });
}

absl::Status Roofline::PrefillAttention(int rows, const std::string& step) {
  const DecoderShape& layer = options_.model.layer;
  return Measure({.kernel = "tile_attention",
                  .shape = absl::StrCat(rows, " rows"),
                  .kind = KernelKind::kPrefillAttention,
                  .bytes = 4.0 * rows * static_cast<double>(layer.kv_size() + layer.q_size()),
                  .flops = CausalFlops(layer, rows),
                  .rows = rows,
                  .step = step,
                  .calls = static_cast<double>(options_.model.num_layers)},
                 [&]() -> absl::StatusOr<Launch> {
                   auto s = std::make_shared<Sequences>();
                   PREFIXD_ASSIGN_OR_RETURN(*s, NewSequences(1, rows, rows));
                   const std::vector<cuda::RowTile> tiles = TilesOf(rows);
                   PREFIXD_ASSIGN_OR_RETURN(s->scratch, DeviceBuffer::Of(tiles));
                   return
                       [s, layer, count = static_cast<int32_t>(tiles.size())](cudaStream_t stream) {
                         cuda::TileAttention call;
                         call.q = &s->q.view;
                         call.pages = s->pages;
                         call.num_heads = layer.num_heads;
                         call.scale = ScaleOf(layer);
                         call.rows = s->rows;
                         call.tiles = s->scratch.data<cuda::RowTile>();
                         call.num_tiles = count;
                         call.y = s->y.view;
                         return CheckCuda(cuda::LaunchTileAttention(call, stream), "launch");
                       };
                 });
}

absl::Status Roofline::ColumnSums(int rows) {
  const DecoderShape& layer = options_.model.layer;
  return Measure(
      {.kernel = "column_sums",
       .shape = absl::StrCat(rows, " rows"),
       .bytes = 2.0 * rows * static_cast<double>(layer.kv_size() + layer.q_size()),
       .flops = CausalFlops(layer, rows) / 2},
      [&]() -> absl::StatusOr<Launch> {
        struct Held {
          Sequences s;
          DeviceBuffer sums, segments;
          cuda::SummedRows segment;
        };
        auto held = std::make_shared<Held>();
        const auto squared = static_cast<size_t>(rows) * static_cast<size_t>(rows);
        PREFIXD_ASSIGN_OR_RETURN(held->s, NewSequences(1, rows, rows));
        PREFIXD_ASSIGN_OR_RETURN(held->s.scratch, DeviceBuffer::Create(4 * squared));
        PREFIXD_ASSIGN_OR_RETURN(
            held->s.lse,
            DeviceBuffer::Of(std::vector<float>(
                static_cast<size_t>(rows) * static_cast<size_t>(layer.num_heads), 9.0f)));
        PREFIXD_ASSIGN_OR_RETURN(
            held->sums, DeviceBuffer::Of(std::vector<float>(static_cast<size_t>(rows), 0.5f)));
        held->segment = {.num_rows = rows, .num_slots = rows, .sums = held->sums.data<float>()};
        PREFIXD_ASSIGN_OR_RETURN(held->segments,
                                 DeviceBuffer::Of(std::vector<cuda::SummedRows>{held->segment}));
        return [held, layer](cudaStream_t stream) {
          cuda::ColumnSums call;
          call.q = &held->s.q.view;
          call.pages = held->s.pages;
          call.num_heads = layer.num_heads;
          call.scale = ScaleOf(layer);
          call.rows = held->s.rows;
          call.lse = held->s.lse.data<float>();
          call.segments = held->segments.data<cuda::SummedRows>();
          call.host_segments = &held->segment;
          call.num_segments = 1;
          call.scratch = held->s.scratch.data<float>();
          return CheckCuda(cuda::LaunchColumnSums(call, stream), "launch");
        };
      });
}

absl::Status Roofline::Image() {
  const ModelShape& model = options_.model;
  const int64_t width = int64_t{model.image_heads} * model.image_head_dim;
  const auto rows = static_cast<double>(model.image_rows);
  return Measure({.kernel = "vision_attention",
                  .shape = absl::StrCat(model.image_rows, " rows"),
                  .bytes = 8 * rows * static_cast<double>(width),
                  .flops = 4 * rows * rows * static_cast<double>(width)},
                 [&]() -> absl::StatusOr<Launch> {
                   struct Held {
                     Matrix qkv, y;
                   };
                   auto held = std::make_shared<Held>();
                   PREFIXD_ASSIGN_OR_RETURN(held->qkv, NewMatrix(model.image_rows, 3 * width));
                   PREFIXD_ASSIGN_OR_RETURN(held->y, NewMatrix(model.image_rows, width));
                   return [held, heads = model.image_heads](cudaStream_t stream) {
                     return CheckCuda(cuda::LaunchVisionAttention(held->qkv.view, heads, 0.125f,
                                                                  held->y.view, stream),
                                      "launch");
                   };
                 });
}

}  // namespace prefixd::acceptance
