#include "bench/probes.h"

#include <sys/mman.h>
#include <time.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>

namespace prefixd {
namespace {

constexpr size_t kBufferBytes = size_t{256} << 20;
constexpr size_t kItemBytes = size_t{1} << 20;

}  // namespace

Probes::Probes(const cpu::Kernels* kernels, int num_threads)
    : kernels_(kernels), pool_(num_threads) {
  buffer_.reserve(kBufferBytes / sizeof(float));
  // Huge pages as for weights; without them the probe is a little slower, so ratios look better.
  const uintptr_t begin = (reinterpret_cast<uintptr_t>(buffer_.data()) + 4095) / 4096 * 4096;
  madvise(reinterpret_cast<void*>(begin), kBufferBytes - 4096, MADV_HUGEPAGE);
  buffer_.resize(kBufferBytes / sizeof(float), 1.0f);
}

double Probes::ReadBytesPerSecond() {
  std::atomic<uint64_t> sink{0};
  const auto* bytes = reinterpret_cast<const std::byte*>(buffer_.data());
  const double begin = NowSeconds();
  pool_.Run(kBufferBytes / kItemBytes, [&](int64_t item, int) {
    sink.fetch_add(kernels_->read_probe(bytes + item * kItemBytes, kItemBytes),
                   std::memory_order_relaxed);
  });
  const double seconds = NowSeconds() - begin;
  return sink.load() > 0 ? kBufferBytes / seconds : 0;
}

double Probes::FlopsPerSecond() {
  std::atomic<uint64_t> done{0};
  const double begin = NowSeconds();
  pool_.Run(16 * pool_.num_threads(), [&](int64_t, int) {
    done.fetch_add(kernels_->fma_probe(300'000), std::memory_order_relaxed);
  });
  return 2.0 * static_cast<double>(done.load()) / (NowSeconds() - begin);
}

double NowSeconds() {
  const auto now = std::chrono::steady_clock::now().time_since_epoch();
  return std::chrono::duration<double>(now).count();
}

double CpuSeconds() {
  timespec now{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

double Median(std::vector<double> values) {
  std::nth_element(values.begin(), values.begin() + values.size() / 2, values.end());
  return values[values.size() / 2];
}

}  // namespace prefixd
