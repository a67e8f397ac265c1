// Products, norms and element-wise ops of the CPU backend.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/check.h"
#include "base/status_macros.h"
#include "engine/backend/cpu/cpu_backend_impl.h"
#include "engine/backend/cpu/matrix.h"
#include "engine/backend/cpu/memory.h"
#include "engine/backend/cpu/tensor_access.h"

namespace prefixd::cpu {
namespace {

constexpr bool SameValue(KernelActivation a, Activation b) {
  return static_cast<int>(a) == static_cast<int>(b);
}
static_assert(SameValue(KernelActivation::kNone, Activation::kNone) &&
              SameValue(KernelActivation::kRelu, Activation::kRelu) &&
              SameValue(KernelActivation::kSilu, Activation::kSilu) &&
              SameValue(KernelActivation::kQuickGelu, Activation::kQuickGelu) &&
              SameValue(KernelActivation::kGelu, Activation::kGelu) &&
              SameValue(KernelActivation::kGeluTanh, Activation::kGeluTanh));
static_assert(kPageRows == kPageSlots);

constexpr int64_t kMaxBlockRows = 192;  // Rows per item of Linear.
constexpr int64_t kMinBlockRows = 48;
constexpr int64_t kInlineProducts = 64 << 10;  // Multiply-adds that one thread does alone.

// Rows per item: large enough to reuse a chunk of weights, small enough that every thread has work.
int64_t BlockRows(int64_t rows, int64_t num_panels, int num_threads) {
  int64_t block = kMaxBlockRows;
  while (block > kMinBlockRows && num_panels * ((rows + block - 1) / block) < 4 * num_threads) {
    block /= 2;
  }
  const int64_t blocks = (rows + block - 1) / block;
  return (rows + blocks - 1) / blocks;
}

// Neighbouring panels per item: a thread prefetches into the panel after the one it works on.
int64_t PanelsPerItem(int64_t num_panels, int64_t panel_bytes, int64_t num_blocks,
                      int num_threads) {
  constexpr int64_t kItemBytes = 256 << 10;
  const int64_t for_all = num_panels * num_blocks / (6 * num_threads);
  return std::max<int64_t>(1, std::min(for_all, kItemBytes / panel_bytes));
}

}  // namespace

absl::Status CpuBackend::Embed(const Matrix& table, absl::Span<const int32_t> ids,
                               const Tensor& y) {
  PREFIXD_CHECK(y.rows == static_cast<int64_t>(ids.size()) && y.cols == table.cols());
  const auto& matrix = static_cast<const PanelMatrix&>(table);
  for (const int32_t id : ids) PREFIXD_CHECK(ResolveId(id) < table.rows());
  // A gathered element costs about as much as eight that lie together.
  ForRows(y.rows, 8 * y.cols,
          [&](int64_t row) { matrix.ReadRow(ResolveId(ids[row]), RowOf(y, row)); });
  return absl::OkStatus();
}

absl::Status CpuBackend::CopyRows(const Tensor& x, absl::Span<const int32_t> x_rows,
                                  absl::Span<const int32_t> y_rows, const Tensor& y) {
  PREFIXD_CHECK(x_rows.size() == y_rows.size() && x.cols == y.cols);
  for (size_t i = 0; i < x_rows.size(); ++i) {
    PREFIXD_CHECK(x_rows[i] >= 0 && x_rows[i] < x.rows && y_rows[i] >= 0 && y_rows[i] < y.rows);
  }
  ForRows(static_cast<int64_t>(x_rows.size()), x.cols, [&](int64_t i) {
    std::memcpy(RowOf(y, y_rows[i]), RowOf(x, x_rows[i]), x.cols * sizeof(float));
  });
  return absl::OkStatus();
}

absl::StatusOr<Tensor> CpuBackend::PackPairs(const Tensor& x) {
  const int64_t num_pairs = (x.cols + 1) / 2;
  const auto bytes =
      SizeProduct({static_cast<uint64_t>(x.rows), static_cast<uint64_t>(num_pairs), 4});
  if (!bytes.has_value() || pairs_.size_bytes() < *bytes) {
    pairs_ = Buffer();
    PREFIXD_ASSIGN_OR_RETURN(pairs_, AllocateZeroed(bytes, MemoryUse::kDense, "rounded rows"));
  }
  const Tensor pairs = {pairs_.data(), DType::kF32, x.rows, num_pairs, num_pairs};
  ForRows(x.rows, x.cols,
          [&](int64_t row) { kernels_->pack_pairs(RowOf(x, row), x.cols, RowOf(pairs, row)); });
  return pairs;
}

bool CpuBackend::RoundsFor(const PanelMatrix& matrix) const {
  return round_activations_ && matrix.type() == ElementType::kBF16;
}

absl::StatusOr<Tensor> CpuBackend::PrepareRows(const Tensor& x, const PanelMatrix& matrix) {
  for (Buffer& buffer : accumulators_) {
    if (buffer.size_bytes() > 0) continue;
    const uint64_t bytes = (kMaxBlockRows + kWidenedDepth) * kPanelColumns * sizeof(float);
    PREFIXD_ASSIGN_OR_RETURN(buffer, AllocateZeroed(bytes, MemoryUse::kDense, "accumulators"));
  }
  if (RoundsFor(matrix)) return PackPairs(x);
  return x;
}

void CpuBackend::MultiplyPanels(const Tensor& rows, const PanelMatrix& matrix, int64_t first_panel,
                                const LinearOptions& options, const Tensor& y) {
  const int64_t num_panels = (y.cols + kPanelColumns - 1) / kPanelColumns;
  const int64_t block_rows = BlockRows(rows.rows, num_panels, pool_.num_threads());
  const int64_t num_blocks = (rows.rows + block_rows - 1) / block_rows;
  const auto kernel = RoundsFor(matrix) ? kernels_->pair_product : kernels_->panel_product;
  const auto multiply = [&](int64_t panel, int64_t row, int thread) {
    const int64_t column = panel * kPanelColumns;
    float* const scratch = reinterpret_cast<float*>(accumulators_[thread].data());
    kernel({.x = RowOf(rows, row),
            .x_stride = rows.row_stride,
            .rows = std::min(block_rows, rows.rows - row),
            .depth = rows.cols,
            .panel = matrix.panel(first_panel + panel),
            .type = matrix.type(),
            .bias = options.bias == nullptr
                        ? nullptr
                        : RowOf(*options.bias, 0) + first_panel * kPanelColumns + column,
            .activation = static_cast<KernelActivation>(options.activation),
            .accumulate = options.accumulate,
            .y = RowOf(y, row) + column,
            .y_stride = y.row_stride,
            .cols = static_cast<int>(std::min<int64_t>(kPanelColumns, y.cols - column)),
            .accumulators = scratch,
            .widened = scratch + kMaxBlockRows * kPanelColumns});
  };
  const int64_t panels_per_item =
      PanelsPerItem(num_panels, matrix.panel_bytes(), num_blocks, pool_.num_threads());
  const auto run_item = [&](int64_t item, int thread) {
    const int64_t begin = item / num_blocks * panels_per_item;
    const int64_t end = std::min(begin + panels_per_item, num_panels);
    for (int64_t panel = begin; panel < end; ++panel) {
      multiply(panel, item % num_blocks * block_rows, thread);
    }
  };
  const int64_t groups = (num_panels + panels_per_item - 1) / panels_per_item;
  if (rows.rows * matrix.cols() * y.cols < kInlineProducts) {
    for (int64_t item = 0; item < groups * num_blocks; ++item) run_item(item, 0);
  } else {
    pool_.Run(groups * num_blocks, run_item);
  }
}

absl::Status CpuBackend::Linear(const Tensor& x, const Matrix& weight, const LinearOptions& options,
                                const Tensor& y) {
  PREFIXD_CHECK(x.cols == weight.cols() && y.cols == weight.rows() && x.rows == y.rows);
  if (options.bias != nullptr) CheckRow(*options.bias, y.cols);
  if (x.rows == 0) return absl::OkStatus();
  const auto& matrix = static_cast<const PanelMatrix&>(weight);
  PREFIXD_ASSIGN_OR_RETURN(const Tensor rows, PrepareRows(x, matrix));
  MultiplyPanels(rows, matrix, 0, options, y);
  return absl::OkStatus();
}

absl::Status CpuBackend::RmsNorm(const Tensor& x, const Tensor& weight,
                                 const RmsNormOptions& options, const Tensor& y) {
  PREFIXD_CHECK(x.rows == y.rows && x.cols == y.cols);
  CheckRow(weight, x.cols);
  ForRows(x.rows, x.cols, [&](int64_t row) {
    kernels_->rms_norm(RowOf(x, row), RowOf(weight, 0), options.weight_offset, options.eps, x.cols,
                       RowOf(y, row));
  });
  return absl::OkStatus();
}

absl::Status CpuBackend::LayerNorm(const Tensor& x, const Tensor& weight, const Tensor& bias,
                                   float eps, const Tensor& y) {
  PREFIXD_CHECK(x.rows == y.rows && x.cols == y.cols);
  CheckRow(weight, x.cols);
  CheckRow(bias, x.cols);
  ForRows(x.rows, x.cols, [&](int64_t row) {
    kernels_->layer_norm(RowOf(x, row), RowOf(weight, 0), RowOf(bias, 0), eps, x.cols,
                         RowOf(y, row));
  });
  return absl::OkStatus();
}

absl::Status CpuBackend::GatedActivation(const Tensor& x, Activation activation, const Tensor& y) {
  PREFIXD_CHECK(x.rows == y.rows && x.cols == 2 * y.cols);
  ForRows(x.rows, x.cols, [&](int64_t row) {
    const float* gate = RowOf(x, row);
    kernels_->gated_activation(gate, gate + y.cols, static_cast<KernelActivation>(activation),
                               y.cols, RowOf(y, row));
  });
  return absl::OkStatus();
}

absl::Status CpuBackend::Add(const Tensor& x, const Tensor& y) {
  PREFIXD_CHECK((x.rows == y.rows || x.rows == 1) && x.cols == y.cols);
  ForRows(y.rows, y.cols, [&](int64_t row) {
    kernels_->add(RowOf(x, x.rows == 1 ? 0 : row), y.cols, RowOf(y, row));
  });
  return absl::OkStatus();
}

absl::Status CpuBackend::Scale(float factor, const Tensor& y) {
  ForRows(y.rows, y.cols, [&](int64_t row) {
    float* const out = RowOf(y, row);
    for (int64_t i = 0; i < y.cols; ++i) out[i] *= factor;
  });
  return absl::OkStatus();
}

absl::Status CpuBackend::Clamp(float limit, const Tensor& y) {
  PREFIXD_CHECK(limit > 0);
  ForRows(y.rows, y.cols, [&](int64_t row) {
    float* const out = RowOf(y, row);
    for (int64_t i = 0; i < y.cols; ++i) out[i] = std::min(std::max(out[i], -limit), limit);
  });
  return absl::OkStatus();
}

absl::Status CpuBackend::RotaryAngles(absl::Span<const int32_t> positions,
                                      absl::Span<const float> inverse_frequencies,
                                      const Tensor& y) {
  const int64_t half = static_cast<int64_t>(inverse_frequencies.size());
  PREFIXD_CHECK(y.rows == static_cast<int64_t>(positions.size()) && y.cols == 2 * half);
  ForRows(y.rows, 16 * y.cols, [&](int64_t row) {  // A sine costs about 16 additions.
    float* out = RowOf(y, row);
    for (int64_t i = 0; i < half; ++i) {
      const float angle = static_cast<float>(positions[row]) * inverse_frequencies[i];
      out[i] = std::cos(angle);
      out[half + i] = std::sin(angle);
    }
  });
  return absl::OkStatus();
}

absl::Status CpuBackend::Patchify(const Tensor& pixels, int patch_size, const Tensor& y) {
  const int64_t side = std::llround(std::sqrt(static_cast<double>(pixels.cols)));
  PREFIXD_CHECK(patch_size >= 1 && pixels.rows == 3 && side * side == pixels.cols);
  const int64_t patch = patch_size;
  const int64_t grid = side / patch;
  PREFIXD_CHECK(y.rows == grid * grid && y.cols == 3 * patch * patch);
  ForRows(y.rows, y.cols, [&](int64_t row) {
    float* out = RowOf(y, row);
    for (int64_t channel = 0; channel < 3; ++channel) {
      const float* corner = RowOf(pixels, channel) + row / grid * patch * side + row % grid * patch;
      for (int64_t line = 0; line < patch; ++line, out += patch) {
        std::memcpy(out, corner + line * side, patch * sizeof(float));
      }
    }
  });
  return absl::OkStatus();
}

}  // namespace prefixd::cpu
