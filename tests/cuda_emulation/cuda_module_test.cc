// What the module's entry says of cards, drivers and options.
#include "engine/backend/cuda/module.h"

#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/cuda_emulation/emulator/emulated_device.h"

extern "C" const prefixd::cuda::ModuleEntry* prefixd_cuda_module_v1();

namespace prefixd::cuda {
namespace {

using ::testing::HasSubstr;

class CudaModuleTest : public ::testing::Test {
 protected:
  void SetUp() override { emu::ResetDevice(); }
  void TearDown() override { emu::ResetDevice(); }

  static absl::StatusOr<std::unique_ptr<Backend>> Create(const BackendOptions& options) {
    return prefixd_cuda_module_v1()->create(options);
  }
  static void ExpectRefused(const BackendOptions& options, const std::string& message) {
    const absl::Status status = Create(options).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
    EXPECT_THAT(std::string(status.message()), HasSubstr(message));
  }
};

TEST_F(CudaModuleTest, MakesABackendThatSaysWhatItIs) {
  EXPECT_EQ(prefixd_cuda_module_v1()->abi, kModuleAbi);
  const auto backend = Create({.name = "cuda"});
  ASSERT_TRUE(backend.ok()) << backend.status();
  const BackendInfo& info = (*backend)->info();
  EXPECT_EQ(info.name, "cuda");
  EXPECT_EQ(info.activation_dtype, DType::kBF16);
  EXPECT_EQ(info.default_kv_dtype, DType::kBF16);
  EXPECT_EQ(info.in_flight, 2);
  EXPECT_THAT(info.device, HasSubstr("compute capability 9.0"));
  EXPECT_GT((*backend)->AvailableMemory(), 0u);
}

TEST_F(CudaModuleTest, TakesEveryActivationDtypeOfTheDevice) {
  for (const DType dtype : {DType::kF32, DType::kF16, DType::kBF16}) {
    const auto backend = Create({.activation_dtype = dtype});
    ASSERT_TRUE(backend.ok()) << backend.status();
    EXPECT_EQ((*backend)->info().activation_dtype, dtype);
  }
  EXPECT_EQ(Create({.activation_dtype = DType::kF64}).status().code(),
            absl::StatusCode::kInvalidArgument);
}

TEST_F(CudaModuleTest, RefusesOldCardsOldDriversAndMissingDevices) {
  ExpectRefused({.cuda_device = 1}, "no device 1; 1 found");
  ExpectRefused({.cuda_device = -1}, "no device -1");
  emu::SetDeviceOptions({.compute_major = 7, .compute_minor = 5});
  ExpectRefused({}, "compute capability 7.5, expected 8.0");
  emu::SetDeviceOptions({.driver_version = 12080});
  ExpectRefused({}, "for CUDA 12.8, expected 13.0");
  emu::SetDeviceOptions({.device_count = 0});
  ExpectRefused({}, "cuda: ");
}

TEST_F(CudaModuleTest, LackOfMemoryAtTheStartIsSaid) {
  emu::SetDeviceOptions({.total_memory = 1 << 10});
  EXPECT_EQ(Create({}).status().code(), absl::StatusCode::kResourceExhausted);
}

}  // namespace
}  // namespace prefixd::cuda
