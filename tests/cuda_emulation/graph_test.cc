// Captures and graphs of the emulated runtime.
#include <cuda_runtime.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <thread>

#include "tests/cuda_emulation/emulator/emulated_device.h"
#include "tests/cuda_emulation/emulator/reports.h"
#include "tests/cuda_emulation/runtime_test_kernels.h"

namespace prefixd::emu {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr int kCount = 8;
constexpr size_t kBytes = kCount * sizeof(int);

class GraphTest : public ::testing::Test {
 protected:
  void SetUp() override { Start({}); }
  void TearDown() override {
    for (const std::string& report : TakeReports()) ADD_FAILURE() << report;
    ResetDevice();
  }

  void Start(const DeviceOptions& options) {
    ResetDevice();
    SetDeviceOptions(options);
    for (cudaStream_t* stream : {&a_, &b_}) {
      ASSERT_EQ(cudaStreamCreateWithFlags(stream, cudaStreamNonBlocking), cudaSuccess);
    }
    for (cudaEvent_t* event : {&fork_, &join_}) ASSERT_EQ(cudaEventCreate(event), cudaSuccess);
    for (int** buffer : {&x_, &y_, &z_}) {
      ASSERT_EQ(cudaMalloc(buffer, kBytes), cudaSuccess);
      ASSERT_EQ(cudaMemset(*buffer, 0, kBytes), cudaSuccess);
    }
    ASSERT_EQ(cudaMallocHost(&pinned_, kBytes), cudaSuccess);
    ASSERT_EQ(cudaDeviceSynchronize(), cudaSuccess);
  }

  void Begin() { ASSERT_EQ(cudaStreamBeginCapture(a_, cudaStreamCaptureModeGlobal), cudaSuccess); }
  cudaGraphExec_t End() {
    cudaGraph_t graph = nullptr;
    cudaGraphExec_t exec = nullptr;
    EXPECT_EQ(cudaStreamEndCapture(a_, &graph), cudaSuccess);
    EXPECT_EQ(cudaGraphInstantiate(&exec, graph), cudaSuccess);
    EXPECT_EQ(cudaGraphDestroy(graph), cudaSuccess);  // The instance lives on.
    return exec;
  }
  int Read(const int* from) {
    int value = 0;
    ReadDevice(&value, from, sizeof(value));
    return value;
  }
  // `call` fails with `error` while stream a is captured, and spoils the capture.
  void ExpectForbidden(const std::string& name, cudaError_t error,
                       const std::function<cudaError_t()>& call) {
    SCOPED_TRACE(name);
    Begin();
    EXPECT_EQ(call(), error);
    EXPECT_EQ(TakeReports().size(), 1u);
    cudaStreamCaptureStatus status;
    EXPECT_EQ(cudaStreamIsCapturing(a_, &status), cudaSuccess);
    EXPECT_EQ(status, cudaStreamCaptureStatusInvalidated);
    EXPECT_EQ(LaunchAddTo(x_, 1, y_, kCount, a_), cudaErrorStreamCaptureInvalidated);
    cudaGraph_t graph = nullptr;
    EXPECT_EQ(cudaStreamEndCapture(a_, &graph), cudaErrorStreamCaptureInvalidated);
    EXPECT_EQ(graph, nullptr);
    static_cast<void>(cudaGetLastError());
  }

