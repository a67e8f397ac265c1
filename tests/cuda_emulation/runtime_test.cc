// Memory, errors and faults of the emulated runtime: every misuse that it tells is made once.
#include <cuda_runtime.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <string>
#include <vector>

#include "tests/cuda_emulation/emulator/emulated_device.h"
#include "tests/cuda_emulation/emulator/reports.h"
#include "tests/cuda_emulation/runtime_test_kernels.h"

namespace prefixd::emu {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class RuntimeTest : public ::testing::Test {
 protected:
  void SetUp() override { ResetDevice(); }
  void TearDown() override {
    TakeReportsOnFailure();
    ResetDevice();
  }
  void TakeReportsOnFailure() {
    for (const std::string& report : TakeReports()) ADD_FAILURE() << report;
  }

  template <typename T = int>
  T* Malloc(size_t count) {
    T* pointer = nullptr;
    EXPECT_EQ(cudaMalloc(&pointer, count * sizeof(T)), cudaSuccess);
    return pointer;
  }
};

TEST_F(RuntimeTest, NewMemoryHoldsGarbageAndIsAlignedTo256) {
  float* const x = Malloc<float>(3);
  EXPECT_EQ(reinterpret_cast<uintptr_t>(x) % 512, 256u);
  float values[3] = {};
  ASSERT_EQ(cudaMemcpy(values, x, sizeof(values), cudaMemcpyDeviceToHost), cudaSuccess);
  for (const float value : values) EXPECT_NE(value, value);  // NaN.
  ASSERT_EQ(cudaFree(x), cudaSuccess);
  EXPECT_THAT(LiveBuffers(), IsEmpty());
}

TEST_F(RuntimeTest, TheHostCannotTouchDeviceMemory) {
  int* const x = Malloc(1);
  EXPECT_DEATH(*static_cast<volatile int*>(x) = 1, "");
  EXPECT_DEATH(static_cast<void>(*static_cast<volatile int*>(x)), "");
  DeviceOptions options;
  options.guard_from_host = false;
  SetDeviceOptions(options);
  *static_cast<volatile int*>(x) = 1;
}

TEST_F(RuntimeTest, TheHostCannotTouchMuchMemoryOnceItHasWaited) {
  char* const x = Malloc<char>(size_t{8} << 20);
  for (int i = 0; i < 3; ++i) ASSERT_EQ(cudaMemsetAsync(x, 1, 1), cudaSuccess);
  ASSERT_EQ(cudaDeviceSynchronize(), cudaSuccess);
  EXPECT_DEATH(static_cast<void>(*static_cast<volatile char*>(x)), "");
}

TEST_F(RuntimeTest, FreedMemoryIsGone) {
  int* const x = Malloc(1);
  ASSERT_EQ(cudaFree(x), cudaSuccess);
  EXPECT_EQ(cudaMemset(x, 0, 4), cudaErrorInvalidValue);
  EXPECT_THAT(TakeReports(), ElementsAre(HasSubstr("offset 0 of freed device buffer 1 (4 bytes)")));
  EXPECT_NE(Malloc(1), x);  // Addresses do not come again.
}

TEST_F(RuntimeTest, PoolsBeyond32BitsCostWhatIsTouched) {
  DeviceOptions options;
  options.total_memory = size_t{40} << 30;
  SetDeviceOptions(options);
  const size_t bytes = (size_t{20} << 30) + 12345;
  char* const pool = Malloc<char>(bytes);
  char* const far = pool + (size_t{5} << 30) + 1;
  ASSERT_EQ(cudaMemset(far, 7, 100), cudaSuccess);
  char seen[102];
  ASSERT_EQ(cudaMemcpy(seen, far - 1, 102, cudaMemcpyDeviceToHost), cudaSuccess);
  EXPECT_EQ(seen[0], '\xFF');
  EXPECT_EQ(seen[1], 7);
  EXPECT_EQ(seen[101], '\xFF');
  EXPECT_EQ(cudaMemset(pool + bytes - 1, 0, 2), cudaErrorInvalidValue);
  EXPECT_THAT(TakeReports(), ElementsAre(HasSubstr("2 bytes at offset 21474848824")));
}

TEST_F(RuntimeTest, TellsFreesOfWhatIsNoBuffer) {
  int* const x = Malloc(4);
  int on_host = 0;
  EXPECT_EQ(cudaFree(x + 1), cudaErrorInvalidValue);
  EXPECT_EQ(cudaFree(&on_host), cudaErrorInvalidValue);
  EXPECT_EQ(cudaFree(x), cudaSuccess);
  EXPECT_EQ(cudaFree(x), cudaErrorInvalidValue);
  EXPECT_EQ(cudaFree(nullptr), cudaSuccess);
  EXPECT_EQ(cudaFreeHost(&on_host), cudaErrorInvalidValue);
  EXPECT_THAT(
      TakeReports(),
      ElementsAre(HasSubstr("offset 4 of device buffer 1"), HasSubstr("in no buffer"),
                  HasSubstr("offset 0 of freed device buffer 1"), HasSubstr("no pinned buffer")));
}

TEST_F(RuntimeTest, TellsWritesBesideABufferWithItsName) {
#if defined(__SANITIZE_ADDRESS__)
  GTEST_SKIP() << "the sanitizer stops the kernel";
#endif
  const int* const x = Malloc(64);
  int* const y = Malloc(31);
  EXPECT_EQ(LaunchAddTo(x, 1, y, 32, nullptr), cudaErrorLaunchFailure);
  EXPECT_THAT(TakeReports(),
              ElementsAre(HasSubstr("kernel AddTo: guard hit: a device buffer of 124 "
                                    "bytes (number 2) was written at offset 124")));
  EXPECT_EQ(LaunchAddTo(x, 1, y, 31, nullptr), cudaSuccess);  // The report was taken.
}

TEST_F(RuntimeTest, TellsWritesBesideAPinnedBuffer) {
#if defined(__SANITIZE_ADDRESS__)
  GTEST_SKIP() << "the sanitizer stops the program";
#endif
  char* pinned = nullptr;
  ASSERT_EQ(cudaMallocHost(&pinned, 10), cudaSuccess);
  pinned[-1] = 0;
  ASSERT_EQ(cudaDeviceSynchronize(), cudaSuccess);
  EXPECT_THAT(TakeReports(), ElementsAre(HasSubstr("pinned buffer of 10 bytes (number 1) was "
                                                   "written at offset -1")));
  EXPECT_EQ(cudaFreeHost(pinned), cudaSuccess);
}

TEST_F(RuntimeTest, TellsCopiesOutOfBounds) {
  int* const x = Malloc(4);
  int* pinned = nullptr;
  ASSERT_EQ(cudaHostAlloc(&pinned, 16, cudaHostAllocDefault), cudaSuccess);
  int host[8] = {};
  EXPECT_EQ(cudaMemcpy(x + 1, host, 16, cudaMemcpyHostToDevice), cudaErrorInvalidValue);
  EXPECT_EQ(cudaMemcpy(host, x, 17, cudaMemcpyDeviceToHost), cudaErrorInvalidValue);
  EXPECT_EQ(cudaMemcpy(x, pinned + 1, 16, cudaMemcpyHostToDevice), cudaErrorInvalidValue);
  EXPECT_EQ(cudaMemset(x - 1, 0, 4), cudaErrorInvalidValue);
  // Rows of 4 bytes, 8 apart: the second ends behind 12 bytes, the third behind 20.
  EXPECT_EQ(cudaMemcpy2D(x, 8, host, 4, 4, 2, cudaMemcpyHostToDevice), cudaSuccess);
  EXPECT_EQ(cudaMemcpy2D(x, 8, host, 4, 4, 3, cudaMemcpyHostToDevice), cudaErrorInvalidValue);
  EXPECT_EQ(TakeReports().size(), 5u);
  EXPECT_EQ(cudaMemcpy2D(x, 2, host, 4, 4, 2, cudaMemcpyHostToDevice), cudaErrorInvalidPitchValue);
  EXPECT_THAT(TakeReports(), ElementsAre(HasSubstr("longer than the pitch")));
}

TEST_F(RuntimeTest, TellsCopiesInTheWrongDirection) {
  int* const x = Malloc(4);
  int host[4] = {};
  EXPECT_EQ(cudaMemcpy(x, host, 16, cudaMemcpyDeviceToDevice), cudaErrorInvalidValue);
  EXPECT_EQ(cudaMemcpy(x, host, 16, cudaMemcpyDeviceToHost), cudaErrorInvalidValue);
  EXPECT_EQ(cudaMemcpy(x, host, 16, cudaMemcpyDefault), cudaSuccess);
  EXPECT_EQ(cudaMemcpy(x, x + 1, 8, cudaMemcpyDeviceToDevice), cudaErrorInvalidValue);
  EXPECT_THAT(TakeReports(), ElementsAre(HasSubstr("from host to device"),
                                         HasSubstr("from host to device"), HasSubstr("overlap")));
}

TEST_F(RuntimeTest, Copies2DLeaveGapsAlone) {
  const std::vector<unsigned char> from = {1, 2, 3, 4, 5, 6};
  unsigned char* const x = Malloc<unsigned char>(10);
  ASSERT_EQ(cudaMemset(x, 9, 10), cudaSuccess);
  ASSERT_EQ(cudaMemcpy2D(x, 4, from.data(), 3, 2, 2, cudaMemcpyHostToDevice), cudaSuccess);
  ASSERT_EQ(cudaMemset2DAsync(x + 8, 1, 8, 1, 2), cudaSuccess);
  unsigned char seen[10];
  ASSERT_EQ(cudaMemcpy(seen, x, 10, cudaMemcpyDeviceToHost), cudaSuccess);
  EXPECT_THAT(seen, ElementsAre(1, 2, 9, 9, 4, 5, 9, 9, 8, 8));
}

TEST_F(RuntimeTest, MemoryEndsWhereATestWants) {
  DeviceOptions options;
  options.total_memory = 1000;
  SetDeviceOptions(options);
  char* const x = Malloc<char>(600);
  size_t free = 0, total = 0;
  ASSERT_EQ(cudaMemGetInfo(&free, &total), cudaSuccess);
  EXPECT_EQ(free, 400u);
  EXPECT_EQ(total, 1000u);
  char* y = x;
  EXPECT_EQ(cudaMalloc(&y, 401), cudaErrorMemoryAllocation);
  EXPECT_EQ(y, nullptr);
  EXPECT_EQ(cudaGetLastError(), cudaErrorMemoryAllocation);
  EXPECT_EQ(cudaGetLastError(), cudaSuccess);
  EXPECT_EQ(cudaMalloc(&y, ~size_t{0}), cudaErrorMemoryAllocation);
  EXPECT_EQ(cudaMalloc(&y, 400), cudaSuccess);
  EXPECT_EQ(cudaFree(x), cudaSuccess);
  EXPECT_EQ(GetCounters().bytes_in_use, 400u);
  EXPECT_EQ(GetCounters().peak_bytes, 1000u);
  EXPECT_THAT(LiveBuffers(), ElementsAre("device buffer 2, 400 bytes"));
}

TEST_F(RuntimeTest, TheNthAllocationFails) {
  SetFaults({.allocation = 2, .pinned_allocation = 1});
  void* pointer = nullptr;
  EXPECT_EQ(cudaMalloc(&pointer, 1), cudaSuccess);
  EXPECT_EQ(cudaMallocAsync(&pointer, 1, nullptr), cudaErrorMemoryAllocation);
  EXPECT_EQ(cudaMalloc(&pointer, 1), cudaSuccess);
  EXPECT_EQ(cudaMallocHost(&pointer, 1), cudaErrorMemoryAllocation);
  EXPECT_EQ(cudaMallocHost(&pointer, 1), cudaSuccess);
}

TEST_F(RuntimeTest, AFailedLaunchIsForgottenOnceTaken) {
  int* const x = Malloc(32);
  SetFaults({.launch = 2});
  EXPECT_EQ(LaunchAddTo(x, 1, x, 32, nullptr), cudaSuccess);
  EXPECT_EQ(LaunchAddTo(x, 1, x, 32, nullptr), cudaErrorInvalidConfiguration);
  EXPECT_EQ(LaunchAddTo(x, 1, x, 32, nullptr), cudaSuccess);
  EXPECT_EQ(GetCounters().launches, 3u);
  EXPECT_EQ(GetCounters().kernels_run, 2u);
}

TEST_F(RuntimeTest, ALostDeviceFailsEveryCall) {
  int* const x = Malloc(32);
  cudaStream_t stream;
  ASSERT_EQ(cudaStreamCreate(&stream), cudaSuccess);
  SetFaults({.device_lost = 1});
  EXPECT_EQ(LaunchAddTo(x, 1, x, 32, stream), cudaErrorIllegalAddress);
  int host = 0, count = 0;
  void* pointer = nullptr;
  EXPECT_EQ(cudaMemcpy(&host, x, 4, cudaMemcpyDeviceToHost), cudaErrorIllegalAddress);
  EXPECT_EQ(cudaMalloc(&pointer, 4), cudaErrorIllegalAddress);
  EXPECT_EQ(cudaStreamSynchronize(stream), cudaErrorIllegalAddress);
  EXPECT_EQ(cudaGetDeviceCount(&count), cudaErrorIllegalAddress);
  EXPECT_EQ(LaunchAddTo(x, 1, x, 32, stream), cudaErrorIllegalAddress);
  EXPECT_EQ(cudaGetLastError(), cudaErrorIllegalAddress);
  EXPECT_EQ(cudaGetLastError(), cudaErrorIllegalAddress);
  EXPECT_EQ(cudaFree(x), cudaErrorIllegalAddress);
  EXPECT_EQ(cudaStreamDestroy(stream), cudaErrorIllegalAddress);
  EXPECT_THAT(LiveBuffers(), IsEmpty());  // Freed all the same.
  EXPECT_EQ(cudaDeviceReset(), cudaSuccess);
  EXPECT_EQ(cudaMalloc(&pointer, 4), cudaSuccess);
}

TEST_F(RuntimeTest, TellsTheDeviceThatATestWants) {
  int value = 0;
  cudaDeviceProp properties;
  EXPECT_EQ(cudaGetDeviceProperties(&properties, 0), cudaSuccess);
  EXPECT_EQ(properties.major, 9);
  EXPECT_EQ(cudaGetDeviceProperties(&properties, 1), cudaErrorInvalidDevice);
  EXPECT_EQ(cudaSetDevice(1), cudaErrorInvalidDevice);
  EXPECT_EQ(cudaDeviceGetAttribute(&value, cudaDevAttrMaxSharedMemoryPerBlockOptin, 0),
            cudaSuccess);
  EXPECT_EQ(value, 227 * 1024);
  SetDeviceOptions({.compute_major = 7, .compute_minor = 5});
  EXPECT_EQ(cudaDeviceGetAttribute(&value, cudaDevAttrComputeCapabilityMajor, 0), cudaSuccess);
  EXPECT_EQ(value, 7);
  SetDeviceOptions({.device_count = 0});
  EXPECT_EQ(cudaGetDeviceCount(&value), cudaErrorNoDevice);
  SetDeviceOptions({.driver_version = 12080});
  EXPECT_EQ(cudaGetDeviceCount(&value), cudaErrorInsufficientDriver);
  EXPECT_EQ(cudaDriverGetVersion(&value), cudaSuccess);
  EXPECT_EQ(value, 12080);
}

TEST_F(RuntimeTest, CountsReadBacks) {
  int* const x = Malloc(1);
  int host = 0;
  ResetCounters();
  ASSERT_EQ(cudaMemcpy(x, &host, 4, cudaMemcpyHostToDevice), cudaSuccess);
  ASSERT_EQ(cudaMemcpyAsync(x, &host, 4, cudaMemcpyHostToDevice), cudaSuccess);
  ASSERT_EQ(cudaMemsetAsync(x, 0, 4), cudaSuccess);
  EXPECT_EQ(GetCounters().synchronizations, 1u);
  ASSERT_EQ(cudaMemcpyAsync(&host, x, 4, cudaMemcpyDeviceToHost), cudaSuccess);
  const Counters counters = GetCounters();
  EXPECT_EQ(counters.copies_to_device, 2u);
  EXPECT_EQ(counters.copies_to_host, 1u);
  EXPECT_EQ(counters.memsets, 1u);
  EXPECT_EQ(counters.synchronizations, 2u);  // Into pageable memory: it has to wait.
}

}  // namespace
}  // namespace prefixd::emu
