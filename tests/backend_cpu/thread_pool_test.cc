#include "engine/backend/cpu/thread_pool.h"

#include <time.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <thread>
#include <vector>

#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"

namespace prefixd {
namespace {

absl::Duration ProcessCpuTime() {
  timespec time;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
  return absl::DurationFromTimespec(time);
}

TEST(ThreadPool, RunsEveryItemOnceInEachOfManyLoops) {
  ThreadPool pool(4);
  std::vector<int> runs(37, 0);
  for (int loop = 0; loop < 2000; ++loop) {
    pool.Run(37, [&](int64_t item, int) { ++runs[item]; });
  }
  EXPECT_EQ(runs, std::vector<int>(37, 2000));
}

TEST(ThreadPool, NeverGivesOneThreadNumberToTwoItemsAtOnce) {
  ThreadPool pool(3);
  std::array<std::atomic<int>, 3> inside{};
  std::atomic<int> collisions{0};
  pool.Run(3000, [&](int64_t, int thread) {
    if (inside[thread].fetch_add(1) != 0) collisions.fetch_add(1);
    inside[thread].fetch_sub(1);
  });
  EXPECT_EQ(collisions.load(), 0);
}

TEST(ThreadPool, ReturnsOnlyWhenASlowItemIsDone) {
  ThreadPool pool(2);
  std::atomic<int> done{0};
  pool.Run(2, [&](int64_t, int) {
    absl::SleepFor(absl::Milliseconds(5));
    done.fetch_add(1);
  });
  EXPECT_EQ(done.load(), 2);
}

TEST(ThreadPool, WakesAgainAfterSleeping) {
  ThreadPool pool(2);
  std::atomic<int> seen{0};
  for (int round = 0; round < 3; ++round) {
    absl::SleepFor(absl::Milliseconds(2));  // Far longer than the workers spin.
    // Both threads must be inside at once: each item waits for the other.
    seen.store(0);
    pool.Run(2, [&](int64_t, int) {
      seen.fetch_add(1);
      while (seen.load() < 2) std::this_thread::yield();
    });
    EXPECT_EQ(seen.load(), 2);
  }
}

TEST(ThreadPool, CostsNoCpuTimeWhenIdle) {
  ThreadPool pool(4);
  pool.Run(100, [](int64_t, int) {});
  absl::SleepFor(absl::Milliseconds(5));  // The spin after the loop.
  const absl::Duration before = ProcessCpuTime();
  absl::SleepFor(absl::Milliseconds(60));
  EXPECT_LT(ProcessCpuTime() - before, absl::Milliseconds(6));
}

TEST(ThreadPool, RunsNothingForNoItems) {
  ThreadPool pool(2);
  int runs = 0;
  pool.Run(0, [&](int64_t, int) { ++runs; });
  EXPECT_EQ(runs, 0);
}

}  // namespace
}  // namespace prefixd
