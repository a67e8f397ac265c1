#include "tests/cuda_emulation/chunk_batch.h"

#include <algorithm>
#include <cmath>
#include <random>

#include "tests/cuda_emulation/emulator/grid.h"
#include "tests/cuda_emulation/emulator/reports.h"

namespace prefixd::cuda_test {
namespace {

// Columns before and behind the q columns, NaN; whole chunks of 16 bytes of any type.
constexpr int64_t kMargin = 8;
constexpr int kRandomOrders = 3;

PagedCache MakeCache(const ChunkBatchOptions& options) {
  PagedCacheOptions cache;
  cache.type = options.kv_type;
  cache.num_kv_heads = options.num_kv_heads;
  cache.head_dim = options.head_dim;
  for (const Chunk& chunk : options.chunks) cache.lengths.push_back(chunk.cached + chunk.length);
  return PagedCache(cache);
}

int64_t NumRows(const ChunkBatchOptions& options) {
  int64_t rows = options.padding_rows;
  for (const Chunk& chunk : options.chunks) rows += chunk.length;
  return rows;
}

int64_t Width(const ChunkBatchOptions& options) {
  return int64_t{options.num_heads} * options.head_dim;
}

}  // namespace

ChunkBatch::ChunkBatch(const ChunkBatchOptions& options)
    : options_(options),
      scale_(options.sharpness / std::sqrt(static_cast<float>(options.head_dim))),
      slopes_(options.alibi ? TestSlopes(options.num_heads) : std::vector<float>()),
      cache_(MakeCache(options)),
      q_(options.type, NumRows(options), Width(options), Width(options) + 2 * kMargin),
      q_bytes_(q_.bytes().size()),
      pages_(cache_.bytes()),
      device_sequence_(NumRows(options)),
      device_visible_(NumRows(options)),
      tables_(cache_.tables().size()),
      device_position_(NumRows(options)),
      positions_(cache_.positions()),
      device_slopes_(slopes_) {
  for (size_t c = 0; c < options.chunks.size(); ++c) {
    const Chunk& chunk = options.chunks[c];
    first_row_.push_back(static_cast<int32_t>(visible_.size()));
    for (int32_t i = 0; i < chunk.length; ++i) {
      sequence_.push_back(static_cast<int32_t>(c));
      visible_.push_back(std::max(chunk.cached + i + 1, chunk.prefix));
    }
  }
  sequence_.resize(NumRows(options), 0);
  visible_.resize(NumRows(options), 0);
  std::mt19937_64 generator(7);
  q_.FillNormal(&generator);

  // On the device the columns stand kMargin further on.
  std::vector<uint8_t> shifted(q_.bytes().size(), 0xFF);
  const size_t margin = kMargin * cuda::ElementSize(options.type);
  std::copy(q_.bytes().begin(), q_.bytes().end() - margin, shifted.begin() + margin);
  q_bytes_.Upload(shifted);
  device_q_ = q_.View(q_bytes_.data(), kMargin, q_.cols());
  device_sequence_.Upload(sequence_);
  device_visible_.Upload(visible_);
  std::vector<int32_t> position;
  for (const int32_t visible : visible_) position.push_back(PositionOf(visible - 1));
  device_position_.Upload(position);
  std::vector<int32_t> tables = cache_.tables();
  for (int32_t& page : tables) page += static_cast<int32_t>(options.first_page);
  tables_.Upload(tables);
}

AttentionResult ChunkBatch::Reference() const {
  return ReferenceAttention(q_, cache_, options_.num_heads, scale_, sequence_, visible_, slopes_);
}

cuda::KvPages ChunkBatch::device_pages() {
  const int64_t bytes_before =
      options_.first_page * cache_.page_elements() * cuda::ElementSize(options_.kv_type);
  cuda::KvPages pages = cache_.View(reinterpret_cast<void*>(
      reinterpret_cast<uintptr_t>(pages_.data()) - static_cast<uintptr_t>(bytes_before)));
  if (options_.alibi) pages.positions = positions_.data();
  return pages;
}

const float* ChunkBatch::device_slopes() {
  return options_.alibi ? device_slopes_.data() : nullptr;
}

cuda::AttentionRows ChunkBatch::device_rows() {
  cuda::AttentionRows rows;
  rows.num_rows = num_rows();
  rows.sequence = device_sequence_.data();
  rows.visible = device_visible_.data();
  rows.tables = tables_.data();
  rows.table_stride = cache_.table_stride();
  rows.max_visible = *std::max_element(visible_.begin(), visible_.end());
  rows.position = device_position_.data();
  return rows;
}

std::vector<cuda::RowTile> ChunkBatch::Tiles(int32_t rows) const {
  std::vector<cuda::RowTile> tiles;
  for (size_t c = 0; c < options_.chunks.size(); ++c) {
    const int32_t length = options_.chunks[c].length;
    for (int32_t i = 0; i < length; i += rows) {
      tiles.push_back({first_row_[c] + i, std::min(rows, length - i)});
    }
  }
  if (options_.padding_rows > 0) {
    tiles.push_back({num_rows() - options_.padding_rows, options_.padding_rows});
  }
  return tiles;
}

TileResult RunTiles(ChunkBatch* batch, const std::vector<cuda::RowTile>& tiles) {
  const int num_heads = batch->options().num_heads;
  const int64_t width = batch->q().cols();
  TileResult result{cudaSuccess,
                    HostMatrix(batch->options().type, batch->num_rows(), width, width + kMargin),
                    {}};
  emu::DeviceArray<uint8_t> y(result.y.bytes());
  emu::DeviceArray<float> lse(static_cast<size_t>(batch->num_rows()) * num_heads);
  emu::DeviceArray<cuda::RowTile> device_tiles(tiles);
  cuda::TileAttention call;
  call.q = &batch->device_q();
  call.pages = batch->device_pages();
  call.num_heads = num_heads;
  call.scale = batch->scale();
  call.slopes = batch->device_slopes();
  call.rows = batch->device_rows();
  call.tiles = device_tiles.data();
  call.num_tiles = static_cast<int32_t>(tiles.size());
  call.y = result.y.View(y.data());
  call.lse = lse.data();
  result.error = cuda::LaunchTileAttention(call, nullptr);
  result.y.bytes() = y.Download();
  result.lse = lse.Download();
  return result;
}

bool IsCaught(cuda::KernelBug bug, const std::function<bool()>& is_wrong) {
  using emu::Order;
  const emu::Config before = emu::config();
  std::vector<emu::Config> orders = {{Order::kAscending, 1}, {Order::kDescending, 1}};
  for (uint64_t seed = 1; seed <= kRandomOrders; ++seed) orders.push_back({Order::kRandom, seed});
  bool caught = false;
  cuda::planted_kernel_bug = bug;
  for (const emu::Config& order : orders) {
    emu::SetConfig(order);
    const bool wrong = is_wrong();
    caught = !emu::TakeReports().empty() || wrong;
    if (caught) break;
  }
  cuda::planted_kernel_bug = cuda::KernelBug::kNone;
  emu::SetConfig(before);
  return caught;
}

}  // namespace prefixd::cuda_test
