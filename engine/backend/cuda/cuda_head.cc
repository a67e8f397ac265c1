// HeadLogprobs of the CUDA backend: the vocabulary goes by in tiles, each a product of its own into
// one scratch matrix, whose sums a kernel folds.
#include <algorithm>
#include <numeric>
#include <vector>

#include "base/check.h"
#include "base/status_macros.h"
#include "engine/backend/cuda/cuda_backend_impl.h"
#include "engine/backend/cuda/kernels/head_logprobs.h"
#include "engine/backend/cuda/kernels/row_ops.h"

namespace prefixd::cuda {
namespace {

// The rows that are named, and where the pairs of each begin.
struct NamedRows {
  explicit NamedRows(absl::Span<const int32_t> of_pairs) {
    for (size_t i = 0; i < of_pairs.size(); ++i) {
      if (i > 0 && of_pairs[i] == of_pairs[i - 1]) continue;
      PREFIXD_CHECK(i == 0 || of_pairs[i] > of_pairs[i - 1]);
      rows.push_back(of_pairs[i]);
      begins.push_back(static_cast<int32_t>(i));
    }
    begins.push_back(static_cast<int32_t>(of_pairs.size()));
  }

  std::vector<int32_t> rows, begins;
};

// Columns [begin, begin + count) of a product are the rows of the weight.
DeviceMatrix WeightRows(DeviceMatrix weight, int64_t begin, int64_t count) {
  weight.data =
      static_cast<std::byte*>(weight.data) + begin * weight.stride * ElementSize(weight.type);
  weight.rows = count;
  return weight;
}

}  // namespace

// The named rows one behind the other: where they lie, or copied.
absl::StatusOr<DeviceMatrix> CudaBackend::CompactRows(const Tensor& x,
                                                      absl::Span<const int32_t> rows,
                                                      const int32_t* device_rows,
                                                      const int32_t* places) {
  const int64_t count = static_cast<int64_t>(rows.size());
  if (rows.back() - rows.front() + 1 == count) return ViewOf(x.Rows(rows.front(), count));
  DeviceMatrix compact = ViewOf(x);
  compact.rows = count;
  compact.stride = CudaMatrix::Stride(x.dtype, x.cols);
  PREFIXD_ASSIGN_OR_RETURN(
      compact.data,
      head_rows_.Ensure(static_cast<size_t>(count * compact.stride * ElementSize(compact.type)),
                        memory_.get()));
  PREFIXD_ASSIGN_OR_RETURN(const cudaStream_t stream, memory_->Use({x.data, compact.data}));
  PREFIXD_RETURN_IF_ERROR(
      Check(LaunchCopyRows(ViewOf(x), device_rows, places, count, compact, stream), "CopyRows"));
  return compact;
}

absl::Status CudaBackend::HeadLogprobs(const Tensor& x, const Matrix& weight,
                                       absl::Span<const int32_t> rows,
                                       absl::Span<const int32_t> columns, absl::Span<float> y) {
  PREFIXD_CHECK(rows.size() == columns.size() && rows.size() == y.size());
  PREFIXD_CHECK(x.cols == weight.cols() && rows.size() <= INT32_MAX);
  PREFIXD_RETURN_IF_ERROR(Enter());
  if (y.empty()) return absl::OkStatus();
  PREFIXD_CHECK(rows.front() >= 0 && rows.back() < x.rows);  // They ascend.
  for (const int32_t column : columns) PREFIXD_CHECK(column >= 0 && column < weight.rows());
  const NamedRows named(rows);
  std::vector<int32_t> places(named.rows.size());
  std::iota(places.begin(), places.end(), 0);
  HostPack pack;
  const size_t row_offset = pack.Add(named.rows);
  const size_t place_offset = pack.Add(places);
  const size_t begin_offset = pack.Add(named.begins);
  const size_t column_offset = pack.Add(columns);
  PREFIXD_ASSIGN_OR_RETURN(const std::byte* const base, Send(pack));
  PREFIXD_ASSIGN_OR_RETURN(const DeviceMatrix compact,
                           CompactRows(x, named.rows, ArrayAt<int32_t>(base, row_offset),
                                       ArrayAt<int32_t>(base, place_offset)));

  const auto& matrix = static_cast<const CudaMatrix&>(weight);
  const size_t sums_size = named.rows.size() * sizeof(double);
  PREFIXD_ASSIGN_OR_RETURN(std::byte* const sums,
                           logprobs_.Ensure(sums_size + y.size() * sizeof(float), memory_.get()));
  HeadTile tile = {.logits = {.type = Element::kF32,  // Not rounded to the activation dtype.
                              .rows = static_cast<int64_t>(named.rows.size()),
                              .stride = std::min(kHeadTile, (weight.rows() + 3) / 4 * 4)},
                   .begins = ArrayAt<int32_t>(base, begin_offset),
                   .columns = ArrayAt<int32_t>(base, column_offset),
                   .log_sums = reinterpret_cast<double*>(sums),
                   .y = reinterpret_cast<float*>(sums + sums_size)};
  PREFIXD_ASSIGN_OR_RETURN(
      tile.logits.data,
      scratch().product.Ensure(
          static_cast<size_t>(tile.logits.rows * tile.logits.stride) * sizeof(float),
          memory_.get()));
  PREFIXD_ASSIGN_OR_RETURN(const cudaStream_t stream,
                           memory_->Use({compact.data, matrix.data(), tile.logits.data, sums}));
  for (int64_t begin = 0; begin < weight.rows(); begin += kHeadTile) {
    tile.logits.cols = std::min(kHeadTile, weight.rows() - begin);
    tile.first_column = static_cast<int32_t>(begin);
    tile.is_last = begin + tile.logits.cols == weight.rows();
    PREFIXD_RETURN_IF_ERROR(
        health_.Check(gemm_->Run(compact, WeightRows(matrix.view(), begin, tile.logits.cols),
                                 /*bias=*/nullptr, /*accumulate=*/false, tile.logits, stream)));
    PREFIXD_RETURN_IF_ERROR(Check(LaunchHeadTile(tile, stream), "HeadLogprobs"));
  }
  const int64_t count = static_cast<int64_t>(y.size());
  return Download({reinterpret_cast<std::byte*>(tile.y), DType::kF32, 1, count, count}, y);
}

}  // namespace prefixd::cuda
