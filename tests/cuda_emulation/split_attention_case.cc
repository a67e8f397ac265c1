#include "tests/cuda_emulation/split_attention_case.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "tests/cuda_emulation/emulator/device_array.h"

namespace prefixd::cuda_test {
namespace {

using emu::DeviceArray;

constexpr int64_t kGap = 8;  // Columns beyond the last one.

PagedCacheOptions CacheOptions(const SplitShape& shape) {
  PagedCacheOptions options;
  options.type = shape.kv;
  options.num_kv_heads = shape.num_kv_heads;
  options.head_dim = shape.head_dim;
  options.lengths = shape.lengths;
  options.shared_with.assign(shape.lengths.size(), 0);
  options.shared_slots.assign(shape.lengths.size(), shape.shared_slots);
  options.shared_slots[0] = 0;
  options.seed = shape.seed;
  return options;
}

SplitShape WithRows(SplitShape shape) {
  if (shape.sequence.empty()) {
    shape.sequence.resize(shape.lengths.size());
    std::iota(shape.sequence.begin(), shape.sequence.end(), 0);
    shape.visible = shape.lengths;
  }
  return shape;
}

const char* Name(Element type) {
  return type == Element::kF32 ? "f32" : type == Element::kF16 ? "f16" : "bf16";
}

// The arrays of RowGroups in device memory.
struct DeviceGroups {
  DeviceGroups(const std::vector<RowGroup>& groups, int32_t num_rows)
      : shared(num_rows), leader(num_rows), begin(num_rows), count(num_rows), members(num_rows) {
    std::vector<int32_t> host_shared(num_rows, 0), host_leader(num_rows, -1);
    std::vector<int32_t> host_begin(num_rows, -1), host_count(num_rows, -1), host_members;
    for (const RowGroup& group : groups) {
      const int32_t first = group.positions[0];
      host_begin[first] = static_cast<int32_t>(host_members.size());
      host_count[first] = static_cast<int32_t>(group.positions.size());
      for (const int32_t position : group.positions) {
        host_shared[position] = group.shared;
        host_leader[position] = first;
        host_members.push_back(position);
      }
    }
    shared.Upload(host_shared);
    leader.Upload(host_leader);
    begin.Upload(host_begin);
    count.Upload(host_count);
    members.Upload(host_members);
  }

  cuda::RowGroups View() const {
    return {shared.data(), leader.data(), begin.data(), count.data(), members.data()};
  }

