// The double of cuBLASLt: what it computes, and each check that it makes of its caller.
#include <cublasLt.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "tests/cuda_emulation/emulator/device_array.h"
#include "tests/cuda_emulation/emulator/emulated_device.h"
#include "tests/cuda_emulation/emulator/reports.h"

namespace prefixd::emu {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

// D = A * B of float32, [m, k] and [k, n], with descriptors that a test may spoil.
class LtTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ResetDevice();
    ASSERT_EQ(cublasLtCreate(&handle_), CUBLAS_STATUS_SUCCESS);
    ASSERT_EQ(cublasLtMatmulDescCreate(&desc_, CUBLAS_COMPUTE_32F, CUDA_R_32F),
              CUBLAS_STATUS_SUCCESS);
    ASSERT_EQ(cublasLtMatmulPreferenceCreate(&preference_), CUBLAS_STATUS_SUCCESS);
  }
  void TearDown() override {
    for (cublasLtMatrixLayout_t layout : {a_, b_, c_}) {
      if (layout != nullptr) cublasLtMatrixLayoutDestroy(layout);
    }
    cublasLtMatmulPreferenceDestroy(preference_);
    cublasLtMatmulDescDestroy(desc_);
    cublasLtDestroy(handle_);
  }

  void Layouts(int m, int n, int k, cudaDataType type = CUDA_R_32F,
               cudaDataType d_type = CUDA_R_32F) {
    cublasLtMatrixLayoutCreate(&a_, type, m, k, m);
    cublasLtMatrixLayoutCreate(&b_, type, k, n, k);
    cublasLtMatrixLayoutCreate(&c_, d_type, m, n, m);
  }
  template <typename T>
  void SetDesc(cublasLtMatmulDescAttributes_t attribute, T value) {
    ASSERT_EQ(cublasLtMatmulDescSetAttribute(desc_, attribute, &value, sizeof(value)),
              CUBLAS_STATUS_SUCCESS);
  }
  template <typename T>
  void Prefer(cublasLtMatmulPreferenceAttributes_t attribute, T value) {
    ASSERT_EQ(cublasLtMatmulPreferenceSetAttribute(preference_, attribute, &value, sizeof(value)),
              CUBLAS_STATUS_SUCCESS);
  }
  cublasStatus_t Choose() {
    int count = 0;
    const cublasStatus_t status = cublasLtMatmulAlgoGetHeuristic(handle_, desc_, a_, b_, c_, c_,
                                                                 preference_, 1, &result_, &count);
    EXPECT_EQ(count, status == CUBLAS_STATUS_SUCCESS ? 1 : 0);
    return status;
  }
  cublasStatus_t Run(const void* a, const void* b, void* d, float alpha = 1, float beta = 0,
                     void* workspace = nullptr, size_t workspace_bytes = 0,
                     cudaStream_t stream = nullptr) {
    return cublasLtMatmul(handle_, desc_, &alpha, a, a_, b, b_, &beta, d, c_, d, c_, &result_.algo,
                          workspace, workspace_bytes, stream);
  }

  cublasLtHandle_t handle_ = nullptr;
  cublasLtMatmulDesc_t desc_ = nullptr;
  cublasLtMatmulPreference_t preference_ = nullptr;
  cublasLtMatrixLayout_t a_ = nullptr, b_ = nullptr, c_ = nullptr;
  cublasLtMatmulHeuristicResult_t result_ = {};
};

TEST_F(LtTest, MultipliesColumnMajorMatrices) {
  Layouts(2, 2, 3);
  const DeviceArray<float> a(std::vector<float>{1, 2, 3, 4, 5, 6}),
      b(std::vector<float>{1, 0, 1, 2, 1, 0});
  DeviceArray<float> d(std::vector<float>{100, 200, 300, 400});
  ASSERT_EQ(Choose(), CUBLAS_STATUS_SUCCESS);
  ASSERT_EQ(Run(a.data(), b.data(), d.data()), CUBLAS_STATUS_SUCCESS);
  EXPECT_THAT(d.Download(), ElementsAre(6, 8, 5, 8));
  ASSERT_EQ(Run(a.data(), b.data(), d.data(), 2, 10), CUBLAS_STATUS_SUCCESS);
  EXPECT_THAT(d.Download(), ElementsAre(72, 96, 60, 96));
}

