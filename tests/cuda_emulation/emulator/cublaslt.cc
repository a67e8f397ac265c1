// The double of cuBLASLt: checks what the library would check, and what it trusts its caller with.
//
// As on a device, the algorithm of a product depends on the number of its columns (the tokens): few
// of them split K, and others cut it into parts of another size. So a backend that promises the
// same bits for any batch has to ask for them.
#include <cstring>
#include <map>
#include <string>

#include "absl/strings/str_cat.h"
#include "shim/cublasLt.h"
#include "tests/cuda_emulation/emulator/device_state.h"
#include "tests/cuda_emulation/emulator/matmul.h"
#include "tests/cuda_emulation/emulator/memory_arena.h"
#include "tests/cuda_emulation/emulator/reports.h"
#include "tests/cuda_emulation/emulator/stream.h"

using prefixd::emu::ApiCall;
using prefixd::emu::DeviceState;
using prefixd::emu::MemoryArena;

struct cublasLtContext {};
struct cublasLtMatmulDescOpaque_t {
  cublasComputeType_t compute = CUBLAS_COMPUTE_32F;
  cudaDataType_t scale = CUDA_R_32F;
  int32_t pointer_mode = 0;  // Host.
  int32_t trans_a = CUBLAS_OP_N, trans_b = CUBLAS_OP_N;
  uint32_t epilogue = CUBLASLT_EPILOGUE_DEFAULT;
  const void* bias = nullptr;
  int32_t bias_type = -1;  // As D.
};
struct cublasLtMatrixLayoutOpaque_t {
  uint32_t type = CUDA_R_32F;
  int32_t order = CUBLASLT_ORDER_COL;
  uint64_t rows = 0, cols = 0;
  int64_t ld = 0;
};
struct cublasLtMatmulPreferenceOpaque_t {
  uint32_t search_mode = 0;
  uint64_t workspace_bytes = 0;
  uint32_t reductions = CUBLASLT_REDUCTION_SCHEME_MASK;
  uint32_t alignment[4] = {256, 256, 256, 256};  // A, B, C, D.
};

