#include <memory>
#include <string>
#include <vector>

#include "engine/backend/cpu/cpu_backend.h"
#include "engine/backend/registry.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace prefixd {
namespace {

using ::testing::HasSubstr;

TEST(CpuLevel, PortableIsAlwaysTheSlowest) {
  const std::vector<std::string> levels = SupportedCpuLevels();
  ASSERT_FALSE(levels.empty());
  EXPECT_EQ(levels.front(), "portable");
}

TEST(CpuLevel, EverySupportedLevelCanBeForced) {
  for (const std::string& level : SupportedCpuLevels()) {
    const auto backend = CreateCpuBackend({.cpu_level = level, .num_threads = 3});
    ASSERT_TRUE(backend.ok()) << level << ": " << backend.status();
    EXPECT_EQ((*backend)->info().name, "cpu");
    EXPECT_EQ((*backend)->info().level, level);
    EXPECT_EQ((*backend)->info().num_threads, 3);
    EXPECT_EQ((*backend)->info().activation_dtype, DType::kF32);
  }
}

TEST(CpuLevel, AutoTakesTheBest) {
  const auto backend = CreateCpuBackend({.num_threads = 1});
  ASSERT_TRUE(backend.ok());
  EXPECT_EQ((*backend)->info().level, SupportedCpuLevels().back());
}

TEST(CpuLevel, UnknownLevelsAndThreadCountsAreRefused) {
  const auto level = CreateCpuBackend({.cpu_level = "avx1024"}).status();
  EXPECT_EQ(level.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(level.message()), HasSubstr("avx1024"));
  EXPECT_EQ(CreateCpuBackend({.num_threads = 257}).status().code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(CreateCpuBackend({.num_threads = -1}).status().code(),
            absl::StatusCode::kInvalidArgument);
}

TEST(CpuLevel, Bf16ActivationsNeedTheLevelThatHasThem) {
  const auto status =
      CreateCpuBackend({.cpu_level = "portable", .activation_dtype = DType::kBF16}).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnimplemented);
}

TEST(CpuMemory, ImpossibleSizesAreResourceExhausted) {
  const auto backend = CreateCpuBackend({.cpu_level = "portable", .num_threads = 1}).value();
  EXPECT_EQ(backend->Allocate(size_t{1} << 60).status().code(),
            absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(backend->CreateMatrix(DType::kF32, int64_t{1} << 40, int64_t{1} << 40).status().code(),
            absl::StatusCode::kResourceExhausted);
  const auto pool = backend->CreateKvPool({2147483647, 2147483647, 65536, DType::kF32}).status();
  EXPECT_EQ(pool.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(pool.message()), HasSubstr("bytes"));
}

TEST(CpuMemory, UntouchedPagesCostNothing) {
  const auto backend = CreateCpuBackend({.cpu_level = "portable", .num_threads = 1}).value();
  // 1 TiB of pages: no machine that runs tests could hold them.
  EXPECT_TRUE(backend->CreateKvPool({1 << 20, 32, 128, DType::kF32}).ok());
}

}  // namespace
}  // namespace prefixd