TEST_F(LtTest, TakesTransposedAndRowMajorOperands) {
  cublasLtMatrixLayoutCreate(&a_, CUDA_R_32F, 3, 2, 3);  // A^T, by columns.
  cublasLtMatrixLayoutCreate(&b_, CUDA_R_32F, 3, 2, 2);  // B, by rows.
  cublasLtMatrixLayoutCreate(&c_, CUDA_R_32F, 2, 2, 2);
  const int32_t by_row = CUBLASLT_ORDER_ROW;
  cublasLtMatrixLayoutSetAttribute(b_, CUBLASLT_MATRIX_LAYOUT_ORDER, &by_row, sizeof(by_row));
  SetDesc(CUBLASLT_MATMUL_DESC_TRANSA, int32_t{CUBLAS_OP_T});
  const DeviceArray<float> a(std::vector<float>{1, 3, 5, 2, 4, 6}),
      b(std::vector<float>{1, 2, 0, 1, 1, 0});
  DeviceArray<float> d(4);
  ASSERT_EQ(Choose(), CUBLAS_STATUS_SUCCESS);
  ASSERT_EQ(Run(a.data(), b.data(), d.data()), CUBLAS_STATUS_SUCCESS);
  EXPECT_THAT(d.Download(), ElementsAre(6, 8, 5, 8));
}

TEST_F(LtTest, RefusesTypesThatTheLibraryDoesNotTake) {
  const auto choose = [&](cudaDataType a, cudaDataType b, cudaDataType d) {
    cublasLtMatrixLayoutCreate(&a_, a, 4, 4, 4);
    cublasLtMatrixLayoutCreate(&b_, b, 4, 4, 4);
    cublasLtMatrixLayoutCreate(&c_, d, 4, 4, 4);
    const cublasStatus_t status = Choose();
    for (cublasLtMatrixLayout_t* layout : {&a_, &b_, &c_}) {
      cublasLtMatrixLayoutDestroy(*layout);
      *layout = nullptr;
    }
    return status;
  };
  EXPECT_EQ(choose(CUDA_R_16BF, CUDA_R_16BF, CUDA_R_32F), CUBLAS_STATUS_SUCCESS);
  EXPECT_EQ(choose(CUDA_R_16F, CUDA_R_16F, CUDA_R_16F), CUBLAS_STATUS_SUCCESS);
  EXPECT_EQ(choose(CUDA_R_16BF, CUDA_R_16F, CUDA_R_32F), CUBLAS_STATUS_NOT_SUPPORTED);
  EXPECT_EQ(choose(CUDA_R_16BF, CUDA_R_16BF, CUDA_R_16F), CUBLAS_STATUS_NOT_SUPPORTED);
  EXPECT_EQ(choose(CUDA_R_32F, CUDA_R_32F, CUDA_R_16F), CUBLAS_STATUS_NOT_SUPPORTED);
  EXPECT_EQ(choose(CUDA_R_64F, CUDA_R_64F, CUDA_R_64F), CUBLAS_STATUS_NOT_SUPPORTED);
  SetDesc(CUBLASLT_MATMUL_DESC_EPILOGUE, uint32_t{CUBLASLT_EPILOGUE_BIAS});
  SetDesc(CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, int32_t{CUDA_R_16BF});
  EXPECT_EQ(choose(CUDA_R_16BF, CUDA_R_16BF, CUDA_R_16BF), CUBLAS_STATUS_SUCCESS);
  EXPECT_EQ(choose(CUDA_R_16BF, CUDA_R_16BF, CUDA_R_32F), CUBLAS_STATUS_NOT_SUPPORTED);
}

TEST_F(LtTest, TellsShapesThatDoNotFit) {
  Layouts(4, 4, 4);
  const int64_t ld = 3;
  cublasLtMatrixLayoutSetAttribute(b_, CUBLASLT_MATRIX_LAYOUT_LD, &ld, sizeof(ld));
  EXPECT_EQ(Choose(), CUBLAS_STATUS_INVALID_VALUE);
  const uint64_t rows = 3;
  cublasLtMatrixLayoutSetAttribute(b_, CUBLASLT_MATRIX_LAYOUT_ROWS, &rows, sizeof(rows));
  EXPECT_EQ(Choose(), CUBLAS_STATUS_INVALID_VALUE);
  EXPECT_EQ(cublasLtMatrixLayoutSetAttribute(b_, CUBLASLT_MATRIX_LAYOUT_LD, &ld, 4),
            CUBLAS_STATUS_INVALID_VALUE);
  EXPECT_THAT(TakeReports(), ElementsAre(HasSubstr("matrix B of 4 x 4, ld 3"),
                                         HasSubstr("do not fit"), HasSubstr("8 bytes, not 4")));
}

TEST_F(LtTest, TellsPointersThatAreLessAlignedThanPromised) {
  Layouts(4, 4, 4);
  DeviceArray<float> a(std::vector<float>(20, 0)), d(16);
  ASSERT_EQ(Choose(), CUBLAS_STATUS_SUCCESS);  // 256 bytes, as nobody said otherwise.
  EXPECT_EQ(Run(a.data(), a.data() + 4, d.data()), CUBLAS_STATUS_INVALID_VALUE);
  EXPECT_THAT(TakeReports(), ElementsAre(HasSubstr("matrix B is aligned to 16 bytes")));
  Prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, uint32_t{16});
  ASSERT_EQ(Choose(), CUBLAS_STATUS_SUCCESS);
  EXPECT_EQ(Run(a.data(), a.data() + 4, d.data()), CUBLAS_STATUS_SUCCESS);
  EXPECT_EQ(Run(a.data(), a.data() + 1, d.data()), CUBLAS_STATUS_INVALID_VALUE);
  EXPECT_THAT(TakeReports(), ElementsAre(HasSubstr("matrix B is aligned to 4 bytes")));
}

