// What the machine can do this minute: reading memory and fused multiply-adds on all threads, with
// the instructions of one CPU level. Numbers of ops are only meaningful beside these.
#ifndef PREFIXD_BENCH_PROBES_H_
#define PREFIXD_BENCH_PROBES_H_

#include <vector>

#include "engine/backend/cpu/kernels.h"
#include "engine/backend/cpu/thread_pool.h"

namespace prefixd {

class Probes {
 public:
  Probes(const cpu::Kernels* kernels, int num_threads);

  // Bytes per second of one pass over a buffer far larger than the caches.
  double ReadBytesPerSecond();
  // Float32 operations per second (two per multiply-add) over about 10 ms.
  double FlopsPerSecond();

 private:
  const cpu::Kernels* const kernels_;
  ThreadPool pool_;
  std::vector<float> buffer_;
};

// Seconds on the monotonic clock.
double NowSeconds();
// Seconds of CPU time of all threads of this process.
double CpuSeconds();

double Median(std::vector<double> values);

}  // namespace prefixd

#endif  // PREFIXD_BENCH_PROBES_H_
