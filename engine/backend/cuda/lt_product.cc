#include "engine/backend/cuda/lt_product.h"

#include <algorithm>
#include <bit>
#include <string>
#include <type_traits>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/status_macros.h"
#include "engine/backend/cuda/cuda_status.h"

namespace prefixd::cuda {
namespace {

constexpr int kCandidates = 8;

template <auto kDestroy>
struct Destroyer {
  template <typename T>
  void operator()(T* object) const {
    kDestroy(object);
  }
};
using Desc = std::unique_ptr<std::remove_pointer_t<cublasLtMatmulDesc_t>,
                             Destroyer<cublasLtMatmulDescDestroy>>;
using Layout = std::unique_ptr<std::remove_pointer_t<cublasLtMatrixLayout_t>,
                               Destroyer<cublasLtMatrixLayoutDestroy>>;
using Preference = std::unique_ptr<std::remove_pointer_t<cublasLtMatmulPreference_t>,
                                   Destroyer<cublasLtMatmulPreferenceDestroy>>;

cudaDataType_t LtType(Element type) {
  switch (type) {
    case Element::kF32:
      return CUDA_R_32F;
    case Element::kF16:
      return CUDA_R_16F;
    case Element::kBF16:
      return CUDA_R_16BF;
  }
  return CUDA_R_32F;
}

absl::Status LtStatus(cublasStatus_t status, absl::string_view what) {
  if (status == CUBLAS_STATUS_SUCCESS) return absl::OkStatus();
  // The library does not tell a lost device from other failures; any call of the runtime does.
  size_t free = 0, total = 0;
  if (const cudaError_t error = cudaMemGetInfo(&free, &total); IsDeviceLost(error)) {
    return CudaStatus(error, what);
  }
  const std::string message = absl::StrCat(what, ": ", cublasLtGetStatusName(status));
  if (status == CUBLAS_STATUS_ALLOC_FAILED) return absl::ResourceExhaustedError(message);
  return absl::InternalError(message);
}

// In elements. The stride of a single row does not matter; this one is as aligned as any.
int64_t Stride(const DeviceMatrix& matrix) {
  const int64_t vector = kVectorBytes / ElementSize(matrix.type);
  return matrix.rows == 1 ? (matrix.cols + vector - 1) / vector * vector : matrix.stride;
}

// A row-major matrix as the column-major one that is its transpose. Null: no memory.
Layout NewLayout(const DeviceMatrix& matrix, int64_t rows) {
  cublasLtMatrixLayout_t layout = nullptr;
  cublasLtMatrixLayoutCreate(&layout, LtType(matrix.type), static_cast<uint64_t>(matrix.cols),
                             static_cast<uint64_t>(rows), Stride(matrix));
  return Layout(layout);
}

template <typename T>
cublasStatus_t SetDesc(const Desc& desc, cublasLtMatmulDescAttributes_t attribute, T value) {
  return cublasLtMatmulDescSetAttribute(desc.get(), attribute, &value, sizeof(value));
}

absl::StatusOr<Desc> NewDesc(const DeviceMatrix* bias) {
  cublasLtMatmulDesc_t raw = nullptr;
  PREFIXD_RETURN_IF_ERROR(
      LtStatus(cublasLtMatmulDescCreate(&raw, CUBLAS_COMPUTE_32F, CUDA_R_32F), "a descriptor"));
  Desc desc(raw);
  cublasStatus_t status =
      SetDesc(desc, CUBLASLT_MATMUL_DESC_TRANSA, static_cast<int32_t>(CUBLAS_OP_T));
  if (bias != nullptr && status == CUBLAS_STATUS_SUCCESS) {
    status =
        SetDesc(desc, CUBLASLT_MATMUL_DESC_EPILOGUE, static_cast<uint32_t>(CUBLASLT_EPILOGUE_BIAS));
    // The heuristic takes the bias's alignment from its address.
    if (status == CUBLAS_STATUS_SUCCESS) {
      status =
          SetDesc(desc, CUBLASLT_MATMUL_DESC_BIAS_POINTER, static_cast<const void*>(bias->data));
    }
    if (status == CUBLAS_STATUS_SUCCESS) {
      status = SetDesc(desc, CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE,
                       static_cast<int32_t>(LtType(bias->type)));
    }
  }
  PREFIXD_RETURN_IF_ERROR(LtStatus(status, "a descriptor"));
  return desc;
}

bool SplitsK(const cublasLtMatmulAlgo_t& algorithm) {
  int32_t splits = 1;
  size_t written = 0;
  const cublasStatus_t status = cublasLtMatmulAlgoConfigGetAttribute(
      &algorithm, CUBLASLT_ALGO_CONFIG_SPLITK_NUM, &splits, sizeof(splits), &written);
  return status != CUBLAS_STATUS_SUCCESS || splits > 1;
}

int64_t PowerOfTwo(uint64_t multiple, int64_t most) {
  const uint64_t lowest = multiple & (0 - multiple);
  return lowest == 0 ? most : std::min<int64_t>(most, static_cast<int64_t>(lowest));
}

}  // namespace

int64_t RowAlignment(const DeviceMatrix& matrix) {
  const uint64_t stride_bytes =
      matrix.rows == 1 ? 0 : static_cast<uint64_t>(matrix.stride * ElementSize(matrix.type));
  return PowerOfTwo(reinterpret_cast<uintptr_t>(matrix.data) | stride_bytes, kVectorBytes);
}

absl::StatusOr<std::unique_ptr<LtProduct>> LtProduct::Create(bool split_k, size_t workspace_bytes) {
  cublasLtHandle_t handle = nullptr;
  if (const cublasStatus_t status = cublasLtCreate(&handle); status != CUBLAS_STATUS_SUCCESS) {
    return absl::FailedPreconditionError(
        absl::StrCat("cuBLASLt does not start: ", cublasLtGetStatusName(status)));
  }
  return std::unique_ptr<LtProduct>(new LtProduct(handle, split_k, workspace_bytes));
}

LtProduct::~LtProduct() { cublasLtDestroy(handle_); }

absl::StatusOr<cublasLtMatmulAlgo_t> LtProduct::Choose(cublasLtMatmulDesc_t desc,
                                                       const DeviceMatrix& x,
                                                       const DeviceMatrix& weight,
                                                       const DeviceMatrix& y, const Key& key) {
  const int64_t bucket = key[0];
  const std::string what = absl::StrCat("a product of [", bucket, ", ", x.cols, "] and [",
                                        weight.rows, ", ", weight.cols, "], types ",
                                        static_cast<int>(x.type), " to ", static_cast<int>(y.type));
  cublasLtMatmulPreference_t raw = nullptr;
  PREFIXD_RETURN_IF_ERROR(LtStatus(cublasLtMatmulPreferenceCreate(&raw), what));
  const Preference preference(raw);
  cublasStatus_t status = CUBLAS_STATUS_SUCCESS;
  const auto prefer = [&](cublasLtMatmulPreferenceAttributes_t attribute, auto value) {
    if (status == CUBLAS_STATUS_SUCCESS) {
      status = cublasLtMatmulPreferenceSetAttribute(raw, attribute, &value, sizeof(value));
    }
  };
  prefer(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, uint64_t{workspace_bytes_});
  // The other schemes round partial sums to y's type.
  prefer(CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK,
         static_cast<uint32_t>(split_k_ ? CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE
                                        : CUBLASLT_REDUCTION_SCHEME_NONE));
  prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, static_cast<uint32_t>(key[5]));
  prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, static_cast<uint32_t>(key[6]));
  prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, static_cast<uint32_t>(key[7]));
  prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, static_cast<uint32_t>(key[7]));
  const Layout a = NewLayout(weight, weight.rows), b = NewLayout(x, bucket),
               d = NewLayout(y, bucket);
  cublasLtMatmulHeuristicResult_t results[kCandidates] = {};
  int count = 0;
  if (status == CUBLAS_STATUS_SUCCESS) {
    status = cublasLtMatmulAlgoGetHeuristic(handle_, desc, a.get(), b.get(), d.get(), d.get(), raw,
                                            kCandidates, results, &count);
  }
  PREFIXD_RETURN_IF_ERROR(LtStatus(status, what));
  for (int i = 0; i < count; ++i) {
    if (results[i].state != CUBLAS_STATUS_SUCCESS || results[i].workspaceSize > workspace_bytes_) {
      continue;
    }
    if (split_k_ || !SplitsK(results[i].algo)) return results[i].algo;
  }
  return absl::InternalError(absl::StrCat("no algorithm of cuBLASLt takes ", what));
}

