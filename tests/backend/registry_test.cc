#include "engine/backend/registry.h"

#include <dlfcn.h>

#include <algorithm>

#include <gtest/gtest.h>

#include "absl/strings/match.h"
#include "tests/backend/op_harness.h"

namespace prefixd {
namespace {

TEST(Registry, RefusesWhatItDoesNotKnow) {
  EXPECT_EQ(CreateBackend({.name = "abacus"}).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(CreateBackend({.name = ""}).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(CreateBackend({.name = "cpu", .cpu_level = "avx1024"}).status().code(),
            absl::StatusCode::kInvalidArgument);
}

TEST(Registry, RefusesThreadCountsOutOfRange) {
  for (const int threads : {-1, 257}) {
    EXPECT_EQ(CreateBackend({.name = "cpu", .num_threads = threads}).status().code(),
              absl::StatusCode::kInvalidArgument);
  }
}

TEST(Registry, MakesEveryLevelThatTheMachineSupports) {
  const std::vector<std::string> levels = SupportedCpuLevels();
  ASSERT_FALSE(levels.empty());
  EXPECT_EQ(levels.front(), "portable");
  for (const std::string& level : levels) {
    const auto backend = CreateBackend({.name = "cpu", .cpu_level = level, .num_threads = 2});
    ASSERT_TRUE(backend.ok()) << backend.status();
    EXPECT_EQ((*backend)->info().name, "cpu");
    EXPECT_EQ((*backend)->info().level, level);
    EXPECT_EQ((*backend)->info().num_threads, 2);
    EXPECT_EQ((*backend)->info().activation_dtype, DType::kF32);
  }
}

bool HasCudaDriver() { return dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL) != nullptr; }

TEST(Registry, CudaWithoutADriverIsAWrongState) {
  if (HasCudaDriver()) GTEST_SKIP() << "this machine has a CUDA driver";
  const absl::Status status = CreateBackend({.name = "cuda"}).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_TRUE(absl::StrContains(status.message(), "no NVIDIA driver on this machine")) << status;
  EXPECT_TRUE(absl::StrContains(status.message(), "needed: a driver for CUDA 13.0")) << status;
}

TEST(Registry, AutoWithoutADriverIsTheCpu) {
  if (HasCudaDriver()) GTEST_SKIP() << "this machine has a CUDA driver";
  EXPECT_EQ(CreateBackend({}).value()->info().name, "cpu");
}

TEST(Registry, TheCpuIsTakenAtItsBestLevel) {
  const auto backend = CreateBackend({.name = "cpu"}).value();
  EXPECT_EQ(backend->info().name, "cpu");
  EXPECT_EQ(backend->info().level, SupportedCpuLevels().back());
  EXPECT_GE(backend->info().num_threads, 1);
}

TEST(Registry, ALevelThatTheMachineLacksIsAWrongState) {
  const std::vector<std::string> supported = SupportedCpuLevels();
  for (const std::string level : {"avx2", "avx512", "avx512bf16"}) {
    const auto status = CreateBackend({.name = "cpu", .cpu_level = level}).status();
    const bool present = std::count(supported.begin(), supported.end(), level) > 0;
    EXPECT_EQ(status.code(),
              present ? absl::StatusCode::kOk : absl::StatusCode::kFailedPrecondition);
  }
}

using MemoryTest = OpTest;
PREFIXD_INSTANTIATE_FOR_ALL_BACKENDS(MemoryTest);

TEST_P(MemoryTest, NewTensorsAreZeroAndTheirRowsAligned) {
  for (const int64_t cols : {1, 3, 17, 64, 577}) {
    const OwnedTensor tensor = backend_->NewTensor(5, cols).value();
    EXPECT_EQ(tensor.view.rows, 5);
    EXPECT_EQ(tensor.view.cols, cols);
    EXPECT_EQ(tensor.view.dtype, backend_->info().activation_dtype);
    const int64_t element = static_cast<int64_t>(DTypeSize(tensor.view.dtype));
    EXPECT_GE(tensor.view.row_stride, cols);
    EXPECT_EQ(tensor.view.row_stride * element % 64, 0);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(tensor.view.data) % 64, 0u);
    HostMatrix values(5, cols, 1.0f);
    ASSERT_TRUE(backend_->Download(tensor.view, absl::MakeSpan(values.values)).ok());
    ExpectSameBits(values, HostMatrix(5, cols, 0.0f));
  }
}

TEST_P(MemoryTest, ATensorThatFitsNowhereIsRefused) {
  const int64_t huge = int64_t{1} << 40;
  EXPECT_EQ(backend_->NewTensor(huge, huge).status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(backend_->NewTensor(1, INT64_MAX).status().code(),
            absl::StatusCode::kResourceExhausted);
}

TEST_P(MemoryTest, AnEmptyTensorIsAllowed) {
  EXPECT_TRUE(backend_->NewTensor(0, 5).ok());
  EXPECT_TRUE(backend_->NewTensor(5, 0).ok());
}

}  // namespace
}  // namespace prefixd