namespace prefixd::emu {
namespace {

constexpr uint64_t kMagic = 0x6D61746D756C0001;
constexpr int64_t kVectorBytes = 16;

// What a cublasLtMatmulAlgo_t holds.
struct Algorithm {
  uint64_t magic = 0;
  uint64_t problem = 0;  // Types, operations, epilogue, m and k.
  int64_t max_n = 0;
  int64_t chunk = 0;
  uint32_t split = 1;
  uint16_t bias_alignment = 0;
  uint16_t pointer_alignment[4] = {};
  uint16_t ld_alignment[4] = {};
};
static_assert(sizeof(Algorithm) <= sizeof(cublasLtMatmulAlgo_t));

// A product as descriptors give it, checked.
struct Problem {
  int64_t m = 0, n = 0, k = 0;
  cudaDataType_t bias_type = CUDA_R_32F;
  const cublasLtMatrixLayoutOpaque_t* layouts[4] = {};  // A, B, C, D.
};

cudaDataType_t Type(const cublasLtMatrixLayoutOpaque_t& layout) {
  return static_cast<cudaDataType_t>(layout.type);
}

// The power of two, at most 256, that a number is a multiple of.
int64_t AlignmentOf(uint64_t value) {
  return value == 0 ? 256 : static_cast<int64_t>(std::min<uint64_t>(256, value & (0 - value)));
}

int64_t LdAlignment(const cublasLtMatrixLayoutOpaque_t& layout) {
  return AlignmentOf(static_cast<uint64_t>(layout.ld) * TypeBytes(Type(layout)));
}

cublasStatus_t Invalid(const char* user, const std::string& text) {
  AddReport(absl::StrCat(user, ": ", text));
  return CUBLAS_STATUS_INVALID_VALUE;
}

cublasStatus_t Read(const char* user, const cublasLtMatmulDescOpaque_t& desc,
                    const cublasLtMatrixLayoutOpaque_t* const layouts[4], Problem* problem) {
  const auto &a = *layouts[0], &b = *layouts[1], &c = *layouts[2], &d = *layouts[3];
  for (int i = 0; i < 4; ++i) {
    problem->layouts[i] = layouts[i];
    const auto& layout = *layouts[i];
    const uint64_t line = layout.order == CUBLASLT_ORDER_COL ? layout.rows : layout.cols;
    if (layout.rows == 0 || layout.cols == 0 || layout.ld < static_cast<int64_t>(line)) {
      return Invalid(user, absl::StrCat("matrix ", std::string(1, "ABCD"[i]), " of ", layout.rows,
                                        " x ", layout.cols, ", ld ", layout.ld));
    }
  }
  const bool ta = desc.trans_a != CUBLAS_OP_N, tb = desc.trans_b != CUBLAS_OP_N;
  problem->m = static_cast<int64_t>(ta ? a.cols : a.rows);
  problem->k = static_cast<int64_t>(ta ? a.rows : a.cols);
  problem->n = static_cast<int64_t>(tb ? b.rows : b.cols);
  const uint64_t m = problem->m, n = problem->n;
  if ((tb ? b.cols : b.rows) != static_cast<uint64_t>(problem->k) || d.rows != m || d.cols != n ||
      c.rows != m || c.cols != n) {
    return Invalid(user, "the shapes do not fit each other");
  }
  const bool half = a.type == CUDA_R_16F || a.type == CUDA_R_16BF;
  const bool pedantic = desc.compute == CUBLAS_COMPUTE_32F_PEDANTIC;
  if ((desc.compute != CUBLAS_COMPUTE_32F && !pedantic) || desc.scale != CUDA_R_32F ||
      desc.pointer_mode != 0 || a.type != b.type || c.type != d.type ||
      (!half && a.type != CUDA_R_32F) || (d.type != CUDA_R_32F && d.type != a.type)) {
    return CUBLAS_STATUS_NOT_SUPPORTED;
  }
  problem->bias_type = static_cast<cudaDataType_t>(desc.bias_type < 0 ? d.type : desc.bias_type);
  if (desc.epilogue == CUBLASLT_EPILOGUE_BIAS && problem->bias_type != Type(d)) {
    return CUBLAS_STATUS_NOT_SUPPORTED;
  }
  if (desc.epilogue != CUBLASLT_EPILOGUE_BIAS && desc.epilogue != CUBLASLT_EPILOGUE_DEFAULT) {
    return CUBLAS_STATUS_NOT_SUPPORTED;
  }
  return CUBLAS_STATUS_SUCCESS;
}

uint64_t ProblemId(const cublasLtMatmulDescOpaque_t& desc, const Problem& problem) {
  uint64_t id = 17;
  for (const uint64_t part :
       {uint64_t{problem.layouts[0]->type}, uint64_t{problem.layouts[3]->type},
        static_cast<uint64_t>(desc.trans_a), static_cast<uint64_t>(desc.trans_b),
        uint64_t{desc.epilogue}, static_cast<uint64_t>(problem.m),
        static_cast<uint64_t>(problem.k)}) {
    id = (id ^ part) * 0x9E3779B97F4A7C15 + (id >> 29);
  }
  return id;
}

size_t WorkspaceBytes(uint32_t split, int64_t m, int64_t n) {
  return split > 1 ? static_cast<size_t>(split * m * n * 4) : 0;
}

Algorithm Choose(const cublasLtMatmulDescOpaque_t& desc, const Problem& problem,
                 const cublasLtMatmulPreferenceOpaque_t& preference) {
  Algorithm algorithm = {.magic = kMagic, .problem = ProblemId(desc, problem), .max_n = problem.n};
  constexpr uint32_t kSplit = 4;
  if (preference.reductions != CUBLASLT_REDUCTION_SCHEME_NONE && problem.n <= 16 &&
      problem.k >= 64 &&
      WorkspaceBytes(kSplit, problem.m, problem.n) <= preference.workspace_bytes) {
    algorithm.split = kSplit;
    algorithm.chunk = (problem.k + kSplit - 1) / kSplit;
  } else {
    algorithm.chunk = problem.n <= 8 ? 24 : problem.n <= 32 ? 48 : problem.k;
  }
  if (desc.epilogue == CUBLASLT_EPILOGUE_BIAS) {  // As the address says; null promises all.
    algorithm.bias_alignment = static_cast<uint16_t>(
        std::min(kVectorBytes, AlignmentOf(reinterpret_cast<uintptr_t>(desc.bias))));
  }
  for (int i = 0; i < 4; ++i) {
    algorithm.pointer_alignment[i] = static_cast<uint16_t>(preference.alignment[i]);
    algorithm.ld_alignment[i] = static_cast<uint16_t>(std::min<int64_t>(
        kVectorBytes,
        std::min<int64_t>(preference.alignment[i], LdAlignment(*problem.layouts[i]))));
  }
  return algorithm;
}

MatmulOperand Operand(const void* data, const cublasLtMatrixLayoutOpaque_t& layout,
                      bool transposed) {
  MatmulOperand operand = {const_cast<void*>(data), Type(layout), 1, layout.ld};
  if ((layout.order == CUBLASLT_ORDER_ROW) != transposed) {
    std::swap(operand.row_stride, operand.col_stride);
  }
  return operand;
}

size_t Extent(const cublasLtMatrixLayoutOpaque_t& layout) {
  const bool by_col = layout.order == CUBLASLT_ORDER_COL;
  const uint64_t lines = by_col ? layout.cols : layout.rows;
  const uint64_t line = by_col ? layout.rows : layout.cols;
  return ((lines - 1) * layout.ld + line) * TypeBytes(Type(layout));
}

// The stream that a workspace belongs to: two streams would write it at the same time.
std::map<const void*, const CUstream_st*>& Workspaces() {
  static auto* workspaces = new std::map<const void*, const CUstream_st*>;
  return *workspaces;
}

cublasStatus_t Set(const char* user, void* field, size_t field_bytes, const void* value,
                   size_t bytes) {
  if (field == nullptr) return Invalid(user, "an attribute that is not emulated");
  if (bytes != field_bytes) {
    return Invalid(user, absl::StrCat("an attribute of ", field_bytes, " bytes, not ", bytes));
  }
  std::memcpy(field, value, bytes);
  return CUBLAS_STATUS_SUCCESS;
}

// What the library trusts its caller with.
cublasStatus_t CheckPromises(const Algorithm& algorithm, const Problem& problem,
                             const void* const pointers[4], size_t workspace_bytes) {
  const char* const user = "cublasLtMatmul";
  if (problem.n > algorithm.max_n) {
    return Invalid(user,
                   absl::StrCat("an algorithm for ", algorithm.max_n, " columns with ", problem.n));
  }
  for (int i = 0; i < 4; ++i) {
    const int64_t pointer = AlignmentOf(reinterpret_cast<uintptr_t>(pointers[i]));
    const int64_t ld = LdAlignment(*problem.layouts[i]);
    if (pointer < algorithm.pointer_alignment[i] || ld < algorithm.ld_alignment[i]) {
      return Invalid(
          user, absl::StrCat("matrix ", std::string(1, "ABCD"[i]), " is aligned to ", pointer,
                             " bytes and its lines to ", ld, ", not to ",
                             algorithm.pointer_alignment[i], " and ", algorithm.ld_alignment[i]));
    }
  }
  const size_t needed = WorkspaceBytes(algorithm.split, problem.m, problem.n);
  if (workspace_bytes < needed) {
    return Invalid(user, absl::StrCat("a workspace of ", workspace_bytes, " bytes, not ", needed));
  }
  return CUBLAS_STATUS_SUCCESS;
}

}  // namespace

void ForgetWorkspaces() { Workspaces().clear(); }

}  // namespace prefixd::emu

