// The order of streams: what late streams show, and every misuse of streams and events.
#include <cuda_runtime.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <cstring>
#include <thread>
#include <vector>

#include "tests/cuda_emulation/emulator/emulated_device.h"
#include "tests/cuda_emulation/emulator/reports.h"
#include "tests/cuda_emulation/runtime_test_kernels.h"

namespace prefixd::emu {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr int kCount = 8;

class StreamTest : public ::testing::Test {
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
    ASSERT_EQ(cudaEventCreateWithFlags(&event_, cudaEventDisableTiming), cudaSuccess);
    for (int** buffer : {&x_, &y_}) {
      ASSERT_EQ(cudaMalloc(buffer, kCount * sizeof(int)), cudaSuccess);
    }
    ASSERT_EQ(cudaMallocHost(&pinned_, kCount * sizeof(int)), cudaSuccess);
    std::memset(pinned_, 0, kCount * sizeof(int));
  }
  void StartLate(uint64_t seed) { Start({.mode = StreamMode::kLate, .seed = seed}); }

  void FillPinned(int value) {
    for (int i = 0; i < kCount; ++i) pinned_[i] = value;
  }
  void Upload(cudaStream_t stream) {
    ASSERT_EQ(cudaMemcpyAsync(x_, pinned_, kCount * sizeof(int), cudaMemcpyHostToDevice, stream),
              cudaSuccess);
  }
  void Download(const int* from, cudaStream_t stream) {
    ASSERT_EQ(cudaMemcpyAsync(pinned_, from, kCount * sizeof(int), cudaMemcpyDeviceToHost, stream),
              cudaSuccess);
  }

  cudaStream_t a_ = nullptr, b_ = nullptr;
  cudaEvent_t event_ = nullptr;
  int *x_ = nullptr, *y_ = nullptr, *pinned_ = nullptr;
};

TEST_F(StreamTest, LateWorkRunsWhenItIsWaitedFor) {
  StartLate(0);
  FillPinned(3);
  Upload(a_);
  ASSERT_EQ(LaunchAddTo(x_, 4, y_, kCount, a_), cudaSuccess);
  EXPECT_EQ(GetCounters().kernels_run, 0u);
  ASSERT_EQ(cudaStreamSynchronize(b_), cudaSuccess);
  EXPECT_EQ(GetCounters().kernels_run, 0u);
  ASSERT_EQ(cudaStreamSynchronize(a_), cudaSuccess);
  EXPECT_EQ(GetCounters().kernels_run, 1u);
  Download(y_, a_);
  EXPECT_EQ(pinned_[0], -1);  // Garbage until the copy has arrived.
  ASSERT_EQ(cudaStreamSynchronize(a_), cudaSuccess);
  EXPECT_EQ(pinned_[kCount - 1], 7);
}

TEST_F(StreamTest, PinnedMemoryThatIsReusedTooEarlyShows) {
  const auto upload_and_reuse = [&](bool wait) {
    FillPinned(1);
    Upload(a_);
    if (wait) {
      ASSERT_EQ(cudaStreamSynchronize(a_), cudaSuccess);
    }
    FillPinned(2);
    ASSERT_EQ(cudaStreamSynchronize(a_), cudaSuccess);
    Download(x_, a_);
    ASSERT_EQ(cudaStreamSynchronize(a_), cudaSuccess);
  };
  StartLate(0);
  upload_and_reuse(true);
  EXPECT_EQ(pinned_[0], 1);
  upload_and_reuse(false);
  EXPECT_EQ(pinned_[0], 2);  // What nobody wanted.
  Start({});
  upload_and_reuse(false);
  EXPECT_EQ(pinned_[0], 1);  // Eager streams hide it.
}

TEST_F(StreamTest, PageableMemoryIsReadAtTheCall) {
  StartLate(0);
  std::vector<int> host(kCount, 1);
  ASSERT_EQ(cudaMemcpyAsync(x_, host.data(), kCount * sizeof(int), cudaMemcpyHostToDevice, a_),
            cudaSuccess);
  host.assign(kCount, 2);
  ASSERT_EQ(cudaMemcpyAsync(host.data(), x_, kCount * sizeof(int), cudaMemcpyDeviceToHost, a_),
            cudaSuccess);
  EXPECT_EQ(host[0], 1);  // And has arrived.
}

