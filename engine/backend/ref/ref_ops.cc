#include <cmath>
#include <cstdint>
#include <cstring>
#include <numbers>
#include <vector>

#include "base/check.h"
#include "engine/backend/ref/ref_backend_impl.h"
#include "engine/backend/ref/ref_memory.h"

namespace prefixd::ref {
namespace {

double Sigmoid(double x) { return 1.0 / (1.0 + std::exp(-x)); }

double Activate(Activation activation, double x) {
  switch (activation) {
    case Activation::kNone:
      return x;
    case Activation::kRelu:
      return x > 0 ? x : 0.0;
    case Activation::kSilu:
      return x * Sigmoid(x);
    case Activation::kQuickGelu:
      return x * Sigmoid(1.702 * x);
    case Activation::kGelu:
      return 0.5 * x * (1.0 + std::erf(x / std::numbers::sqrt2));
    case Activation::kGeluTanh:
      return 0.5 * x *
             (1.0 + std::tanh(std::sqrt(2.0 / std::numbers::pi) * (x + 0.044715 * x * x * x)));
  }
  PREFIXD_CHECK(false);
}

double Dot(const double* a, const double* b, int64_t n) {
  double sum = 0;
  for (int64_t i = 0; i < n; ++i) sum += a[i] * b[i];
  return sum;
}

}  // namespace

absl::Status RefBackend::Embed(const Matrix& table, absl::Span<const int32_t> ids,
                               const Tensor& y) {
  PREFIXD_CHECK(y.rows == static_cast<int64_t>(ids.size()) && y.cols == table.cols());
  for (int64_t t = 0; t < y.rows; ++t) {
    static_cast<const RefMatrix&>(table).ReadRow(ids[t], RowOf(y, t));
  }
  return absl::OkStatus();
}

absl::Status RefBackend::CopyRows(const Tensor& x, absl::Span<const int32_t> x_rows,
                                  absl::Span<const int32_t> y_rows, const Tensor& y) {
  PREFIXD_CHECK(x.cols == y.cols && x_rows.size() == y_rows.size());
  for (size_t i = 0; i < x_rows.size(); ++i) {
    std::memcpy(RowOf(y, y_rows[i]), RowOf(x, x_rows[i]), x.cols * sizeof(double));
  }
  return absl::OkStatus();
}

absl::Status RefBackend::Linear(const Tensor& x, const Matrix& weight, const LinearOptions& options,
                                const Tensor& y) {
  PREFIXD_CHECK(x.cols == weight.cols() && y.cols == weight.rows() && x.rows == y.rows);
  const double* bias = nullptr;
  if (options.bias != nullptr) {
    PREFIXD_CHECK(options.bias->rows == 1 && options.bias->cols == y.cols);
    bias = RowOf(*options.bias, 0);
  }
  std::vector<double> weight_row(weight.cols());
  for (int64_t n = 0; n < weight.rows(); ++n) {
    static_cast<const RefMatrix&>(weight).ReadRow(n, weight_row.data());
    for (int64_t t = 0; t < x.rows; ++t) {
      double sum = Dot(RowOf(x, t), weight_row.data(), x.cols);
      if (bias != nullptr) sum += bias[n];
      const double result = Activate(options.activation, sum);
      double& output = RowOf(y, t)[n];
      output = options.accumulate ? output + result : result;
    }
  }
  return absl::OkStatus();
}

absl::Status RefBackend::RmsNorm(const Tensor& x, const Tensor& weight, float eps,
                                 const Tensor& y) {
  PREFIXD_CHECK(x.rows == y.rows && x.cols == y.cols);
  PREFIXD_CHECK(weight.rows == 1 && weight.cols == x.cols);
  for (int64_t t = 0; t < x.rows; ++t) {
    const double* const x_row = RowOf(x, t);
    double* const y_row = RowOf(y, t);
    const double mean_square = Dot(x_row, x_row, x.cols) / static_cast<double>(x.cols);
    const double factor = 1.0 / std::sqrt(mean_square + eps);
    for (int64_t i = 0; i < x.cols; ++i) y_row[i] = x_row[i] * factor * RowOf(weight, 0)[i];
  }
  return absl::OkStatus();
}

absl::Status RefBackend::LayerNorm(const Tensor& x, const Tensor& weight, const Tensor& bias,
                                   float eps, const Tensor& y) {
  PREFIXD_CHECK(x.rows == y.rows && x.cols == y.cols);
  PREFIXD_CHECK(weight.rows == 1 && weight.cols == x.cols);
  PREFIXD_CHECK(bias.rows == 1 && bias.cols == x.cols);
  const double n = static_cast<double>(x.cols);
  for (int64_t t = 0; t < x.rows; ++t) {
    const double* const x_row = RowOf(x, t);
    double* const y_row = RowOf(y, t);
    double mean = 0;
    for (int64_t i = 0; i < x.cols; ++i) mean += x_row[i] / n;
    double variance = 0;
    for (int64_t i = 0; i < x.cols; ++i) variance += (x_row[i] - mean) * (x_row[i] - mean) / n;
    const double factor = 1.0 / std::sqrt(variance + eps);
    for (int64_t i = 0; i < x.cols; ++i) {
      y_row[i] = (x_row[i] - mean) * factor * RowOf(weight, 0)[i] + RowOf(bias, 0)[i];
    }
  }
  return absl::OkStatus();
}

absl::Status RefBackend::GatedActivation(const Tensor& x, Activation activation, const Tensor& y) {
  PREFIXD_CHECK(x.rows == y.rows && x.cols == 2 * y.cols);
  for (int64_t t = 0; t < x.rows; ++t) {
    const double* const gate = RowOf(x, t);
    const double* const up = gate + y.cols;
    for (int64_t i = 0; i < y.cols; ++i) RowOf(y, t)[i] = Activate(activation, gate[i]) * up[i];
  }
  return absl::OkStatus();
}

absl::Status RefBackend::Add(const Tensor& x, const Tensor& y) {
  PREFIXD_CHECK(x.cols == y.cols && (x.rows == y.rows || x.rows == 1));
  for (int64_t t = 0; t < y.rows; ++t) {
    const double* const x_row = RowOf(x, x.rows == 1 ? 0 : t);
    for (int64_t i = 0; i < y.cols; ++i) RowOf(y, t)[i] += x_row[i];
  }
  return absl::OkStatus();
}

absl::Status RefBackend::RotaryAngles(absl::Span<const int32_t> positions,
                                      absl::Span<const float> inverse_frequencies,
                                      const Tensor& y) {
  const int64_t n = static_cast<int64_t>(inverse_frequencies.size());
  PREFIXD_CHECK(y.rows == static_cast<int64_t>(positions.size()) && y.cols == 2 * n);
  for (int64_t t = 0; t < y.rows; ++t) {
    double* const row = RowOf(y, t);
    for (int64_t i = 0; i < n; ++i) {
      // The product is rounded to float32, as the models were trained.
      const float angle = static_cast<float>(positions[t]) * inverse_frequencies[i];
      row[i] = std::cos(static_cast<double>(angle));
      row[n + i] = std::sin(static_cast<double>(angle));
    }
  }
  return absl::OkStatus();
}

absl::Status RefBackend::Patchify(const Tensor& pixels, int patch_size, const Tensor& y) {
  const int64_t side = std::llround(std::sqrt(static_cast<double>(pixels.cols)));
  PREFIXD_CHECK(pixels.rows == 3 && side * side == pixels.cols && patch_size >= 1);
  const int64_t p = patch_size;
  const int64_t grid = side / p;
  PREFIXD_CHECK(y.rows == grid * grid && y.cols == 3 * p * p);
  for (int64_t t = 0; t < y.rows; ++t) {
    double* output = RowOf(y, t);
    for (int64_t channel = 0; channel < 3; ++channel) {
      for (int64_t i = 0; i < p; ++i) {
        for (int64_t j = 0; j < p; ++j) {
          const int64_t row = t / grid * p + i;
          const int64_t col = t % grid * p + j;
          *output++ = RowOf(pixels, channel)[row * side + col];
        }
      }
    }
  }
  return absl::OkStatus();
}

}  // namespace prefixd::ref
