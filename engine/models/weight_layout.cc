#include "engine/models/weight_layout.h"

#include <algorithm>
#include <cstring>

#include "base/check.h"
#include "base/status_macros.h"

namespace prefixd {
namespace {

constexpr int64_t kChunkBytes = 4 << 20;

DType PlainTypeOf(const TensorInfo& part) {
  const DType dtype = *ComputableDType(part.dtype);
  PREFIXD_CHECK(!IsQuantized(dtype));
  return dtype;
}

}  // namespace

std::vector<RowRange> RowsOfPerHeadQkv(int num_heads, int64_t head_dim) {
  std::vector<RowRange> ranges;
  for (int64_t part = 0; part < 3; ++part) {
    for (int64_t head = 0; head < num_heads; ++head) {
      ranges.push_back({.begin = (head * 3 + part) * head_dim, .count = head_dim});
    }
  }
  return ranges;
}

absl::StatusOr<std::unique_ptr<Matrix>> ReadMatrixRanges(const TensorInfo& part,
                                                         absl::Span<const RowRange> ranges,
                                                         WeightReader* reader) {
  const DType dtype = PlainTypeOf(part);
  const int64_t cols = part.shape[1], row_bytes = RowBytes(dtype, cols);
  int64_t num_rows = 0;
  for (const RowRange& range : ranges) num_rows += range.count;
  PREFIXD_ASSIGN_OR_RETURN(std::unique_ptr<Matrix> matrix,
                           reader->backend()->CreateMatrix(dtype, num_rows, cols));
  const int64_t chunk_rows = std::max<int64_t>(1, kChunkBytes / row_bytes);
  std::vector<uint8_t> chunk;
  int64_t row = 0;
  for (const RowRange& range : ranges) {
    PREFIXD_CHECK(range.begin >= 0 && range.begin + range.count <= part.shape[0]);
    for (int64_t done = 0; done < range.count; done += chunk_rows) {
      const int64_t count = std::min(chunk_rows, range.count - done);
      chunk.resize(static_cast<size_t>(count * row_bytes));
      PREFIXD_RETURN_IF_ERROR(reader->ReadBytes(
          part, static_cast<uint64_t>((range.begin + done) * row_bytes), absl::MakeSpan(chunk)));
      PREFIXD_RETURN_IF_ERROR(reader->backend()->WriteMatrixRows(row, chunk, matrix.get()));
      row += count;
    }
  }
  return matrix;
}

absl::StatusOr<OwnedTensor> ReadVectorRanges(const TensorInfo& part,
                                             absl::Span<const RowRange> ranges,
                                             WeightReader* reader) {
  std::vector<float> stored(NumElements(part.shape)), ordered;
  PREFIXD_RETURN_IF_ERROR(reader->ReadFloats(part, absl::MakeSpan(stored)));
  for (const RowRange& range : ranges) {
    PREFIXD_CHECK(range.begin >= 0 &&
                  range.begin + range.count <= static_cast<int64_t>(stored.size()));
    ordered.insert(ordered.end(), stored.begin() + range.begin,
                   stored.begin() + range.begin + range.count);
  }
  PREFIXD_ASSIGN_OR_RETURN(OwnedTensor tensor,
                           reader->backend()->NewTensor(1, static_cast<int64_t>(ordered.size())));
  PREFIXD_RETURN_IF_ERROR(reader->backend()->Upload(ordered, tensor.view));
  return tensor;
}

absl::StatusOr<std::unique_ptr<Matrix>> ReadTransposedMatrix(const TensorInfo& part,
                                                             WeightReader* reader) {
  const DType dtype = PlainTypeOf(part);
  const int64_t inputs = part.shape[0], outputs = part.shape[1];
  const size_t size = DTypeSize(dtype);
  std::vector<uint8_t> stored(part.size_bytes);
  for (uint64_t offset = 0; offset < part.size_bytes; offset += kChunkBytes) {
    const uint64_t count = std::min<uint64_t>(kChunkBytes, part.size_bytes - offset);
    PREFIXD_RETURN_IF_ERROR(
        reader->ReadBytes(part, offset, absl::MakeSpan(stored).subspan(offset, count)));
  }
  PREFIXD_ASSIGN_OR_RETURN(std::unique_ptr<Matrix> matrix,
                           reader->backend()->CreateMatrix(dtype, outputs, inputs));
  // Some rows of the result at a time: they read neighbouring bytes of the file.
  const int64_t chunk_rows =
      std::clamp<int64_t>(kChunkBytes / RowBytes(dtype, inputs), 1, int64_t{64});
  std::vector<uint8_t> chunk;
  for (int64_t row = 0; row < outputs; row += chunk_rows) {
    const int64_t count = std::min(chunk_rows, outputs - row);
    chunk.resize(static_cast<size_t>(count * inputs) * size);
    for (int64_t in = 0; in < inputs; ++in) {
      const uint8_t* const from = &stored[static_cast<size_t>(in * outputs + row) * size];
      for (int64_t out = 0; out < count; ++out) {
        std::memcpy(&chunk[static_cast<size_t>(out * inputs + in) * size],
                    from + static_cast<size_t>(out) * size, size);
      }
    }
    PREFIXD_RETURN_IF_ERROR(reader->backend()->WriteMatrixRows(row, chunk, matrix.get()));
  }
  return matrix;
}

absl::StatusOr<LayerNormWeights> ReadLayerNorm(const TensorPair& pair, WeightReader* reader) {
  const int64_t size = pair.weight->shape[0];
  LayerNormWeights norm;
  PREFIXD_ASSIGN_OR_RETURN(norm.weight, reader->ReadTensor(1, size, {pair.weight}));
  if (pair.bias != nullptr) {
    PREFIXD_ASSIGN_OR_RETURN(norm.bias, reader->ReadTensor(1, size, {pair.bias}));
  } else {
    PREFIXD_ASSIGN_OR_RETURN(norm.bias, reader->backend()->NewTensor(1, size));
  }
  return norm;
}

absl::StatusOr<LinearWeights> ReadLinear(const TensorPair& pair, WeightReader* reader) {
  LinearWeights linear;
  PREFIXD_ASSIGN_OR_RETURN(linear.weight, reader->ReadMatrix({pair.weight}));
  if (pair.bias != nullptr) {
    PREFIXD_ASSIGN_OR_RETURN(linear.bias,
                             reader->ReadTensor(1, pair.weight->shape[0], {pair.bias}));
  }
  return linear;
}

}  // namespace prefixd