// x = 1 + 1 on stream a, y = x + 1 on stream b.
TEST_F(StreamTest, AMissingEventWaitShowsInSomeOrder) {
  const auto run = [&](bool wait) {
    FillPinned(1);
    Upload(a_);
    EXPECT_EQ(LaunchAddTo(x_, 1, x_, kCount, a_), cudaSuccess);
    EXPECT_EQ(cudaEventRecord(event_, a_), cudaSuccess);
    if (wait) {
      EXPECT_EQ(cudaStreamWaitEvent(b_, event_), cudaSuccess);
    }
    EXPECT_EQ(LaunchAddTo(x_, 1, y_, kCount, b_), cudaSuccess);
    EXPECT_EQ(cudaStreamSynchronize(b_), cudaSuccess);
    EXPECT_EQ(cudaDeviceSynchronize(), cudaSuccess);
    Download(y_, b_);
    EXPECT_EQ(cudaStreamSynchronize(b_), cudaSuccess);
    return pinned_[0];
  };
  int wrong = 0;
  for (uint64_t seed = 0; seed < 20; ++seed) {
    StartLate(seed);
    EXPECT_EQ(run(true), 3) << seed;
    StartLate(seed);
    wrong += run(false) != 3;
  }
  EXPECT_GT(wrong, 10);
  Start({});
  EXPECT_EQ(run(false), 3);  // Eager streams hide it.
}

TEST_F(StreamTest, AnEventStandsForWhatWasRecordedBeforeTheWait) {
  StartLate(0);
  FillPinned(1);
  Upload(a_);
  ASSERT_EQ(cudaEventRecord(event_, a_), cudaSuccess);
  ASSERT_EQ(cudaStreamWaitEvent(b_, event_), cudaSuccess);
  ASSERT_EQ(LaunchAddTo(x_, 5, x_, kCount, a_), cudaSuccess);
  ASSERT_EQ(cudaEventRecord(event_, a_), cudaSuccess);  // Of no matter to b.
  ASSERT_EQ(LaunchAddTo(x_, 1, y_, kCount, b_), cudaSuccess);
  ASSERT_EQ(cudaStreamSynchronize(b_), cudaSuccess);
  EXPECT_EQ(GetCounters().kernels_run, 1u);
  ASSERT_EQ(cudaEventSynchronize(event_), cudaSuccess);
  EXPECT_EQ(GetCounters().kernels_run, 2u);
}

TEST_F(StreamTest, QueriesComeToAnEnd) {
  for (const uint64_t seed : {0, 1, 2}) {
    StartLate(seed);
    EXPECT_EQ(cudaEventQuery(event_), cudaSuccess);  // Never recorded.
    for (int i = 0; i < 10; ++i) ASSERT_EQ(LaunchAddTo(x_, 1, y_, kCount, a_), cudaSuccess);
    ASSERT_EQ(cudaEventRecord(event_, a_), cudaSuccess);
    int polls = 0;
    cudaError_t state = cudaErrorNotReady;
    for (; state == cudaErrorNotReady && polls < 20; ++polls) state = cudaEventQuery(event_);
    EXPECT_EQ(state, cudaSuccess);
    if (seed == 0) {
      EXPECT_GT(polls, 5);
    }
    EXPECT_EQ(GetCounters().kernels_run, 10u);
  }
  EXPECT_EQ(cudaStreamQuery(a_), cudaSuccess);
  static_cast<void>(cudaGetLastError());
}

