// Ops of the CUDA backend that work row by row, and products.
#include <algorithm>
#include <cstring>
#include <limits>

#include "base/check.h"
#include "base/status_macros.h"
#include "engine/backend/cuda/cuda_backend_impl.h"
#include "engine/backend/cuda/kernels/row_ops.h"

namespace prefixd::cuda {
namespace {

constexpr size_t kMaxConstants = 8;

KernelActivation KernelActivationOf(Activation activation) {
  return static_cast<KernelActivation>(activation);
}
static_assert(static_cast<int>(KernelActivation::kGeluTanh) ==
              static_cast<int>(Activation::kGeluTanh));

void CheckRow(const Tensor& row, int64_t cols) { PREFIXD_CHECK(row.rows == 1 && row.cols == cols); }

// Whether the numbers are first, first + 1, ...
bool AreConsecutive(absl::Span<const int32_t> numbers) {
  for (size_t i = 1; i < numbers.size(); ++i) {
    if (numbers[i] != numbers[i - 1] + 1) return false;
  }
  return true;
}

}  // namespace

absl::StatusOr<const float*> CudaBackend::ConstantFloats(absl::Span<const float> values) {
  for (const Constant& constant : constants_) {
    if (constant.values.size() == values.size() &&
        std::equal(values.begin(), values.end(), constant.values.begin())) {
      PREFIXD_RETURN_IF_ERROR(memory_->Use({constant.device.data()}).status());
      return reinterpret_cast<const float*>(constant.device.data());
    }
  }
  if (memory_->recording()) {
    return absl::FailedPreconditionError("a recorded pass takes other constants");
  }
  const size_t size = values.size() * sizeof(float);
  PREFIXD_ASSIGN_OR_RETURN(Buffer device,
                           memory_->Allocate(size, DeviceMemory::Content::kUndefined, "constants"));
  const int64_t count = static_cast<int64_t>(values.size());
  PREFIXD_RETURN_IF_ERROR(Upload(values, {device.data(), DType::kF32, 1, count, count}));
  if (constants_.size() < kMaxConstants) constants_.emplace_back();
  Constant& constant = constants_[next_constant_++ % kMaxConstants];
  constant = {.values = {values.begin(), values.end()}, .device = std::move(device)};
  return reinterpret_cast<const float*>(constant.device.data());
}

absl::Status CudaBackend::Embed(const Matrix& table, absl::Span<const int32_t> ids,
                                const Tensor& y) {
  PREFIXD_CHECK(y.rows == static_cast<int64_t>(ids.size()) && y.cols == table.cols());
  PREFIXD_RETURN_IF_ERROR(Enter());
  for (const int32_t id : ids) {
    PREFIXD_CHECK(id >= 0 ? id < table.rows() : FromDraw(id) < draws_->num_tokens());
  }
  if (ids.empty()) return absl::OkStatus();
  const auto& matrix = static_cast<const CudaMatrix&>(table);
  const int32_t* device_ids = step_->FindIds(ids);
  if (device_ids == nullptr) {
    HostPack pack;
    const size_t offset = pack.Add(ids);
    PREFIXD_ASSIGN_OR_RETURN(const std::byte* const base, Send(pack));
    device_ids = ArrayAt<int32_t>(base, offset);
  }
  PREFIXD_ASSIGN_OR_RETURN(const cudaStream_t stream,
                           memory_->Use({matrix.data(), device_ids, draws_->tokens(), y.data}));
  return Check(LaunchEmbedRows(matrix.view(), device_ids, draws_->tokens(), ViewOf(y), stream),
               "Embed");
}

absl::Status CudaBackend::CopyRows(const Tensor& x, absl::Span<const int32_t> x_rows,
                                   absl::Span<const int32_t> y_rows, const Tensor& y) {
  PREFIXD_CHECK(x_rows.size() == y_rows.size() && x.cols == y.cols && x.dtype == y.dtype);
  for (size_t i = 0; i < x_rows.size(); ++i) {
    PREFIXD_CHECK(x_rows[i] >= 0 && x_rows[i] < x.rows && y_rows[i] >= 0 && y_rows[i] < y.rows);
  }
  PREFIXD_RETURN_IF_ERROR(Enter());
  if (x_rows.empty() || x.cols == 0) return absl::OkStatus();
  const int64_t count = static_cast<int64_t>(x_rows.size());
  if (AreConsecutive(x_rows) && AreConsecutive(y_rows)) {  // Needs no numbers on the device.
    PREFIXD_ASSIGN_OR_RETURN(const cudaStream_t stream, memory_->Use({x.data, y.data}));
    const int64_t element = static_cast<int64_t>(DTypeSize(x.dtype));
    const Tensor from = x.Rows(x_rows[0], count), to = y.Rows(y_rows[0], count);
    return Check(
        cudaMemcpy2DAsync(to.data, to.row_stride * element, from.data, from.row_stride * element,
                          from.cols * element, count, cudaMemcpyDeviceToDevice, stream),
        "CopyRows");
  }
  HostPack pack;
  const size_t from = pack.Add(x_rows);
  const size_t to = pack.Add(y_rows);
  PREFIXD_ASSIGN_OR_RETURN(const std::byte* const base, Send(pack));
  PREFIXD_ASSIGN_OR_RETURN(const cudaStream_t stream, memory_->Use({x.data, y.data}));
  return Check(LaunchCopyRows(ViewOf(x), ArrayAt<int32_t>(base, from), ArrayAt<int32_t>(base, to),
                              count, ViewOf(y), stream),
               "CopyRows");
}

absl::Status CudaBackend::Linear(const Tensor& x, const Matrix& weight,
                                 const LinearOptions& options, const Tensor& y) {
  PREFIXD_CHECK(x.cols == weight.cols() && y.cols == weight.rows() && x.rows == y.rows);
  if (options.bias != nullptr) CheckRow(*options.bias, y.cols);
  PREFIXD_RETURN_IF_ERROR(Enter());
  if (x.rows == 0) return absl::OkStatus();
  const auto& matrix = static_cast<const CudaMatrix&>(weight);
  const DeviceMatrix out = ViewOf(y);
  DeviceMatrix product = out;
  const bool activates = options.activation != Activation::kNone;
  // What comes out of the activation is rounded once; so it takes sums that are not.
  const bool apart = activates && (options.accumulate || out.type != Element::kF32);
  if (apart) {
    product = {.type = Element::kF32, .rows = y.rows, .cols = y.cols, .stride = y.cols};
    const size_t size = static_cast<size_t>(y.rows) * static_cast<size_t>(y.cols) * sizeof(float);
    PREFIXD_ASSIGN_OR_RETURN(product.data, scratch().product.Ensure(size, memory_.get()));
  }
  DeviceMatrix bias_row;
  if (options.bias != nullptr) bias_row = ViewOf(*options.bias);
  const DeviceMatrix* const bias = options.bias != nullptr ? &bias_row : nullptr;
  PREFIXD_ASSIGN_OR_RETURN(
      const cudaStream_t stream,
      memory_->Use({x.data, matrix.data(), bias_row.data, product.data, y.data}));
  PREFIXD_RETURN_IF_ERROR(
      health_.Check(gemm_->Run(ViewOf(x), matrix.view(), apart ? nullptr : bias,
                               options.accumulate && !activates, product, stream)));
  if (!activates) return absl::OkStatus();
  return Check(
      LaunchBiasActivation(product, apart ? bias : nullptr, KernelActivationOf(options.activation),
                           options.accumulate, out, stream),
      "Linear");
}

absl::Status CudaBackend::RmsNorm(const Tensor& x, const Tensor& weight,
                                  const RmsNormOptions& options, const Tensor& y) {
  PREFIXD_CHECK(x.rows == y.rows && x.cols == y.cols);
  CheckRow(weight, x.cols);
  PREFIXD_RETURN_IF_ERROR(Enter());
  if (x.rows == 0) return absl::OkStatus();
  PREFIXD_ASSIGN_OR_RETURN(const cudaStream_t stream, memory_->Use({x.data, weight.data, y.data}));
  return Check(LaunchRmsNorm(ViewOf(x), ViewOf(weight), options.weight_offset, options.eps,
                             ViewOf(y), stream),
               "RmsNorm");
}

absl::Status CudaBackend::LayerNorm(const Tensor& x, const Tensor& weight, const Tensor& bias,
                                    float eps, const Tensor& y) {
  PREFIXD_CHECK(x.rows == y.rows && x.cols == y.cols);
  CheckRow(weight, x.cols);
  CheckRow(bias, x.cols);
  PREFIXD_RETURN_IF_ERROR(Enter());
  if (x.rows == 0) return absl::OkStatus();
  PREFIXD_ASSIGN_OR_RETURN(const cudaStream_t stream,
                           memory_->Use({x.data, weight.data, bias.data, y.data}));
  return Check(LaunchLayerNorm(ViewOf(x), ViewOf(weight), ViewOf(bias), eps, ViewOf(y), stream),
               "LayerNorm");
}

absl::Status CudaBackend::GatedActivation(const Tensor& x, Activation activation, const Tensor& y) {
  PREFIXD_CHECK(x.rows == y.rows && x.cols == 2 * y.cols);
  PREFIXD_RETURN_IF_ERROR(Enter());
  if (x.rows == 0) return absl::OkStatus();
  PREFIXD_ASSIGN_OR_RETURN(const cudaStream_t stream, memory_->Use({x.data, y.data}));
  return Check(LaunchGatedActivation(ViewOf(x), KernelActivationOf(activation), ViewOf(y), stream),
               "GatedActivation");
}

absl::Status CudaBackend::Add(const Tensor& x, const Tensor& y) {
  PREFIXD_CHECK((x.rows == y.rows || x.rows == 1) && x.cols == y.cols);
  PREFIXD_RETURN_IF_ERROR(Enter());
  if (y.rows == 0) return absl::OkStatus();
  PREFIXD_ASSIGN_OR_RETURN(const cudaStream_t stream, memory_->Use({x.data, y.data}));
  return Check(LaunchAdd(ViewOf(x), ViewOf(y), stream), "Add");
}

absl::Status CudaBackend::Scale(float factor, const Tensor& y) {
  return ScaleAndClamp(factor, std::numeric_limits<float>::infinity(), y, "Scale");
}

absl::Status CudaBackend::Clamp(float limit, const Tensor& y) {
  PREFIXD_CHECK(limit > 0);
  return ScaleAndClamp(1, limit, y, "Clamp");
}

absl::Status CudaBackend::ScaleAndClamp(float factor, float limit, const Tensor& y,
                                        const char* what) {
  PREFIXD_RETURN_IF_ERROR(Enter());
  if (y.rows == 0) return absl::OkStatus();
  PREFIXD_ASSIGN_OR_RETURN(const cudaStream_t stream, memory_->Use({y.data}));
  return Check(LaunchScaleAndClamp(factor, limit, ViewOf(y), stream), what);
}

absl::Status CudaBackend::RotaryAngles(absl::Span<const int32_t> positions,
                                       absl::Span<const float> inverse_frequencies,
                                       const Tensor& y) {
  const int64_t half = static_cast<int64_t>(inverse_frequencies.size());
  PREFIXD_CHECK(y.rows == static_cast<int64_t>(positions.size()) && y.cols == 2 * half);
  PREFIXD_CHECK(y.dtype == DType::kF32);
  PREFIXD_RETURN_IF_ERROR(Enter());
  if (positions.empty() || half == 0) return absl::OkStatus();
  PREFIXD_ASSIGN_OR_RETURN(const float* const frequencies, ConstantFloats(inverse_frequencies));
  const int32_t* device_positions = step_->FindPositions(positions);
  if (device_positions == nullptr) {
    HostPack pack;
    const size_t offset = pack.Add(positions);
    PREFIXD_ASSIGN_OR_RETURN(const std::byte* const base, Send(pack));
    device_positions = ArrayAt<int32_t>(base, offset);
  }
  PREFIXD_ASSIGN_OR_RETURN(const cudaStream_t stream, memory_->Use({device_positions, y.data}));
  return Check(LaunchRotaryAngles(device_positions, frequencies, ViewOf(y), stream),
               "RotaryAngles");
}

}  // namespace prefixd::cuda
