#include "engine/models/weight_reader.h"

#include <algorithm>
#include <bit>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/status_macros.h"
#include "engine/tensor/half.h"

namespace prefixd {
namespace {

constexpr uint64_t kChunkBytes = 4 << 20;

uint16_t Load16(const uint8_t* bytes) {
  return static_cast<uint16_t>(bytes[0] | (uint16_t{bytes[1]} << 8));
}

float Load32(const uint8_t* bytes) {
  return std::bit_cast<float>(uint32_t{Load16(bytes)} | (uint32_t{Load16(bytes + 2)} << 16));
}

void ToFloats(DType dtype, absl::Span<const uint8_t> bytes, float* out) {
  const size_t count = bytes.size() / DTypeSize(dtype);
  for (size_t i = 0; i < count; ++i) {
    if (dtype == DType::kF32) out[i] = Load32(&bytes[4 * i]);
    if (dtype == DType::kF16) out[i] = F16ToFloat(Load16(&bytes[2 * i]));
    if (dtype == DType::kBF16) out[i] = BF16ToFloat(Load16(&bytes[2 * i]));
  }
}

}  // namespace

WeightReader::WeightReader(const Checkpoint& checkpoint, Backend* backend,
                           const LoadProgress& progress, uint64_t bytes_total)
    : checkpoint_(checkpoint), backend_(backend), progress_(progress), bytes_total_(bytes_total) {}

absl::StatusOr<std::unique_ptr<Matrix>> WeightReader::ReadMatrix(
    absl::Span<const TensorInfo* const> parts) {
  int64_t rows = 0;
  const int64_t cols =
      static_cast<int64_t>(NumElements(absl::MakeConstSpan(parts[0]->shape).subspan(1)));
  for (const TensorInfo* part : parts) {
    if (part->dtype != parts[0]->dtype) {
      return absl::InvalidArgumentError(absl::StrCat(
          checkpoint_.file_path(*part), ": tensor ", part->name, ": dtype ", part->dtype,
          ", expected ", parts[0]->dtype, " as that of ", parts[0]->name));
    }
    rows += part->shape[0];
  }
  PREFIXD_ASSIGN_OR_RETURN(std::unique_ptr<Matrix> matrix,
                           backend_->CreateMatrix(*ComputableDType(parts[0]->dtype), rows, cols));
  int64_t row = 0;
  for (const TensorInfo* part : parts) {
    PREFIXD_RETURN_IF_ERROR(ReadRows(*part, row, matrix.get()));
    row += part->shape[0];
  }
  return matrix;
}

absl::Status WeightReader::ReadRows(const TensorInfo& part, int64_t row_begin, Matrix* matrix) {
  const uint64_t row_bytes = static_cast<uint64_t>(matrix->cols()) * DTypeSize(matrix->dtype());
  const int64_t rows_per_chunk =
      std::max<int64_t>(1, static_cast<int64_t>(kChunkBytes / row_bytes));
  for (int64_t row = 0; row < part.shape[0]; row += rows_per_chunk) {
    const int64_t count = std::min(rows_per_chunk, part.shape[0] - row);
    PREFIXD_RETURN_IF_ERROR(ReadChunk(part, static_cast<uint64_t>(row) * row_bytes,
                                      static_cast<uint64_t>(count) * row_bytes));
    PREFIXD_RETURN_IF_ERROR(backend_->WriteMatrixRows(row_begin + row, chunk_, matrix));
  }
  return absl::OkStatus();
}

absl::StatusOr<OwnedTensor> WeightReader::ReadTensor(int64_t rows, int64_t cols,
                                                     absl::Span<const TensorInfo* const> parts) {
  std::vector<float> host(static_cast<size_t>(rows * cols));
  size_t begin = 0;
  for (const TensorInfo* part : parts) {
    const size_t count = NumElements(part->shape);
    PREFIXD_CHECK(count <= host.size() - begin);
    PREFIXD_RETURN_IF_ERROR(ReadFloats(*part, absl::MakeSpan(host).subspan(begin, count)));
    begin += count;
  }
  PREFIXD_CHECK(begin == host.size());
  PREFIXD_ASSIGN_OR_RETURN(OwnedTensor tensor, backend_->NewTensor(rows, cols));
  PREFIXD_RETURN_IF_ERROR(backend_->Upload(host, tensor.view));
  return tensor;
}

absl::Status WeightReader::ReadFloats(const TensorInfo& part, absl::Span<float> out) {
  const DType dtype = *ComputableDType(part.dtype);
  for (uint64_t offset = 0; offset < part.size_bytes; offset += chunk_.size()) {
    PREFIXD_RETURN_IF_ERROR(
        ReadChunk(part, offset, std::min(kChunkBytes, part.size_bytes - offset)));
    ToFloats(dtype, chunk_, &out[offset / DTypeSize(dtype)]);
  }
  return absl::OkStatus();
}

absl::Status WeightReader::ReadChunk(const TensorInfo& part, uint64_t offset, size_t size) {
  chunk_.resize(size);
  return ReadBytes(part, offset, absl::MakeSpan(chunk_));
}

absl::Status WeightReader::ReadBytes(const TensorInfo& part, uint64_t offset,
                                     absl::Span<uint8_t> out) {
  PREFIXD_RETURN_IF_ERROR(checkpoint_.Read(part, offset, out));
  bytes_done_ += out.size();
  if (progress_ && !progress_(bytes_done_, bytes_total_)) {
    return absl::CancelledError("loading was given up");
  }
  return absl::OkStatus();
}

}  // namespace prefixd
