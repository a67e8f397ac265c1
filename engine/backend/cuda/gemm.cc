#include "engine/backend/cuda/gemm.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/status_macros.h"
#include "engine/backend/cuda/cuda_status.h"
#include "engine/backend/cuda/lt_product.h"

namespace prefixd::cuda {
namespace {

// Rows of ones that a bias of another type than y is multiplied with.
constexpr int64_t kOnesRows = 1024;

class DeviceBuffer {
 public:
  DeviceBuffer() = default;
  DeviceBuffer(DeviceBuffer&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)), bytes_(std::exchange(other.bytes_, 0)) {}
  DeviceBuffer& operator=(DeviceBuffer&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(bytes_, other.bytes_);
    return *this;
  }
  ~DeviceBuffer() {
    if (data_ != nullptr) static_cast<void>(cudaFree(data_));
  }

  static absl::StatusOr<DeviceBuffer> Create(size_t bytes, absl::string_view what) {
    DeviceBuffer buffer;
    PREFIXD_RETURN_IF_ERROR(
        CudaStatus(cudaMalloc(&buffer.data_, bytes), absl::StrCat(bytes, " bytes for ", what)));
    buffer.bytes_ = bytes;
    return buffer;
  }

  void* data() const { return data_; }
  size_t bytes() const { return bytes_; }

 private:
  void* data_ = nullptr;
  size_t bytes_ = 0;
};

// What products of one stream use one after another.
struct StreamMemory {
  DeviceBuffer workspace;
  DeviceBuffer x, y;  // Padded rows.
  // Outgrown ones, which graphs may still name. They double, so they are less than x and y.
  std::vector<DeviceBuffer> outgrown;
};

DeviceMatrix Rows(const DeviceMatrix& matrix, int64_t first, int64_t count) {
  DeviceMatrix rows = matrix;
  rows.data = static_cast<char*>(matrix.data) + first * matrix.stride * ElementSize(matrix.type);
  rows.rows = count;
  return rows;
}

absl::Status CopyRows(const DeviceMatrix& from, const DeviceMatrix& to, int64_t count,
                      cudaStream_t stream) {
  const size_t size = static_cast<size_t>(ElementSize(from.type));
  const size_t width = static_cast<size_t>(from.cols) * size;
  // The stride of a single row may be anything.
  const auto pitch = [&](const DeviceMatrix& matrix) {
    return std::max(static_cast<size_t>(matrix.stride) * size, width);
  };
  return CudaStatus(cudaMemcpy2DAsync(to.data, pitch(to), from.data, pitch(from), width,
                                      static_cast<size_t>(count), cudaMemcpyDeviceToDevice, stream),
                    "padding the rows of a product");
}

void CheckShapes(const DeviceMatrix& x, const DeviceMatrix& weight, const DeviceMatrix* bias,
                 const DeviceMatrix& y) {
  PREFIXD_CHECK(x.cols == weight.cols && x.cols > 0 && weight.rows > 0);
  PREFIXD_CHECK(y.rows == x.rows && y.cols == weight.rows);
  PREFIXD_CHECK(x.type == weight.type && (y.type == x.type || y.type == Element::kF32));
  PREFIXD_CHECK(x.rows <= 1 || (x.stride >= x.cols && y.stride >= y.cols));
  PREFIXD_CHECK(weight.rows == 1 || weight.stride >= weight.cols);
  PREFIXD_CHECK(bias == nullptr || (bias->cols == y.cols && bias->type == x.type));
}

class LtGemm : public Gemm {
 public:
  LtGemm(const GemmOptions& options, std::unique_ptr<LtProduct> product)
      : options_(options), product_(std::move(product)) {}

  absl::Status Run(const DeviceMatrix& x, const DeviceMatrix& weight, const DeviceMatrix* bias,
                   bool accumulate, const DeviceMatrix& y, cudaStream_t stream) override {
    CheckShapes(x, weight, bias, y);
    if (x.rows == 0) return absl::OkStatus();
    PREFIXD_ASSIGN_OR_RETURN(StreamMemory* const memory, MemoryOf(stream));
    // cuBLASLt adds a bias of y's type only. As a product of its own, of K = 1, it is exact.
    const DeviceMatrix* const own_bias = bias != nullptr && bias->type != y.type ? bias : nullptr;
    const DeviceMatrix* const fused_bias = own_bias == nullptr ? bias : nullptr;
    if (options_.deterministic) {
      for (int64_t row = 0; row < x.rows; row += kDeterministicRows) {
        const int64_t count = std::min<int64_t>(kDeterministicRows, x.rows - row);
        PREFIXD_RETURN_IF_ERROR(RunPadded(Rows(x, row, count), weight, fused_bias, accumulate,
                                          Rows(y, row, count), memory, stream));
      }
    } else {
      PREFIXD_RETURN_IF_ERROR(
          product_->Run(x, weight, fused_bias, accumulate, y, memory->workspace.data(), stream));
    }
    return own_bias == nullptr ? absl::OkStatus() : AddBias(*own_bias, y, memory, stream);
  }