  DeviceArray<int32_t> shared, leader, begin, count, members;
};

}  // namespace

std::string Describe(const SplitShape& shape) {
  return absl::StrCat(Name(shape.activation), " over ", Name(shape.kv), ", head_dim ",
                      shape.head_dim, ", kv heads ", shape.num_kv_heads, ", group ",
                      shape.group_heads, ", lengths ", absl::StrJoin(shape.lengths, ","),
                      shape.alibi ? ", ALiBi" : "", shape.paths.empty() ? "" : ", trees");
}

SplitCase::SplitCase(const SplitShape& shape)
    : shape_(WithRows(shape)),
      num_heads_(shape.num_kv_heads * shape.group_heads),
      scale_(1.0f / std::sqrt(static_cast<float>(shape.head_dim))),
      cache_(CacheOptions(shape_)),
      q_(shape.activation, static_cast<int64_t>(shape_.sequence.size()),
         int64_t{num_heads_} * shape.head_dim) {
  std::mt19937_64 generator(shape.seed + 1);
  q_.FillNormal(&generator);
  for (int64_t row = 0; row < q_.rows(); ++row) {
    for (int64_t c = 0; c < q_.cols(); ++c) {
      q_.set(row, c, static_cast<float>(q_.at(row, c)) * shape.query_factor);
    }
  }
  if (shape_.alibi) slopes_ = TestSlopes(num_heads_);
  reference_ = ReferenceAttention(q_, cache_, num_heads_, scale_, shape_.sequence, shape_.visible,
                                  slopes_, shape_.paths);
}

std::vector<int32_t> SplitCase::Rows(const SplitRun& run) const {
  if (!run.rows.empty()) return run.rows;
  std::vector<int32_t> rows(shape_.sequence.size());
  std::iota(rows.begin(), rows.end(), 0);
  return rows;
}

SplitOutput SplitCase::Run(const SplitRun& run) const {
  const std::vector<int32_t> rows = Rows(run);
  const int32_t num_rows = static_cast<int32_t>(rows.size());
  const int64_t cols = q_.cols();
  HostMatrix q(shape_.activation, num_rows, run.first_column + cols + kGap);
  std::vector<int32_t> sequence(num_rows, 0), visible(num_rows, 0), position(num_rows, 0);
  std::vector<int32_t> context(num_rows, 0), path_begin(num_rows, 0), paths;
  for (int32_t i = 0; i < num_rows; ++i) {
    if (rows[i] == kPadding) continue;
    sequence[i] = shape_.sequence[rows[i]];
    visible[i] = shape_.visible[rows[i]];
    position[i] = PositionOf(visible[i] - 1);
    context[i] = visible[i];
    path_begin[i] = static_cast<int32_t>(paths.size());
    if (!shape_.paths.empty()) {
      const std::vector<int32_t>& path = shape_.paths[rows[i]];
      context[i] -= static_cast<int32_t>(path.size());
      paths.insert(paths.end(), path.begin(), path.end());
      position[i] = PositionOf(SlotAt(visible[i] - 1, visible[i], path));
    }
    for (int64_t c = 0; c < cols; ++c) {
      q.set(i, run.first_column + c, static_cast<float>(q_.at(rows[i], c)));
    }
  }
  std::vector<int32_t> tables = cache_.tables();
  for (int32_t& page : tables) page += static_cast<int32_t>(run.first_page);

  const int64_t size = cuda::ElementSize(shape_.kv);
  const int64_t before = (run.page_shift + run.first_page * cache_.page_elements()) * size;
  DeviceArray<uint8_t> pages(before + cache_.bytes().size()), device_q(q.bytes());
  emu::WriteDevice(pages.data() + before, cache_.bytes().data(), cache_.bytes().size());
  DeviceArray<int32_t> device_sequence(sequence), device_visible(visible), device_tables(tables);
  SplitOutput output{cudaSuccess, HostMatrix(shape_.activation, num_rows, cols, cols + kGap), {}};
  DeviceArray<uint8_t> y(output.y.bytes());
  DeviceArray<float> lse(static_cast<size_t>(num_rows) * num_heads_);
  const DeviceGroups groups(run.groups, num_rows);

  const cuda::DeviceMatrix q_view = q.View(device_q.data(), run.first_column, cols);
  cuda::SplitAttention call;
  call.q = &q_view;
  call.pages = cache_.View(pages.data() + run.page_shift * size);
  call.pages.num_pages += static_cast<int32_t>(run.first_page);
  call.num_heads = num_heads_;
  call.scale = scale_;
  DeviceArray<int32_t> device_position(position), positions(cache_.positions());
  DeviceArray<float> slopes(slopes_);
  if (shape_.alibi) {
    call.slopes = slopes.data();
    call.pages.positions = positions.data();
    call.rows.position = device_position.data();
  }
  call.rows.num_rows = num_rows;
  call.rows.sequence = device_sequence.data();
  call.rows.visible = device_visible.data();
  call.rows.tables = device_tables.data();
  call.rows.table_stride = cache_.table_stride();
  call.rows.max_visible =
      run.max_visible > 0 ? run.max_visible : *std::max_element(visible.begin(), visible.end());
  DeviceArray<int32_t> device_context(context), device_begin(path_begin), device_paths(paths);
  if (!shape_.paths.empty()) {
    call.rows.context = device_context.data();
    call.rows.path_begin = device_begin.data();
    call.rows.paths = device_paths.data();
  }
  if (!run.groups.empty()) call.groups = groups.View();
  call.kernel = run.kernel;
  call.y = output.y.View(y.data());
  call.lse = lse.data();
  DeviceArray<uint8_t> scratch(
      cuda::SplitScratchBytes(num_rows, num_heads_, shape_.head_dim, call.rows.max_visible));
  call.scratch = scratch.data();
  output.error = cuda::LaunchSplitAttention(call, nullptr);
  output.y.bytes() = y.Download();
  output.lse = lse.Download();
  return output;
}

AttentionResult SplitCase::Reference(const SplitRun& run) const {
  AttentionResult expected;
  for (const int32_t row : Rows(run)) {
    if (row == kPadding) {
      expected.y.insert(expected.y.end(), q_.cols(), 0.0);
      expected.lse.insert(expected.lse.end(), num_heads_, -std::numeric_limits<double>::infinity());
      continue;
    }
    const auto y = reference_.y.begin() + row * q_.cols();
    const auto lse = reference_.lse.begin() + row * num_heads_;
    expected.y.insert(expected.y.end(), y, y + q_.cols());
    expected.lse.insert(expected.lse.end(), lse, lse + num_heads_);
  }
  return expected;
}

double SplitCase::Error(const SplitRun& run, const SplitOutput& output) const {
  return RelativeError(Reference(run).y, output.y);
}

void SplitCase::ExpectClose(const SplitRun& run, const SplitOutput& output) const {
  ASSERT_EQ(output.error, cudaSuccess);
  const AttentionResult expected = Reference(run);
  const double bar = shape_.activation == Element::kF32 ? 1e-5 : 5e-3;
  EXPECT_LE(RelativeError(expected.y, output.y), bar) << Describe(shape_);
  EXPECT_LE(LargestError(expected.lse, output.lse), 1e-4) << Describe(shape_);
  // Padding rows are exactly zero; nothing is written beside the rows.
  const std::vector<int32_t> rows = Rows(run);
  for (size_t i = 0; i < rows.size(); ++i) {
    for (int64_t c = 0; rows[i] == kPadding && c < output.y.cols(); ++c) {
      ASSERT_EQ(output.y.at(i, c), 0.0);
    }
    for (int64_t c = output.y.cols(); c < output.y.stride(); ++c) {
      ASSERT_TRUE(std::isnan(output.y.at(i, c)));
    }
  }
}

void SplitCase::Check(const SplitRun& run) const { ExpectClose(run, Run(run)); }

bool SameRow(const SplitOutput& a, int64_t a_row, const SplitOutput& b, int64_t b_row) {
  const int64_t size = cuda::ElementSize(a.y.type());
  const int64_t heads = static_cast<int64_t>(a.lse.size()) / a.y.rows();
  return std::memcmp(a.y.bytes().data() + a_row * a.y.stride() * size,
                     b.y.bytes().data() + b_row * b.y.stride() * size, a.y.cols() * size) == 0 &&
         std::memcmp(a.lse.data() + a_row * heads, b.lse.data() + b_row * heads,
                     heads * sizeof(float)) == 0;
}

}  // namespace prefixd::cuda_test