TEST_F(LtTest, TellsAnAlgorithmOfAnotherProduct) {
  Layouts(4, 4, 4);
  DeviceArray<float> x(std::vector<float>(64, 0));
  ASSERT_EQ(Choose(), CUBLAS_STATUS_SUCCESS);
  const uint64_t cols = 5;
  cublasLtMatrixLayoutSetAttribute(b_, CUBLASLT_MATRIX_LAYOUT_COLS, &cols, sizeof(cols));
  cublasLtMatrixLayoutSetAttribute(c_, CUBLASLT_MATRIX_LAYOUT_COLS, &cols, sizeof(cols));
  EXPECT_EQ(Run(x.data(), x.data(), x.data()), CUBLAS_STATUS_INVALID_VALUE);
  SetDesc(CUBLASLT_MATMUL_DESC_TRANSA, int32_t{CUBLAS_OP_T});
  EXPECT_EQ(Run(x.data(), x.data(), x.data()), CUBLAS_STATUS_INVALID_VALUE);
  EXPECT_THAT(TakeReports(), ElementsAre(HasSubstr("an algorithm for 4 columns with 5"),
                                         HasSubstr("chosen for another product")));
}

TEST_F(LtTest, FewColumnsSplitKWhereTheCallerLetsThem) {
  Layouts(4, 2, 128);
  DeviceArray<float> a(std::vector<float>(512, 1)), b(std::vector<float>(256, 1)), d(8);
  DeviceArray<char> workspace(1000), small(10);
  const auto splits = [&] {
    int32_t count = 0;
    EXPECT_EQ(cublasLtMatmulAlgoConfigGetAttribute(&result_.algo, CUBLASLT_ALGO_CONFIG_SPLITK_NUM,
                                                   &count, sizeof(count), nullptr),
              CUBLAS_STATUS_SUCCESS);
    return count;
  };
  ASSERT_EQ(Choose(), CUBLAS_STATUS_SUCCESS);
  EXPECT_EQ(splits(), 1);  // No workspace.
  Prefer(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, uint64_t{1000});
  ASSERT_EQ(Choose(), CUBLAS_STATUS_SUCCESS);
  EXPECT_EQ(splits(), 4);
  EXPECT_EQ(result_.workspaceSize, 4u * 8 * 4);
  EXPECT_EQ(Run(a.data(), b.data(), d.data(), 1, 0, small.data(), 10), CUBLAS_STATUS_INVALID_VALUE);
  EXPECT_THAT(TakeReports(), ElementsAre(HasSubstr("a workspace of 10 bytes, not 128")));
  EXPECT_EQ(Run(a.data(), b.data(), d.data(), 1, 0, workspace.data(), 1000), CUBLAS_STATUS_SUCCESS);
  EXPECT_EQ(d.Download()[7], 128);
  Prefer(CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, uint32_t{CUBLASLT_REDUCTION_SCHEME_NONE});
  ASSERT_EQ(Choose(), CUBLAS_STATUS_SUCCESS);
  EXPECT_EQ(splits(), 1);
}

TEST_F(LtTest, TellsAWorkspaceOfTwoStreams) {
  Layouts(4, 4, 4);
  DeviceArray<float> x(std::vector<float>(16, 0)), d(16);
  DeviceArray<char> workspace(1000);
  cudaStream_t stream;
  ASSERT_EQ(cudaStreamCreate(&stream), cudaSuccess);
  ASSERT_EQ(Choose(), CUBLAS_STATUS_SUCCESS);
  EXPECT_EQ(Run(x.data(), x.data(), d.data(), 1, 0, workspace.data(), 1000), CUBLAS_STATUS_SUCCESS);
  EXPECT_EQ(Run(x.data(), x.data(), d.data(), 1, 0, workspace.data(), 1000, stream),
            CUBLAS_STATUS_INVALID_VALUE);
  EXPECT_THAT(TakeReports(), ElementsAre(HasSubstr("two streams use one workspace")));
}

TEST_F(LtTest, TellsOperandsThatEndBeforeTheirShape) {
  Layouts(4, 4, 4);
  DeviceArray<float> x(std::vector<float>(16, 0)), d(15);
  ASSERT_EQ(Choose(), CUBLAS_STATUS_SUCCESS);
  EXPECT_EQ(Run(x.data(), x.data(), d.data()), CUBLAS_STATUS_EXECUTION_FAILED);
  EXPECT_THAT(TakeReports(),
              ElementsAre(HasSubstr("64 bytes at offset 0 of device buffer 2 (60 bytes)")));
}

}  // namespace
}  // namespace prefixd::emu