 private:
  absl::StatusOr<StreamMemory*> MemoryOf(cudaStream_t stream) {
    const auto known = memory_.find(stream);
    if (known != memory_.end()) return known->second.get();
    auto memory = std::make_unique<StreamMemory>();
    PREFIXD_ASSIGN_OR_RETURN(
        memory->workspace,
        DeviceBuffer::Create(std::max<size_t>(1, options_.workspace_bytes), "cuBLASLt"));
    return memory_.emplace(stream, std::move(memory)).first->second.get();
  }

  // A matrix of kDeterministicRows rows in `buffer`, which grows to it.
  absl::StatusOr<DeviceMatrix> Scratch(const DeviceMatrix& like, DeviceBuffer* buffer,
                                       StreamMemory* memory, cudaStream_t stream) {
    const int64_t vector = kVectorBytes / ElementSize(like.type);
    DeviceMatrix scratch = {.type = like.type,
                            .rows = kDeterministicRows,
                            .cols = like.cols,
                            .stride = (like.cols + vector - 1) / vector * vector};
    const size_t bytes =
        static_cast<size_t>(scratch.rows * scratch.stride * ElementSize(scratch.type));
    if (buffer->bytes() < bytes) {
      PREFIXD_ASSIGN_OR_RETURN(
          DeviceBuffer larger,
          DeviceBuffer::Create(std::max(bytes, 2 * buffer->bytes()), "padded rows"));
      // Padding rows are computed with, though nobody reads what comes of them.
      PREFIXD_RETURN_IF_ERROR(
          CudaStatus(cudaMemsetAsync(larger.data(), 0, larger.bytes(), stream), "padded rows"));
      memory->outgrown.push_back(std::exchange(*buffer, std::move(larger)));
    }
    scratch.data = buffer->data();
    return scratch;
  }

  // At most kDeterministicRows rows as a product of exactly so many. Operands that are less aligned
  // than the scratch would need another algorithm, so they go through the scratch, too.
  absl::Status RunPadded(const DeviceMatrix& x, const DeviceMatrix& weight,
                         const DeviceMatrix* bias, bool accumulate, const DeviceMatrix& y,
                         StreamMemory* memory, cudaStream_t stream) {
    const bool full = x.rows == kDeterministicRows;
    DeviceMatrix padded_x = x, padded_y = y;
    if (!full || RowAlignment(x) < kVectorBytes) {
      PREFIXD_ASSIGN_OR_RETURN(padded_x, Scratch(x, &memory->x, memory, stream));
      PREFIXD_RETURN_IF_ERROR(CopyRows(x, padded_x, x.rows, stream));
    }
    const bool copy_y = !full || RowAlignment(y) < kVectorBytes;
    if (copy_y) {
      PREFIXD_ASSIGN_OR_RETURN(padded_y, Scratch(y, &memory->y, memory, stream));
      if (accumulate) PREFIXD_RETURN_IF_ERROR(CopyRows(y, padded_y, y.rows, stream));
    }
    PREFIXD_RETURN_IF_ERROR(product_->Run(padded_x, weight, bias, accumulate, padded_y,
                                          memory->workspace.data(), stream));
    return copy_y ? CopyRows(padded_y, y, y.rows, stream) : absl::OkStatus();
  }

  absl::Status AddBias(const DeviceMatrix& bias, const DeviceMatrix& y, StreamMemory* memory,
                       cudaStream_t stream) {
    PREFIXD_ASSIGN_OR_RETURN(void* const ones, Ones(bias.type));
    const DeviceMatrix weight = {bias.data, bias.type, bias.cols, 1, 1};
    for (int64_t row = 0; row < y.rows; row += kOnesRows) {
      const int64_t count = std::min(kOnesRows, y.rows - row);
      PREFIXD_RETURN_IF_ERROR(product_->Run({ones, bias.type, count, 1, 1}, weight, nullptr,
                                            /*accumulate=*/true, Rows(y, row, count),
                                            memory->workspace.data(), stream));
    }
    return absl::OkStatus();
  }

  absl::StatusOr<void*> Ones(Element type) {
    DeviceBuffer& buffer = type == Element::kF16 ? ones_f16_ : ones_bf16_;
    if (buffer.data() == nullptr) {
      const std::vector<uint16_t> ones(kOnesRows, type == Element::kF16 ? 0x3C00 : 0x3F80);
      PREFIXD_ASSIGN_OR_RETURN(DeviceBuffer filled,
                               DeviceBuffer::Create(ones.size() * sizeof(uint16_t), "ones"));
      PREFIXD_RETURN_IF_ERROR(CudaStatus(
          cudaMemcpy(filled.data(), ones.data(), filled.bytes(), cudaMemcpyHostToDevice), "ones"));
      buffer = std::move(filled);
    }
    return buffer.data();
  }

  const GemmOptions options_;
  const std::unique_ptr<LtProduct> product_;
  absl::flat_hash_map<cudaStream_t, std::unique_ptr<StreamMemory>> memory_;
  DeviceBuffer ones_f16_, ones_bf16_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Gemm>> Gemm::Create(const GemmOptions& options) {
  PREFIXD_ASSIGN_OR_RETURN(std::unique_ptr<LtProduct> product,
                           LtProduct::Create(!options.deterministic, options.workspace_bytes));
  return std::make_unique<LtGemm>(options, std::move(product));
}

}  // namespace prefixd::cuda