  cudaStream_t a_ = nullptr, b_ = nullptr;
  cudaEvent_t fork_ = nullptr, join_ = nullptr;
  int *x_ = nullptr, *y_ = nullptr, *z_ = nullptr, *pinned_ = nullptr;
};

TEST_F(GraphTest, ReplaysWhatWasRecordedWithItsArguments) {
  Begin();
  int value = 5;
  ASSERT_EQ(LaunchAddTo(x_, value, x_, kCount, a_), cudaSuccess);
  value = 7;
  EXPECT_EQ(GetCounters().kernels_run, 0u);
  const cudaGraphExec_t exec = End();
  EXPECT_EQ(Read(x_), 0);
  for (int i = 0; i < 3; ++i) ASSERT_EQ(cudaGraphLaunch(exec, a_), cudaSuccess);
  EXPECT_EQ(Read(x_), 15);
  EXPECT_EQ(GetCounters().graph_launches, 3u);
  EXPECT_EQ(GetCounters().kernels_run, 3u);
  EXPECT_EQ(GetCounters().launches, 1u);
  EXPECT_EQ(cudaGraphExecDestroy(exec), cudaSuccess);
  EXPECT_EQ(cudaGraphExecDestroy(exec), cudaErrorInvalidValue);
  EXPECT_THAT(TakeReports(), ElementsAre(HasSubstr("destroyed")));
}

TEST_F(GraphTest, CopiesReadPinnedMemoryAtEachRun) {
  Start({.mode = StreamMode::kLate});
  Begin();
  ASSERT_EQ(cudaMemcpyAsync(x_, pinned_, kBytes, cudaMemcpyHostToDevice, a_), cudaSuccess);
  const cudaGraphExec_t exec = End();
  for (const int value : {4, 9}) {
    for (int i = 0; i < kCount; ++i) pinned_[i] = value;
    ASSERT_EQ(cudaGraphLaunch(exec, a_), cudaSuccess);
    ASSERT_EQ(cudaStreamSynchronize(a_), cudaSuccess);
    EXPECT_EQ(Read(x_), value);
  }
}

TEST_F(GraphTest, CopiesToTheHostHoldGarbageUntilTheyRan) {
  Start({.mode = StreamMode::kLate});
  Begin();
  ASSERT_EQ(cudaMemcpyAsync(pinned_, x_, kBytes, cudaMemcpyDeviceToHost, a_), cudaSuccess);
  const cudaGraphExec_t exec = End();
  pinned_[0] = 1;
  ASSERT_EQ(cudaGraphLaunch(exec, a_), cudaSuccess);
  EXPECT_EQ(pinned_[0], -1);
  ASSERT_EQ(cudaStreamSynchronize(a_), cudaSuccess);
  EXPECT_EQ(pinned_[0], 0);
}

// x += 10 on a, z = x + 2 on b, y = z + 1 on a: before or after a waits for b.
TEST_F(GraphTest, TakesStreamsInByEventsAndKeepsTheirOrder) {
  const auto capture = [&](bool wait_at_the_end) {
    Begin();
    EXPECT_EQ(LaunchAddTo(x_, 10, x_, kCount, a_), cudaSuccess);
    EXPECT_EQ(cudaEventRecord(fork_, a_), cudaSuccess);
    EXPECT_EQ(cudaStreamWaitEvent(b_, fork_), cudaSuccess);
    EXPECT_EQ(LaunchAddTo(x_, 2, z_, kCount, b_), cudaSuccess);
    EXPECT_EQ(cudaEventRecord(join_, b_), cudaSuccess);
    if (wait_at_the_end) {
      EXPECT_EQ(LaunchAddTo(z_, 1, y_, kCount, a_), cudaSuccess);  // A race: z is b's.
      EXPECT_EQ(cudaStreamWaitEvent(a_, join_), cudaSuccess);
    } else {
      EXPECT_EQ(cudaStreamWaitEvent(a_, join_), cudaSuccess);
      EXPECT_EQ(LaunchAddTo(z_, 1, y_, kCount, a_), cudaSuccess);
    }
    EXPECT_EQ(LaunchAddTo(y_, 0, y_, kCount, a_), cudaSuccess);
    return End();
  };
  int wrong = 0;
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    Start({.mode = StreamMode::kLate, .seed = seed});
    ASSERT_EQ(cudaGraphLaunch(capture(false), a_), cudaSuccess);
    EXPECT_EQ(Read(y_), 13) << seed;
    cudaStreamCaptureStatus status;
    ASSERT_EQ(cudaStreamIsCapturing(b_, &status), cudaSuccess);
    EXPECT_EQ(status, cudaStreamCaptureStatusNone);
    Start({.mode = StreamMode::kLate, .seed = seed});
    ASSERT_EQ(cudaGraphLaunch(capture(true), a_), cudaSuccess);
    wrong += Read(y_) != 13;
  }
  EXPECT_GT(wrong, 3);
}

TEST_F(GraphTest, RefusesAStreamThatIsNotJoined) {
  Begin();
  ASSERT_EQ(cudaEventRecord(fork_, a_), cudaSuccess);
  ASSERT_EQ(cudaStreamWaitEvent(b_, fork_), cudaSuccess);
  ASSERT_EQ(LaunchAddTo(x_, 2, z_, kCount, b_), cudaSuccess);
  cudaGraph_t graph;
  EXPECT_EQ(cudaStreamEndCapture(b_, &graph), cudaErrorStreamCaptureUnmatched);
  EXPECT_EQ(cudaStreamEndCapture(a_, &graph), cudaErrorStreamCaptureInvalidated);
  static_cast<void>(cudaGetLastError());
  Begin();
  ASSERT_EQ(cudaEventRecord(fork_, a_), cudaSuccess);
  ASSERT_EQ(cudaStreamWaitEvent(b_, fork_), cudaSuccess);
  ASSERT_EQ(LaunchAddTo(x_, 2, z_, kCount, b_), cudaSuccess);
  EXPECT_EQ(cudaStreamEndCapture(a_, &graph), cudaErrorStreamCaptureUnjoined);
  EXPECT_THAT(TakeReports(), ElementsAre(HasSubstr("another stream"), HasSubstr("not joined")));
}