TEST_F(StreamTest, TheLegacyStreamWaitsForBlockingStreams) {
  for (const bool non_blocking : {false, true}) {
    StartLate(0);
    cudaStream_t stream;
    ASSERT_EQ(cudaStreamCreateWithFlags(&stream,
                                        non_blocking ? cudaStreamNonBlocking : cudaStreamDefault),
              cudaSuccess);
    ASSERT_EQ(LaunchAddTo(x_, 1, y_, kCount, stream), cudaSuccess);
    ASSERT_EQ(LaunchAddTo(x_, 1, y_, kCount, nullptr), cudaSuccess);
    ASSERT_EQ(cudaStreamSynchronize(nullptr), cudaSuccess);
    EXPECT_EQ(GetCounters().kernels_run, non_blocking ? 1u : 2u);
    ASSERT_EQ(LaunchAddTo(x_, 1, y_, kCount, nullptr), cudaSuccess);
    ASSERT_EQ(LaunchAddTo(x_, 1, y_, kCount, stream), cudaSuccess);
    ASSERT_EQ(cudaStreamSynchronize(stream), cudaSuccess);
    EXPECT_EQ(GetCounters().kernels_run, non_blocking ? 3u : 4u);
  }
}

TEST_F(StreamTest, FreesInTheStreamsOrder) {
  StartLate(0);
  int* z = nullptr;
  ASSERT_EQ(cudaMallocAsync(&z, kCount * sizeof(int), a_), cudaSuccess);
  FillPinned(1);
  Upload(a_);
  ASSERT_EQ(LaunchAddTo(x_, 1, z, kCount, a_), cudaSuccess);
  ASSERT_EQ(LaunchAddTo(z, 1, y_, kCount, a_), cudaSuccess);
  ASSERT_EQ(cudaFreeAsync(z, a_), cudaSuccess);
  ASSERT_EQ(cudaStreamSynchronize(a_), cudaSuccess);
  EXPECT_EQ(GetCounters().bytes_in_use, 2 * kCount * sizeof(int));
}

TEST_F(StreamTest, TellsACopyWhoseBufferWasFreedBeforeItRuns) {
  StartLate(0);
  ASSERT_EQ(cudaMemsetAsync(x_, 0, 4, a_), cudaSuccess);
  ASSERT_EQ(cudaFreeAsync(x_, b_), cudaSuccess);
  ASSERT_EQ(cudaStreamSynchronize(b_), cudaSuccess);
  EXPECT_EQ(cudaStreamSynchronize(a_), cudaErrorIllegalAddress);
  EXPECT_THAT(TakeReports(), ElementsAre(HasSubstr("freed device buffer")));
}

TEST_F(StreamTest, TellsPinnedMemoryThatIsFreedTooEarly) {
  StartLate(0);
  Upload(a_);
  EXPECT_EQ(cudaFreeHost(pinned_), cudaSuccess);
  EXPECT_THAT(TakeReports(), ElementsAre(HasSubstr("work that is pending uses the buffer")));
}

TEST_F(StreamTest, TellsDestroyedStreamsAndEvents) {
  ASSERT_EQ(cudaStreamDestroy(a_), cudaSuccess);
  ASSERT_EQ(cudaEventDestroy(event_), cudaSuccess);
  EXPECT_EQ(cudaStreamSynchronize(a_), cudaErrorInvalidResourceHandle);
  EXPECT_EQ(cudaStreamDestroy(a_), cudaErrorInvalidResourceHandle);
  EXPECT_EQ(cudaEventRecord(event_, b_), cudaErrorInvalidResourceHandle);
  EXPECT_EQ(cudaEventSynchronize(reinterpret_cast<cudaEvent_t>(0x40)),
            cudaErrorInvalidResourceHandle);
  EXPECT_THAT(TakeReports(),
              ElementsAre(HasSubstr("stream was destroyed"), HasSubstr("stream was destroyed"),
                          HasSubstr("event was destroyed"), HasSubstr("no event")));
}

TEST_F(StreamTest, WorkOfADestroyedStreamRuns) {
  StartLate(0);
  ASSERT_EQ(LaunchAddTo(x_, 1, y_, kCount, a_), cudaSuccess);
  ASSERT_EQ(cudaStreamDestroy(a_), cudaSuccess);
  ASSERT_EQ(cudaDeviceSynchronize(), cudaSuccess);
  EXPECT_EQ(GetCounters().kernels_run, 1u);
}

TEST_F(StreamTest, HostFunctionsSeeNoDevice) {
  struct Seen {
    cudaError_t error = cudaSuccess;
    bool called = false;
  } seen;
  ASSERT_EQ(cudaLaunchHostFunc(
                a_,
                [](void* data) {
                  static_cast<Seen*>(data)->called = true;
                  static_cast<Seen*>(data)->error = cudaDeviceSynchronize();
                },
                &seen),
            cudaSuccess);
  EXPECT_TRUE(seen.called);
  EXPECT_EQ(seen.error, cudaErrorNotPermitted);
  EXPECT_THAT(TakeReports(), ElementsAre(HasSubstr("from a host function")));
}

