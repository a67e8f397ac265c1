// A persistent pool that runs one parallel loop at a time. The caller takes part, so a loop never
// waits for a worker to wake: workers that come late find the loop closed and stay out.
//
// Workers spin for some tens of microseconds after a loop, then sleep on a futex: an idle pool
// costs no CPU time. Which thread runs which item is not defined; loops whose items write disjoint
// memory give the same bits at every thread count.
//
// Threads: Run is called by one thread at a time.
#ifndef PREFIXD_ENGINE_BACKEND_CPU_THREAD_POOL_H_
#define PREFIXD_ENGINE_BACKEND_CPU_THREAD_POOL_H_

#include <atomic>
#include <cstdint>
#include <thread>
#include <vector>

#include "absl/functional/function_ref.h"

namespace prefixd {

class ThreadPool {
 public:
  // Runs one item. `thread` is in [0, num_threads) and not used by two items at once.
  using Item = absl::FunctionRef<void(int64_t item, int thread)>;

  // Requires: 1 <= num_threads <= 256. Starts num_threads - 1 workers, or as many as the system
  // gives.
  explicit ThreadPool(int num_threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  // The caller and the workers that were started.
  int num_threads() const { return 1 + static_cast<int>(workers_.size()); }

  // Runs items [0, num_items), claimed in ascending order, and returns when all are done.
  void Run(int64_t num_items, Item item);

 private:
  void WorkerMain(int thread);
  void RunItems(int thread);
  uint32_t WaitForNewLoop(uint32_t seen_epoch);
  void WaitUntilWorkersLeft();

  // gate_ = epoch << 16 | open << 15 | number of workers inside.
  std::atomic<uint32_t> gate_{0};
  std::atomic<bool> stop_{false};
  alignas(64) std::atomic<int64_t> next_item_{0};
  // Written while the gate is closed and empty, read by those inside.
  int64_t num_items_ = 0;
  const Item* item_ = nullptr;
  std::vector<std::jthread> workers_;
};

}  // namespace prefixd

#endif  // PREFIXD_ENGINE_BACKEND_CPU_THREAD_POOL_H_
