// Log-probabilities of a language model head on the CPU backend: tiles of logits, of which only the
// softmax state and the columns that are asked for stay.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/check.h"
#include "base/status_macros.h"
#include "engine/backend/cpu/cpu_backend_impl.h"
#include "engine/backend/cpu/matrix.h"
#include "engine/backend/cpu/tensor_access.h"

namespace prefixd::cpu {
namespace {

// Rows whose tile of logits (4 MiB) is there at a time; so many that reading the weights again for
// the next ones costs little.
constexpr int64_t kMostHeadRows = 256;
static_assert(Backend::kHeadTile % kPanelColumns == 0);

}  // namespace

absl::StatusOr<Tensor> CpuBackend::CompactRows(const Tensor& x, absl::Span<const HeadRow> rows) {
  const int64_t count = static_cast<int64_t>(rows.size());
  if (rows.back().row - rows.front().row == count - 1) return x.Rows(rows.front().row, count);
  PREFIXD_RETURN_IF_ERROR(GrowScratch(count * x.cols, &head_inputs_));
  const Tensor compact = {head_inputs_.data(), DType::kF32, count, x.cols, x.cols};
  ForRows(count, x.cols, [&](int64_t i) {
    std::memcpy(RowOf(compact, i), RowOf(x, rows[i].row), x.cols * sizeof(float));
  });
  return compact;
}

absl::Status CpuBackend::HeadLogprobsOf(const Tensor& x, const PanelMatrix& weight,
                                        absl::Span<HeadRow> rows, absl::Span<const int32_t> columns,
                                        absl::Span<float> y) {
  const int64_t count = static_cast<int64_t>(rows.size());
  const int64_t stride =
      std::min(kHeadTile, (weight.rows() + kPanelColumns - 1) / kPanelColumns * kPanelColumns);
  PREFIXD_RETURN_IF_ERROR(GrowScratch(count * stride, &head_tile_));
  PREFIXD_ASSIGN_OR_RETURN(const Tensor compact, CompactRows(x, rows));
  PREFIXD_ASSIGN_OR_RETURN(const Tensor left, PrepareRows(compact, weight));
  for (int64_t begin = 0; begin < weight.rows(); begin += kHeadTile) {
    const int64_t cols = std::min(kHeadTile, weight.rows() - begin);
    const Tensor tile = {head_tile_.data(), DType::kF32, count, cols, stride};
    MultiplyPanels(left, weight, begin / kPanelColumns, {}, tile);
    ForRows(count, 8 * cols, [&](int64_t i) {  // An exponential costs about 8 additions.
      HeadRow& row = rows[i];
      const float* const logits = RowOf(tile, i);
      for (size_t j = row.begin; j < row.end; ++j) {
        const int64_t column = columns[j] - begin;
        if (column >= 0 && column < cols) y[j] = logits[column];
      }
      float max, sum;
      kernels_->exp_sum(logits, cols, &max, &sum);
      if (begin == 0) {
        row.max = max;
        row.sum = sum;
        return;
      }
      const double largest = std::max<double>(row.max, max);
      row.sum = row.sum * std::exp(row.max - largest) + sum * std::exp(max - largest);
      row.max = largest;
    });
  }
  for (const HeadRow& row : rows) {
    const double log_sum = row.max + std::log(row.sum);
    for (size_t j = row.begin; j < row.end; ++j) {
      const double value = y[j] - log_sum;
      y[j] = value > 0 ? 0.0f : static_cast<float>(value);  // NaN stays.
    }
  }
  return absl::OkStatus();
}

absl::Status CpuBackend::HeadLogprobs(const Tensor& x, const Matrix& weight,
                                      absl::Span<const int32_t> rows,
                                      absl::Span<const int32_t> columns, absl::Span<float> y) {
  PREFIXD_CHECK(x.cols == weight.cols());
  PREFIXD_CHECK(rows.size() == columns.size() && rows.size() == y.size());
  head_rows_.clear();
  for (size_t i = 0; i < rows.size(); ++i) {
    PREFIXD_CHECK(columns[i] >= 0 && columns[i] < weight.rows());
    if (i == 0 || rows[i] != rows[i - 1]) {
      PREFIXD_CHECK(rows[i] >= (i == 0 ? 0 : rows[i - 1]) && rows[i] < x.rows);
      head_rows_.push_back({.row = rows[i], .begin = i});
    }
    head_rows_.back().end = i + 1;
  }
  const int64_t count = static_cast<int64_t>(head_rows_.size());
  if (count == 0) return absl::OkStatus();
  // Where rows are left out, the copy of the others counts, too, as scratch.
  const bool copied = head_rows_.back().row - head_rows_.front().row >= count;
  const int64_t room = x.rows * kHeadTile / (kHeadTile + (copied ? x.cols : 0));
  const int64_t most_rows = std::clamp<int64_t>(room, 1, kMostHeadRows);
  const int64_t groups = (count + most_rows - 1) / most_rows;
  const int64_t group_rows = (count + groups - 1) / groups;
  for (int64_t begin = 0; begin < count; begin += group_rows) {
    const auto group = absl::MakeSpan(head_rows_).subspan(begin, group_rows);
    PREFIXD_RETURN_IF_ERROR(
        HeadLogprobsOf(x, static_cast<const PanelMatrix&>(weight), group, columns, y));
  }
  return absl::OkStatus();
}

}  // namespace prefixd::cpu
