#include "engine/models/weight_reader.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/status_macros.h"
#include "engine/tensor/half.h"

namespace prefixd {
namespace {

constexpr uint64_t kReadBytes = 4 << 20;

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

// `out` = the rows of `in` with the halves of every group of `group` rows one behind the other
// again.
void Deinterleave(absl::Span<const uint8_t> in, size_t row_bytes, size_t group, uint8_t* out) {
  const size_t half = group / 2, rows = in.size() / row_bytes;
  for (size_t row = 0; row < rows; ++row) {
    const size_t begin = row / group * group, a = (row - begin) / half, i = (row - begin) % half;
    std::memcpy(out + row * row_bytes, in.data() + (begin + 2 * i + a) * row_bytes, row_bytes);
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

absl::StatusOr<StackedMatrix> WeightReader::ReadStacked(absl::Span<const TensorInfo* const> parts) {
  StackedMatrix stacked;
  for (size_t begin = 0, end; begin < parts.size(); begin = end) {
    end = begin + 1;
    while (end < parts.size() && parts[end]->dtype == parts[begin]->dtype) ++end;
    PREFIXD_ASSIGN_OR_RETURN(std::unique_ptr<Matrix> matrix,
                             ReadMatrix(parts.subspan(begin, end - begin)));
    stacked.Append(std::move(matrix));
  }
  return stacked;
}

absl::Status WeightReader::ReadRows(const TensorInfo& part, int64_t row_begin, Matrix* matrix) {
  const auto row_bytes = static_cast<uint64_t>(RowBytes(matrix->dtype(), matrix->cols()));
  const int64_t group = std::max<int64_t>(1, part.interleaved_rows);
  PREFIXD_CHECK(part.shape[0] % group == 0);
  const int64_t rows_per_chunk =
      std::max<int64_t>(1, static_cast<int64_t>(kReadBytes / row_bytes) / group) * group;
  for (int64_t row = 0; row < part.shape[0]; row += rows_per_chunk) {
    const int64_t count = std::min(rows_per_chunk, part.shape[0] - row);
    PREFIXD_RETURN_IF_ERROR(ReadChunk(part, static_cast<uint64_t>(row) * row_bytes,
                                      static_cast<uint64_t>(count) * row_bytes));
    if (group > 1) {
      ordered_.resize(chunk_.size());
      Deinterleave(chunk_, row_bytes, static_cast<size_t>(group), ordered_.data());
      std::swap(chunk_, ordered_);
    }
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
  PREFIXD_CHECK(!IsQuantized(dtype));
  for (uint64_t offset = 0; offset < part.size_bytes; offset += chunk_.size()) {
    PREFIXD_RETURN_IF_ERROR(
        ReadChunk(part, offset, std::min(kReadBytes, part.size_bytes - offset)));
    ToFloats(dtype, chunk_, &out[offset / DTypeSize(dtype)]);
  }
  if (part.interleaved_rows > 0) {  // A bias: its elements are its rows.
    const std::vector<float> stored(out.begin(), out.end());
    const auto bytes = absl::MakeConstSpan(reinterpret_cast<const uint8_t*>(stored.data()),
                                           stored.size() * sizeof(float));
    Deinterleave(bytes, sizeof(float), static_cast<size_t>(part.interleaved_rows),
                 reinterpret_cast<uint8_t*>(out.data()));
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