using prefixd::emu::Set;

cublasStatus_t cublasLtCreate(cublasLtHandle_t* handle) {
  ApiCall call("cublasLtCreate");
  *handle = nullptr;
  if (call.refusal() != cudaSuccess || DeviceState::Get().options.driver_version < CUDART_VERSION) {
    return CUBLAS_STATUS_NOT_INITIALIZED;
  }
  *handle = new cublasLtContext;
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtDestroy(cublasLtHandle_t handle) {
  delete handle;
  return CUBLAS_STATUS_SUCCESS;
}

const char* cublasLtGetStatusName(cublasStatus_t status) {
  switch (status) {
    case CUBLAS_STATUS_SUCCESS:
      return "CUBLAS_STATUS_SUCCESS";
    case CUBLAS_STATUS_NOT_INITIALIZED:
      return "CUBLAS_STATUS_NOT_INITIALIZED";
    case CUBLAS_STATUS_ALLOC_FAILED:
      return "CUBLAS_STATUS_ALLOC_FAILED";
    case CUBLAS_STATUS_INVALID_VALUE:
      return "CUBLAS_STATUS_INVALID_VALUE";
    case CUBLAS_STATUS_ARCH_MISMATCH:
      return "CUBLAS_STATUS_ARCH_MISMATCH";
    case CUBLAS_STATUS_MAPPING_ERROR:
      return "CUBLAS_STATUS_MAPPING_ERROR";
    case CUBLAS_STATUS_EXECUTION_FAILED:
      return "CUBLAS_STATUS_EXECUTION_FAILED";
    case CUBLAS_STATUS_INTERNAL_ERROR:
      return "CUBLAS_STATUS_INTERNAL_ERROR";
    case CUBLAS_STATUS_NOT_SUPPORTED:
      return "CUBLAS_STATUS_NOT_SUPPORTED";
    case CUBLAS_STATUS_LICENSE_ERROR:
      return "CUBLAS_STATUS_LICENSE_ERROR";
  }
  return "unknown";
}

const char* cublasLtGetStatusString(cublasStatus_t status) { return cublasLtGetStatusName(status); }

size_t cublasLtGetVersion(void) { return 130000; }

cublasStatus_t cublasLtMatmulDescCreate(cublasLtMatmulDesc_t* desc, cublasComputeType_t compute,
                                        cudaDataType_t scale) {
  *desc = new cublasLtMatmulDescOpaque_t{.compute = compute, .scale = scale};
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulDescDestroy(cublasLtMatmulDesc_t desc) {
  delete desc;
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t desc,
                                              cublasLtMatmulDescAttributes_t attribute,
                                              const void* value, size_t bytes) {
  const char* const user = "cublasLtMatmulDescSetAttribute";
  switch (attribute) {
    case CUBLASLT_MATMUL_DESC_COMPUTE_TYPE:
      return Set(user, &desc->compute, sizeof(desc->compute), value, bytes);
    case CUBLASLT_MATMUL_DESC_SCALE_TYPE:
      return Set(user, &desc->scale, sizeof(desc->scale), value, bytes);
    case CUBLASLT_MATMUL_DESC_POINTER_MODE:
      return Set(user, &desc->pointer_mode, sizeof(desc->pointer_mode), value, bytes);
    case CUBLASLT_MATMUL_DESC_TRANSA:
      return Set(user, &desc->trans_a, sizeof(desc->trans_a), value, bytes);
    case CUBLASLT_MATMUL_DESC_TRANSB:
      return Set(user, &desc->trans_b, sizeof(desc->trans_b), value, bytes);
    case CUBLASLT_MATMUL_DESC_EPILOGUE:
      return Set(user, &desc->epilogue, sizeof(desc->epilogue), value, bytes);
    case CUBLASLT_MATMUL_DESC_BIAS_POINTER:
      return Set(user, &desc->bias, sizeof(desc->bias), value, bytes);
    case CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE:
      return Set(user, &desc->bias_type, sizeof(desc->bias_type), value, bytes);
  }
  return Set(user, nullptr, 0, value, bytes);
}

cublasStatus_t cublasLtMatrixLayoutCreate(cublasLtMatrixLayout_t* layout, cudaDataType type,
                                          uint64_t rows, uint64_t cols, int64_t ld) {
  *layout = new cublasLtMatrixLayoutOpaque_t{.type = type, .rows = rows, .cols = cols, .ld = ld};
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatrixLayoutDestroy(cublasLtMatrixLayout_t layout) {
  delete layout;
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatrixLayoutSetAttribute(cublasLtMatrixLayout_t layout,
                                                cublasLtMatrixLayoutAttribute_t attribute,
                                                const void* value, size_t bytes) {
  const char* const user = "cublasLtMatrixLayoutSetAttribute";
  switch (attribute) {
    case CUBLASLT_MATRIX_LAYOUT_TYPE:
      return Set(user, &layout->type, sizeof(layout->type), value, bytes);
    case CUBLASLT_MATRIX_LAYOUT_ORDER:
      return Set(user, &layout->order, sizeof(layout->order), value, bytes);
    case CUBLASLT_MATRIX_LAYOUT_ROWS:
      return Set(user, &layout->rows, sizeof(layout->rows), value, bytes);
    case CUBLASLT_MATRIX_LAYOUT_COLS:
      return Set(user, &layout->cols, sizeof(layout->cols), value, bytes);
    case CUBLASLT_MATRIX_LAYOUT_LD:
      return Set(user, &layout->ld, sizeof(layout->ld), value, bytes);
  }
  return Set(user, nullptr, 0, value, bytes);
}

cublasStatus_t cublasLtMatmulPreferenceCreate(cublasLtMatmulPreference_t* preference) {
  *preference = new cublasLtMatmulPreferenceOpaque_t;
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulPreferenceDestroy(cublasLtMatmulPreference_t preference) {
  delete preference;
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreference_t preference,
                                                    cublasLtMatmulPreferenceAttributes_t attribute,
                                                    const void* value, size_t bytes) {
  const char* const user = "cublasLtMatmulPreferenceSetAttribute";
  switch (attribute) {
    case CUBLASLT_MATMUL_PREF_SEARCH_MODE:
      return Set(user, &preference->search_mode, 4, value, bytes);
    case CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES:
      return Set(user, &preference->workspace_bytes, 8, value, bytes);
    case CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK:
      return Set(user, &preference->reductions, 4, value, bytes);
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES:
      return Set(user, &preference->alignment[0], 4, value, bytes);
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES:
      return Set(user, &preference->alignment[1], 4, value, bytes);
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES:
      return Set(user, &preference->alignment[2], 4, value, bytes);
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES:
      return Set(user, &preference->alignment[3], 4, value, bytes);
  }
  return Set(user, nullptr, 0, value, bytes);
}

cublasStatus_t cublasLtMatmulAlgoGetHeuristic(cublasLtHandle_t handle, cublasLtMatmulDesc_t desc,
                                              cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b,
                                              cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t d,
                                              cublasLtMatmulPreference_t preference, int requested,
                                              cublasLtMatmulHeuristicResult_t results[],
                                              int* returned) {
  ApiCall call("cublasLtMatmulAlgoGetHeuristic");
  *returned = 0;
  if (handle == nullptr) return CUBLAS_STATUS_NOT_INITIALIZED;
  if (requested < 1) return CUBLAS_STATUS_INVALID_VALUE;
  ++DeviceState::Get().counters.heuristics;
  prefixd::emu::Problem problem;
  const cublasLtMatrixLayoutOpaque_t* const layouts[4] = {a, b, c, d};
  if (const cublasStatus_t status = prefixd::emu::Read(call.name(), *desc, layouts, &problem);
      status != CUBLAS_STATUS_SUCCESS) {
    return status;
  }
  const prefixd::emu::Algorithm algorithm = prefixd::emu::Choose(*desc, problem, *preference);
  results[0] = {};
  std::memcpy(&results[0].algo, &algorithm, sizeof(algorithm));
  results[0].workspaceSize = prefixd::emu::WorkspaceBytes(algorithm.split, problem.m, problem.n);
  results[0].wavesCount = 1;
  *returned = 1;
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulAlgoConfigGetAttribute(const cublasLtMatmulAlgo_t* algo,
                                                    cublasLtMatmulAlgoConfigAttributes_t attribute,
                                                    void* value, size_t bytes, size_t* written) {
  prefixd::emu::Algorithm algorithm;
  std::memcpy(static_cast<void*>(&algorithm), algo, sizeof(algorithm));
  uint32_t result = 0;
  switch (attribute) {
    case CUBLASLT_ALGO_CONFIG_ID:
      break;
    case CUBLASLT_ALGO_CONFIG_SPLITK_NUM:
      result = algorithm.split;
      break;
    case CUBLASLT_ALGO_CONFIG_REDUCTION_SCHEME:
      result = algorithm.split > 1 ? CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE
                                   : CUBLASLT_REDUCTION_SCHEME_NONE;
      break;
  }
  if (written != nullptr) *written = sizeof(result);
  return Set("cublasLtMatmulAlgoConfigGetAttribute", value, bytes, &result, sizeof(result));
}

cublasStatus_t cublasLtMatmul(cublasLtHandle_t handle, cublasLtMatmulDesc_t desc, const void* alpha,
                              const void* a, cublasLtMatrixLayout_t a_layout, const void* b,
                              cublasLtMatrixLayout_t b_layout, const void* beta, const void* c,
                              cublasLtMatrixLayout_t c_layout, void* d,
                              cublasLtMatrixLayout_t d_layout, const cublasLtMatmulAlgo_t* algo,
                              void* workspace, size_t workspace_bytes, cudaStream_t handle_stream) {
  using prefixd::emu::Invalid;
  ApiCall call("cublasLtMatmul");
  if (call.refusal() != cudaSuccess) return CUBLAS_STATUS_EXECUTION_FAILED;
  if (handle == nullptr) return CUBLAS_STATUS_NOT_INITIALIZED;
  CUstream_st* const stream = prefixd::emu::FindStream(handle_stream, call.name());
  if (stream == nullptr) return CUBLAS_STATUS_INVALID_VALUE;
  prefixd::emu::Problem problem;
  const cublasLtMatrixLayoutOpaque_t* const layouts[4] = {a_layout, b_layout, c_layout, d_layout};
  if (const cublasStatus_t status = prefixd::emu::Read(call.name(), *desc, layouts, &problem);
      status != CUBLAS_STATUS_SUCCESS) {
    return status;
  }
  prefixd::emu::Algorithm algorithm;
  if (algo != nullptr) std::memcpy(static_cast<void*>(&algorithm), algo, sizeof(algorithm));
  if (algorithm.magic != prefixd::emu::kMagic ||
      algorithm.problem != prefixd::emu::ProblemId(*desc, problem)) {
    return Invalid(call.name(), "no algorithm, or one that was chosen for another product");
  }
  prefixd::emu::Matmul matmul = {.m = problem.m,
                                 .n = problem.n,
                                 .k = problem.k,
                                 .chunk = algorithm.chunk,
                                 .bias_type = problem.bias_type,
                                 .alpha = *static_cast<const float*>(alpha),
                                 .beta = *static_cast<const float*>(beta)};
  if (matmul.beta == 0) c = d;  // Not read.
  const void* const pointers[4] = {a, b, c, d};
  if (const cublasStatus_t status =
          prefixd::emu::CheckPromises(algorithm, problem, pointers, workspace_bytes);
      status != CUBLAS_STATUS_SUCCESS) {
    return status;
  }
  if (c == d && c_layout->ld != d_layout->ld) {
    return Invalid(call.name(), "C is D with another leading dimension");
  }
  if (workspace != nullptr) {
    const auto [at, is_new] = prefixd::emu::Workspaces().try_emplace(workspace, stream);
    if (!is_new && at->second != stream) {
      return Invalid(call.name(), "two streams use one workspace");
    }
  }
  const bool has_bias = desc->epilogue == CUBLASLT_EPILOGUE_BIAS;
  if (has_bias && (desc->bias == nullptr || prefixd::emu::AlignmentOf(reinterpret_cast<uintptr_t>(
                                                desc->bias)) < algorithm.bias_alignment)) {
    return Invalid(call.name(), "no bias, or one that is less aligned than the algorithm needs");
  }

  matmul.a = prefixd::emu::Operand(a, *a_layout, desc->trans_a != CUBLAS_OP_N);
  matmul.b = prefixd::emu::Operand(b, *b_layout, desc->trans_b != CUBLAS_OP_N);
  matmul.c = prefixd::emu::Operand(c, *c_layout, false);
  matmul.d = prefixd::emu::Operand(d, *d_layout, false);
  matmul.bias = has_bias ? desc->bias : nullptr;
  const size_t scratch = prefixd::emu::WorkspaceBytes(algorithm.split, problem.m, problem.n);
  struct Range {
    const void* data;
    size_t bytes;
  };
  const Range ranges[] = {
      {a, prefixd::emu::Extent(*a_layout)},
      {b, prefixd::emu::Extent(*b_layout)},
      {c, prefixd::emu::Extent(*c_layout)},
      {d, prefixd::emu::Extent(*d_layout)},
      {has_bias ? desc->bias : a,
       has_bias ? static_cast<size_t>(problem.m * prefixd::emu::TypeBytes(problem.bias_type)) : 0},
      {scratch > 0 ? workspace : a, scratch}};
  ++DeviceState::Get().counters.matmuls;
  const cudaError_t error = prefixd::emu::EnqueueKernel(stream, call.name(), [=] {
    for (const Range& range : ranges) {
      if (!MemoryArena::Get().Check(range.data, range.bytes, "cublasLtMatmul")) return false;
    }
    if (scratch > 0) std::memset(workspace, 0xFF, scratch);
    prefixd::emu::RunMatmul(matmul);
    return true;
  });
  return error == cudaSuccess ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_EXECUTION_FAILED;
}
