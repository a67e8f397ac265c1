#include "engine/backend/cuda/cuda_backend.h"

#include <algorithm>
#include <limits>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/checked_math.h"
#include "base/status_macros.h"
#include "engine/backend/cuda/cuda_backend_impl.h"
#include "engine/backend/cuda/cuda_convert.h"
#include "engine/tensor/quantized.h"

namespace prefixd::cuda {
namespace {

std::optional<uint64_t> Product(std::initializer_list<int64_t> factors) {
  std::optional<uint64_t> product = 1;
  for (const int64_t factor : factors) {
    if (product.has_value()) product = CheckedMul(*product, static_cast<uint64_t>(factor));
  }
  if (product.has_value() && *product > std::numeric_limits<int64_t>::max()) return std::nullopt;
  return product;
}

DeviceRows RowsOf(const Tensor& tensor) {
  const int64_t element = static_cast<int64_t>(DTypeSize(tensor.dtype));
  return {.data = tensor.data,
          .rows = tensor.rows,
          .cols = tensor.cols,
          .element_bytes = element,
          .stride_bytes = tensor.row_stride * element};
}

}  // namespace

CudaBackend::CudaBackend(const CudaBackendOptions& options) : options_(options) {
  info_.name = "cuda";
  info_.activation_dtype = options.activation_dtype;
  info_.default_kv_dtype = options.activation_dtype;
  info_.in_flight = CudaDraws::kInFlight;
  info_.device = options.device_name;
}

absl::StatusOr<std::unique_ptr<CudaBackend>> CudaBackend::Create(
    const CudaBackendOptions& options) {
  std::unique_ptr<CudaBackend> backend(new CudaBackend(options));
  PREFIXD_RETURN_IF_ERROR(backend->Open());
  return backend;
}

absl::Status CudaBackend::Open() {
  PREFIXD_RETURN_IF_ERROR(Enter());
  PREFIXD_ASSIGN_OR_RETURN(streams_, CudaStreams::Create(&health_));
  PREFIXD_ASSIGN_OR_RETURN(queues_, CudaQueues::Create(&health_, streams_.get()));
  PREFIXD_ASSIGN_OR_RETURN(
      memory_, DeviceMemory::Create(options_.device, &health_, streams_.get(), queues_.get(),
                                    [this] { graphs_.Drop(); }));
  PREFIXD_ASSIGN_OR_RETURN(
      ring_, StagingRing::Create(options_.staging_bytes, &health_, streams_.get(), queues_.get(),
                                 memory_.get()));
  PREFIXD_ASSIGN_OR_RETURN(transfers_,
                           Transfers::Create(options_.transfer_bytes, &health_, queues_.get()));
  PREFIXD_ASSIGN_OR_RETURN(draws_,
                           CudaDraws::Create(&health_, streams_.get(), memory_.get(), ring_.get()));
  step_ = std::make_unique<CudaStep>(ring_.get(), memory_.get(), &health_);
  auto gemm = Gemm::Create(
      {.deterministic = options_.deterministic, .workspace_bytes = options_.workspace_bytes});
  if (!gemm.ok()) return health_.Check(gemm.status());
  gemm_ = *std::move(gemm);
  return absl::OkStatus();
}

CudaBackend::~CudaBackend() {
  if (streams_ != nullptr) (void)streams_->Synchronize();
}

absl::Status CudaBackend::Enter() {
  thread_local int current = -1;
  PREFIXD_RETURN_IF_ERROR(health_.status());
  if (current == options_.device) return absl::OkStatus();
  PREFIXD_RETURN_IF_ERROR(Check(cudaSetDevice(options_.device), "choosing the device"));
  current = options_.device;
  return absl::OkStatus();
}

uint64_t CudaBackend::AvailableMemory() const {
  size_t free_bytes = 0, total_bytes = 0;
  if (cudaMemGetInfo(&free_bytes, &total_bytes) != cudaSuccess) return 0;
  // For scratch, recordings, image features and the workspaces of products.
  const size_t reserve = std::min<size_t>(free_bytes / 8, size_t{1} << 30);
  return free_bytes - reserve;
}

absl::StatusOr<Buffer> CudaBackend::Allocate(size_t size_bytes) {
  PREFIXD_RETURN_IF_ERROR(Enter());
  return memory_->Allocate(size_bytes, DeviceMemory::Content::kZero, "a tensor");
}

absl::StatusOr<OwnedTensor> CudaBackend::NewMatrix(DType dtype, int64_t rows, int64_t cols) {
  PREFIXD_CHECK(rows >= 0 && cols >= 0 && cols <= std::numeric_limits<int64_t>::max() - 64);
  const int64_t per_line = 64 / static_cast<int64_t>(DTypeSize(dtype));
  const int64_t stride = (cols + per_line - 1) / per_line * per_line;
  const auto bytes = Product({rows, stride, static_cast<int64_t>(DTypeSize(dtype))});
  if (!bytes.has_value()) {
    return absl::ResourceExhaustedError(
        absl::StrCat("a matrix of ", rows, " x ", cols, " does not fit in memory"));
  }
  PREFIXD_ASSIGN_OR_RETURN(Buffer buffer, Allocate(*bytes));
  const Tensor view = {buffer.data(), dtype, rows, cols, stride};
  return OwnedTensor{.buffer = std::move(buffer), .view = view};
}

absl::StatusOr<OwnedTensor> CudaBackend::NewScores(int64_t layers, int64_t slots) {
  return NewMatrix(DType::kF32, layers, slots);
}

absl::StatusOr<OwnedTensor> CudaBackend::NewAngles(int64_t rows, int64_t head_dim) {
  return NewMatrix(DType::kF32, rows, head_dim);
}

absl::StatusOr<std::unique_ptr<Matrix>> CudaBackend::CreateMatrix(DType dtype, int64_t rows,
                                                                  int64_t cols) {
  PREFIXD_CHECK(dtype != DType::kF64 && rows > 0 && cols > 0);
  PREFIXD_CHECK(cols % BlockOf(dtype).elements == 0);
  PREFIXD_RETURN_IF_ERROR(Enter());
  const DType stored = info_.activation_dtype;
  const auto bytes =
      Product({rows, CudaMatrix::Stride(stored, cols), static_cast<int64_t>(DTypeSize(stored))});
  if (!bytes.has_value()) {
    return absl::ResourceExhaustedError(
        absl::StrCat("weights of ", rows, " x ", cols, " do not fit in memory"));
  }
  PREFIXD_ASSIGN_OR_RETURN(Buffer memory,
                           memory_->Allocate(*bytes, DeviceMemory::Content::kUndefined, "weights"));
  return std::make_unique<CudaMatrix>(dtype, stored, rows, cols, std::move(memory));
}

absl::Status CudaBackend::WriteMatrixRows(int64_t row_begin, absl::Span<const uint8_t> bytes,
                                          Matrix* matrix) {
  PREFIXD_RETURN_IF_ERROR(Enter());
  const auto& target = *static_cast<const CudaMatrix*>(matrix);
  const DType dtype = target.dtype();
  const int64_t row_bytes = RowBytes(dtype, target.cols());
  const int64_t num_rows = static_cast<int64_t>(bytes.size()) / row_bytes;
  PREFIXD_CHECK(num_rows * row_bytes == static_cast<int64_t>(bytes.size()));
  PREFIXD_CHECK(row_begin >= 0 && row_begin + num_rows <= target.rows());
  PREFIXD_RETURN_IF_ERROR(memory_->Use({target.data()}).status());
  const int64_t stored = static_cast<int64_t>(DTypeSize(target.stored()));
  // Blocks are widened a row at a time; parts of a row come one after the other.
  std::vector<float> widened(IsQuantized(dtype) ? target.cols() : 0);
  int64_t widened_row = -1;
  return transfers_->In({.data = target.data() + row_begin * target.stride() * stored,
                         .rows = num_rows,
                         .cols = target.cols(),
                         .element_bytes = stored,
                         .stride_bytes = target.stride() * stored},
                        [&](int64_t row, int64_t col, int64_t num_cols, std::byte* out) {
                          const uint8_t* const elements = bytes.data() + row * row_bytes;
                          if (!IsQuantized(dtype)) {
                            return ConvertElements(dtype, elements + RowBytes(dtype, col),
                                                   target.stored(), out, num_cols);
                          }
                          if (row != widened_row) {
                            DequantizeRow(dtype, elements, target.cols(), widened.data());
                            widened_row = row;
                          }
                          ConvertElements(DType::kF32, widened.data() + col, target.stored(), out,
                                          num_cols);
                        });
}

absl::StatusOr<std::unique_ptr<KvPool>> CudaBackend::CreateKvPool(const KvPoolShape& shape) {
  PREFIXD_CHECK(shape.num_pages >= 0 && shape.num_kv_heads >= 1 && shape.head_dim >= 1);
  PREFIXD_RETURN_IF_ERROR(Enter());
  const bool known = shape.dtype != DType::kF64 && !IsQuantized(shape.dtype);
  if (!known || (info_.activation_dtype != DType::kF32 && shape.dtype != info_.activation_dtype)) {
    return absl::InvalidArgumentError(absl::StrCat("backend cuda with activations in ",
                                                   DTypeName(info_.activation_dtype),
                                                   " keeps no KV in ", DTypeName(shape.dtype)));
  }
  const auto bytes = Product({shape.num_pages, 2, shape.num_kv_heads, kPageSlots, shape.head_dim,
                              static_cast<int64_t>(DTypeSize(shape.dtype))});
  if (!bytes.has_value()) {
    return absl::ResourceExhaustedError(
        absl::StrCat(shape.num_pages, " pages of KV do not fit in memory"));
  }
  PREFIXD_ASSIGN_OR_RETURN(
      Buffer memory, memory_->Allocate(*bytes, DeviceMemory::Content::kUndefined, "KV pages"));
  Buffer positions;
  if (shape.keeps_positions && shape.num_pages > 0) {
    const size_t size = static_cast<size_t>(shape.num_pages) * kPageSlots * sizeof(int32_t);
    PREFIXD_ASSIGN_OR_RETURN(
        positions, memory_->Allocate(size, DeviceMemory::Content::kZero, "positions of KV pages"));
  }
  return std::make_unique<CudaKvPool>(shape, std::move(memory), std::move(positions));
}

absl::Status CudaBackend::Upload(absl::Span<const float> x, const Tensor& y) {
  PREFIXD_CHECK(static_cast<int64_t>(x.size()) == y.rows * y.cols);
  PREFIXD_RETURN_IF_ERROR(Enter());
  PREFIXD_RETURN_IF_ERROR(memory_->Use({y.data}).status());
  return transfers_->In(RowsOf(y), [&](int64_t row, int64_t col, int64_t cols, std::byte* out) {
    ConvertElements(DType::kF32, x.data() + row * y.cols + col, y.dtype, out, cols);
  });
}

absl::Status CudaBackend::Download(const Tensor& x, absl::Span<float> y) {
  PREFIXD_CHECK(static_cast<int64_t>(y.size()) == x.rows * x.cols);
  PREFIXD_RETURN_IF_ERROR(Enter());
  PREFIXD_RETURN_IF_ERROR(memory_->Use({x.data}).status());
  return transfers_->Out(RowsOf(x), [&](int64_t row, int64_t col, int64_t cols, std::byte* in) {
    ConvertElements(x.dtype, in, DType::kF32, y.data() + row * x.cols + col, cols);
  });
}

absl::Status CudaBackend::Synchronize() {
  PREFIXD_RETURN_IF_ERROR(Enter());
  return streams_->Synchronize();
}

void CudaBackend::SelectQueue(Queue queue) {
  if (!Enter().ok()) return;
  (void)queues_->Select(queue == Queue::kImage);  // An error loses the device: the next op says so.
}

absl::StatusOr<const std::byte*> CudaBackend::Send(const HostPack& pack) {
  if (memory_->recording()) {
    return absl::FailedPreconditionError("a recorded pass takes inputs that were not announced");
  }
  may_record_ = false;
  return ring_->Send(pack.bytes());
}

absl::StatusOr<std::unique_ptr<Backend>> CreateCudaBackend(const CudaBackendOptions& options) {
  PREFIXD_ASSIGN_OR_RETURN(std::unique_ptr<Backend> backend, CudaBackend::Create(options));
  return backend;
}

}  // namespace prefixd::cuda