TEST_F(GraphTest, ForbidsWhatCudaForbidsInACapture) {
  int host[kCount] = {};
  void* pointer = nullptr;
  const cudaError_t unsupported = cudaErrorStreamCaptureUnsupported;
  ExpectForbidden("malloc", unsupported, [&] { return cudaMalloc(&pointer, 4); });
  ExpectForbidden("malloc async", unsupported, [&] { return cudaMallocAsync(&pointer, 4, a_); });
  ExpectForbidden("pinned", unsupported, [&] { return cudaMallocHost(&pointer, 4); });
  ExpectForbidden("free", unsupported, [&] { return cudaFree(z_); });
  ExpectForbidden("copy", unsupported,
                  [&] { return cudaMemcpy(x_, host, kBytes, cudaMemcpyHostToDevice); });
  ExpectForbidden("pageable", unsupported,
                  [&] { return cudaMemcpyAsync(x_, host, kBytes, cudaMemcpyHostToDevice, a_); });
  ExpectForbidden("synchronize", unsupported, [&] { return cudaStreamSynchronize(a_); });
  ExpectForbidden("query", unsupported, [&] { return cudaStreamQuery(a_); });
  ExpectForbidden("device", unsupported, [&] { return cudaDeviceSynchronize(); });
  ExpectForbidden("captured event", cudaErrorCapturedEvent, [&] {
    EXPECT_EQ(cudaEventRecord(fork_, a_), cudaSuccess);
    return cudaEventSynchronize(fork_);
  });
  ExpectForbidden("event of before", cudaErrorStreamCaptureIsolation, [&] {
    EXPECT_EQ(cudaEventRecord(join_, b_), cudaSuccess);
    return cudaStreamWaitEvent(a_, join_);
  });
  ExpectForbidden("twice", cudaErrorIllegalState,
                  [&] { return cudaStreamBeginCapture(a_, cudaStreamCaptureModeGlobal); });
  ExpectForbidden("another thread", cudaErrorStreamCaptureWrongThread, [&] {
    cudaError_t error = cudaSuccess;
    cudaGraph_t graph;
    std::thread([&] { error = cudaStreamEndCapture(a_, &graph); }).join();
    return error;
  });
}

TEST_F(GraphTest, ARelaxedCaptureAllowsAllocation) {
  ASSERT_EQ(cudaStreamBeginCapture(a_, cudaStreamCaptureModeRelaxed), cudaSuccess);
  void* pointer = nullptr;
  EXPECT_EQ(cudaMalloc(&pointer, 4), cudaSuccess);
  ASSERT_EQ(LaunchAddTo(x_, 1, x_, kCount, a_), cudaSuccess);
  ASSERT_EQ(cudaGraphLaunch(End(), a_), cudaSuccess);
  EXPECT_EQ(Read(x_), 1);
}

TEST_F(GraphTest, TheLegacyStreamMustNotWaitForACapture) {
  cudaStream_t blocking;
  ASSERT_EQ(cudaStreamCreate(&blocking), cudaSuccess);
  ASSERT_EQ(cudaStreamBeginCapture(blocking, cudaStreamCaptureModeRelaxed), cudaSuccess);
  EXPECT_EQ(LaunchAddTo(x_, 1, x_, kCount, nullptr), cudaErrorStreamCaptureImplicit);
  cudaGraph_t graph;
  EXPECT_EQ(cudaStreamEndCapture(blocking, &graph), cudaErrorStreamCaptureInvalidated);
}

TEST_F(GraphTest, LaunchesOfOneGraphRunOneAfterAnother) {
  Start({.mode = StreamMode::kLate});
  Begin();
  ASSERT_EQ(LaunchAddTo(x_, 1, x_, kCount, a_), cudaSuccess);
  const cudaGraphExec_t exec = End();
  ASSERT_EQ(cudaGraphLaunch(exec, a_), cudaSuccess);
  ASSERT_EQ(cudaGraphLaunch(exec, b_), cudaSuccess);
  ASSERT_EQ(cudaStreamSynchronize(b_), cudaSuccess);
  EXPECT_EQ(GetCounters().kernels_run, 2u);
}

}  // namespace
}  // namespace prefixd::emu