absl::Status LtProduct::Run(const DeviceMatrix& x, const DeviceMatrix& weight,
                            const DeviceMatrix* bias, bool accumulate, const DeviceMatrix& y,
                            void* workspace, cudaStream_t stream) {
  const int64_t bucket = static_cast<int64_t>(std::bit_ceil(static_cast<uint64_t>(x.rows)));
  const Key key = {bucket,
                   weight.rows,
                   weight.cols,
                   static_cast<int64_t>(x.type),
                   static_cast<int64_t>(y.type),
                   RowAlignment(weight),
                   RowAlignment(x),
                   RowAlignment(y),
                   bias == nullptr ? 0 : RowAlignment(*bias)};
  PREFIXD_ASSIGN_OR_RETURN(const Desc desc, NewDesc(bias));
  auto known = algorithms_.find(key);
  if (known == algorithms_.end()) {
    PREFIXD_ASSIGN_OR_RETURN(const cublasLtMatmulAlgo_t algorithm,
                             Choose(desc.get(), x, weight, y, key));
    known = algorithms_.emplace(key, algorithm).first;
  }
  const Layout a = NewLayout(weight, weight.rows), b = NewLayout(x, x.rows),
               d = NewLayout(y, y.rows);
  const float alpha = 1, beta = accumulate ? 1 : 0;
  const cublasStatus_t status = cublasLtMatmul(
      handle_, desc.get(), &alpha, weight.data, a.get(), x.data, b.get(), &beta, y.data, d.get(),
      y.data, d.get(), &known->second, workspace, workspace_bytes_, stream);
  if (status == CUBLAS_STATUS_SUCCESS) return absl::OkStatus();
  return LtStatus(status, absl::StrCat("a product of [", x.rows, ", ", x.cols, "] and [",
                                       weight.rows, ", ", weight.cols, "]"));
}

}  // namespace prefixd::cuda
