#include "tests/backend/rounded_reference.h"

#include <cstring>
#include <map>
#include <utility>
#include <vector>

#include "engine/tensor/half.h"
#include "engine/tensor/quantized.h"
#include "tests/backend/forwarding_backend.h"

namespace prefixd {
namespace {

float Round(DType dtype, float value) {
  return dtype == DType::kBF16 ? BF16ToFloat(FloatToBF16(value)) : F16ToFloat(FloatToF16(value));
}

float Widen(DType dtype, const uint8_t* bytes) {
  float value;
  if (dtype == DType::kF32) {
    std::memcpy(&value, bytes, sizeof(value));
    return value;
  }
  uint16_t bits;
  std::memcpy(&bits, bytes, sizeof(bits));
  return dtype == DType::kBF16 ? BF16ToFloat(bits) : F16ToFloat(bits);
}

class RoundedReference final : public testing::ForwardingBackend {
 public:
  RoundedReference(DType dtype, std::unique_ptr<Backend> reference)
      : ForwardingBackend(std::move(reference)), dtype_(dtype) {}

  absl::StatusOr<Buffer> Allocate(size_t size_bytes) override {
    auto buffer = real().Allocate(size_bytes);
    if (buffer.ok()) {  // Perhaps the memory of a former unrounded tensor.
      std::erase_if(unrounded_, [&](const Tensor& tensor) {
        return tensor.data >= buffer->data() && tensor.data < buffer->data() + size_bytes;
      });
    }
    return buffer;
  }
  absl::StatusOr<OwnedTensor> NewScores(int64_t layers, int64_t slots) override {
    return Unrounded(real().NewScores(layers, slots));
  }
  absl::StatusOr<OwnedTensor> NewAngles(int64_t rows, int64_t head_dim) override {
    return Unrounded(real().NewAngles(rows, head_dim));
  }
  absl::StatusOr<std::unique_ptr<Matrix>> CreateMatrix(DType dtype, int64_t rows,
                                                       int64_t cols) override {
    auto matrix = real().CreateMatrix(DType::kF32, rows, cols);
    if (matrix.ok()) written_dtypes_[matrix->get()] = dtype;
    return matrix;
  }
  absl::Status WriteMatrixRows(int64_t row_begin, absl::Span<const uint8_t> bytes,
                               Matrix* matrix) override {
    const DType written = written_dtypes_.at(matrix);
    const size_t element = DTypeSize(written);
    const size_t row_bytes = RowBytes(written, matrix->cols());
    const size_t num_rows = bytes.size() / row_bytes;
    std::vector<float> rounded(num_rows * matrix->cols());
    for (size_t row = 0; row < num_rows && IsQuantized(written); ++row) {
      DequantizeRow(written, bytes.data() + row * row_bytes, matrix->cols(),
                    rounded.data() + row * matrix->cols());
    }
    for (size_t i = 0; i < rounded.size(); ++i) {
      if (!IsQuantized(written)) rounded[i] = Widen(written, bytes.data() + i * element);
      rounded[i] = Round(dtype_, rounded[i]);
    }
    return real().WriteMatrixRows(
        row_begin,
        {reinterpret_cast<const uint8_t*>(rounded.data()), rounded.size() * sizeof(float)}, matrix);
  }
  absl::Status Upload(absl::Span<const float> x, const Tensor& y) override {
    std::vector<float> rounded(x.begin(), x.end());
    if (!IsUnrounded(y)) {
      for (float& value : rounded) value = Round(dtype_, value);
    }
    return real().Upload(rounded, y);
  }

 private:
  absl::StatusOr<OwnedTensor> Unrounded(absl::StatusOr<OwnedTensor> tensor) {
    if (tensor.ok()) unrounded_.push_back(tensor->view);
    return tensor;
  }
  bool IsUnrounded(const Tensor& y) const {
    for (const Tensor& tensor : unrounded_) {
      const size_t size = tensor.rows * tensor.row_stride * DTypeSize(tensor.dtype);
      if (y.data >= tensor.data && y.data < tensor.data + size) return true;
    }
    return false;
  }

  const DType dtype_;
  std::vector<Tensor> unrounded_;  // Also of buffers that are gone.
  std::map<const Matrix*, DType> written_dtypes_;
};

}  // namespace

std::unique_ptr<Backend> MakeRoundedReference(DType dtype, std::unique_ptr<Backend> reference) {
  return std::make_unique<RoundedReference>(dtype, std::move(reference));
}

}  // namespace prefixd