TEST_F(StreamTest, AHungStreamIsNeverReadyUntilReleased) {
  SetFaults({.hang = 2});
  ASSERT_EQ(LaunchAddTo(x_, 1, y_, kCount, a_), cudaSuccess);
  ASSERT_EQ(LaunchAddTo(x_, 1, y_, kCount, a_), cudaSuccess);  // Here it hangs.
  ASSERT_EQ(cudaEventRecord(event_, a_), cudaSuccess);
  for (int i = 0; i < 10; ++i) EXPECT_EQ(cudaEventQuery(event_), cudaErrorNotReady);
  static_cast<void>(cudaGetLastError());
  ASSERT_EQ(LaunchAddTo(x_, 1, y_, kCount, b_), cudaSuccess);  // Others go on.
  EXPECT_EQ(GetCounters().kernels_run, 2u);
  std::thread release([] {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    ReleaseStreams();
  });
  EXPECT_EQ(cudaStreamSynchronize(a_), cudaSuccess);
  release.join();
  EXPECT_EQ(GetCounters().kernels_run, 3u);
}

TEST_F(StreamTest, AWaitForAHungStreamGivesUp) {
  Start({.hang_limit_s = 0.01});
  HangStream(a_);
  ASSERT_EQ(LaunchAddTo(x_, 1, y_, kCount, a_), cudaSuccess);
  EXPECT_EQ(cudaStreamSynchronize(a_), cudaErrorLaunchTimeout);
  EXPECT_THAT(TakeReports(), ElementsAre(HasSubstr("taken too long")));
}

TEST_F(StreamTest, ALateLaunchLosesTheDeviceWhenItRuns) {
  StartLate(0);
  SetFaults({.device_lost = 1});
  EXPECT_EQ(LaunchAddTo(x_, 1, y_, kCount, a_), cudaSuccess);
  EXPECT_EQ(LaunchAddTo(x_, 1, y_, kCount, a_), cudaSuccess);
  EXPECT_EQ(cudaStreamSynchronize(a_), cudaErrorIllegalAddress);
  EXPECT_EQ(GetCounters().kernels_run, 1u);
}

TEST_F(StreamTest, AQueueIsNoLongerThanADevicesIs) {
  StartLate(0);
  for (int i = 0; i < 3000; ++i) ASSERT_EQ(cudaMemsetAsync(x_, 0, 4, a_), cudaSuccess);
  ASSERT_EQ(LaunchAddTo(x_, 1, y_, kCount, a_), cudaSuccess);
  EXPECT_EQ(GetCounters().kernels_run, 0u);
  for (int i = 0; i < 1024; ++i) ASSERT_EQ(cudaMemsetAsync(x_, 0, 4, a_), cudaSuccess);
  EXPECT_EQ(GetCounters().kernels_run, 1u);
}

TEST_F(StreamTest, MeasuresTimeBetweenEvents) {
  cudaEvent_t start, end;
  ASSERT_EQ(cudaEventCreate(&start), cudaSuccess);
  ASSERT_EQ(cudaEventCreate(&end), cudaSuccess);
  float milliseconds = -1;
  EXPECT_EQ(cudaEventElapsedTime(&milliseconds, start, end), cudaErrorInvalidResourceHandle);
  ASSERT_EQ(cudaEventRecord(start, a_), cudaSuccess);
  ASSERT_EQ(cudaEventRecord(end, a_), cudaSuccess);
  EXPECT_EQ(cudaEventElapsedTime(&milliseconds, start, end), cudaSuccess);
  EXPECT_GE(milliseconds, 0);
  ASSERT_EQ(cudaEventRecord(event_, a_), cudaSuccess);
  EXPECT_EQ(cudaEventElapsedTime(&milliseconds, start, event_), cudaErrorInvalidResourceHandle);
}

}  // namespace
}  // namespace prefixd::emu
