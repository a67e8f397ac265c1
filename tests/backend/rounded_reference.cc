#include "tests/backend/rounded_reference.h"

#include <cstring>
#include <map>
#include <utility>
#include <vector>

#include "engine/tensor/half.h"

namespace prefixd {
namespace {

float Round(DType dtype, float value) {
  return dtype == DType::kBF16 ? BF16ToFloat(FloatToBF16(value)) : F16ToFloat(FloatToF16(value));
}

class RoundedReference final : public Backend {
 public:
  RoundedReference(DType dtype, std::unique_ptr<Backend> reference)
      : dtype_(dtype), reference_(std::move(reference)) {}

  const BackendInfo& info() const override { return reference_->info(); }
  absl::StatusOr<Buffer> Allocate(size_t size_bytes) override {
    auto buffer = reference_->Allocate(size_bytes);
    if (buffer.ok()) {  // Perhaps the memory of a former unrounded tensor.
      std::erase_if(unrounded_, [&](const Tensor& tensor) {
        return tensor.data >= buffer->data() && tensor.data < buffer->data() + size_bytes;
      });
    }
    return buffer;
  }
  absl::StatusOr<OwnedTensor> NewScores(int64_t layers, int64_t slots) override {
    return Unrounded(reference_->NewScores(layers, slots));
  }
  absl::StatusOr<OwnedTensor> NewAngles(int64_t rows, int64_t head_dim) override {
    return Unrounded(reference_->NewAngles(rows, head_dim));
  }
  absl::StatusOr<std::unique_ptr<Matrix>> CreateMatrix(DType dtype, int64_t rows,
                                                       int64_t cols) override {
    auto matrix = reference_->CreateMatrix(DType::kF32, rows, cols);
    if (matrix.ok()) written_dtypes_[matrix->get()] = dtype;
    return matrix;
  }
  absl::Status WriteMatrixRows(int64_t row_begin, absl::Span<const uint8_t> bytes,
                               Matrix* matrix) override {
    const DType written = written_dtypes_.at(matrix);
    const size_t element = DTypeSize(written);
    std::vector<float> rounded(bytes.size() / element);
    for (size_t i = 0; i < rounded.size(); ++i) {
      uint16_t bits;
      if (written == DType::kF32) {
        std::memcpy(&rounded[i], bytes.data() + i * element, element);
      } else {
        std::memcpy(&bits, bytes.data() + i * element, element);
        rounded[i] = written == DType::kBF16 ? BF16ToFloat(bits) : F16ToFloat(bits);
      }
      rounded[i] = Round(dtype_, rounded[i]);
    }
    return reference_->WriteMatrixRows(
        row_begin,
        {reinterpret_cast<const uint8_t*>(rounded.data()), rounded.size() * sizeof(float)}, matrix);
  }
  absl::StatusOr<std::unique_ptr<KvPool>> CreateKvPool(const KvPoolShape& shape) override {
    return reference_->CreateKvPool(shape);
  }
  absl::Status Upload(absl::Span<const float> x, const Tensor& y) override {
    std::vector<float> rounded(x.begin(), x.end());
    if (!IsUnrounded(y)) {
      for (float& value : rounded) value = Round(dtype_, value);
    }
    return reference_->Upload(rounded, y);
  }
  absl::Status Download(const Tensor& x, absl::Span<float> y) override {
    return reference_->Download(x, y);
  }
  absl::Status Synchronize() override { return reference_->Synchronize(); }

  absl::Status Embed(const Matrix& table, absl::Span<const int32_t> ids, const Tensor& y) override {
    return reference_->Embed(table, ids, y);
  }
  absl::Status CopyRows(const Tensor& x, absl::Span<const int32_t> x_rows,
                        absl::Span<const int32_t> y_rows, const Tensor& y) override {
    return reference_->CopyRows(x, x_rows, y_rows, y);
  }
  absl::Status Linear(const Tensor& x, const Matrix& weight, const LinearOptions& options,
                      const Tensor& y) override {
    return reference_->Linear(x, weight, options, y);
  }
  absl::Status RmsNorm(const Tensor& x, const Tensor& weight, float eps, const Tensor& y) override {
    return reference_->RmsNorm(x, weight, eps, y);
  }
  absl::Status LayerNorm(const Tensor& x, const Tensor& weight, const Tensor& bias, float eps,
                         const Tensor& y) override {
    return reference_->LayerNorm(x, weight, bias, eps, y);
  }
  absl::Status GatedActivation(const Tensor& x, Activation activation, const Tensor& y) override {
    return reference_->GatedActivation(x, activation, y);
  }
  absl::Status Add(const Tensor& x, const Tensor& y) override { return reference_->Add(x, y); }
  absl::Status RotaryAngles(absl::Span<const int32_t> positions,
                            absl::Span<const float> inverse_frequencies, const Tensor& y) override {
    return reference_->RotaryAngles(positions, inverse_frequencies, y);
  }
  absl::Status WriteKv(const Tensor& qkv, const Tensor* angles, int num_heads,
                       absl::Span<const KvSegment> segments, KvPool* pool) override {
    return reference_->WriteKv(qkv, angles, num_heads, segments, pool);
  }
  absl::Status PagedAttention(const Tensor& q, const KvPool& pool, int num_heads, float scale,
                              absl::Span<const KvSegment> segments, const Tensor& y) override {
    return reference_->PagedAttention(q, pool, num_heads, scale, segments, y);
  }
  absl::Status VisionAttention(const Tensor& qkv, int num_heads, float scale,
                               const Tensor& y) override {
    return reference_->VisionAttention(qkv, num_heads, scale, y);
  }
  absl::Status Patchify(const Tensor& pixels, int patch_size, const Tensor& y) override {
    return reference_->Patchify(pixels, patch_size, y);
  }
  absl::Status GatherSlots(absl::Span<const SlotGather> gathers, KvPool* pool) override {
    return reference_->GatherSlots(gathers, pool);
  }
  absl::Status CopyPages(absl::Span<const PageCopy> copies, KvPool* pool) override {
    return reference_->CopyPages(copies, pool);
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
  const std::unique_ptr<Backend> reference_;
  std::vector<Tensor> unrounded_;  // Also of buffers that are gone.
  std::map<const Matrix*, DType> written_dtypes_;
};

}  // namespace

std::unique_ptr<Backend> MakeRoundedReference(DType dtype, std::unique_ptr<Backend> reference) {
  return std::make_unique<RoundedReference>(dtype, std::move(reference));
}

}  // namespace prefixd
