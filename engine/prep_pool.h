// A few threads that prepare prompts. The number of waiting jobs is bounded by the caller, which
// counts live requests. Thread-safe.
#ifndef PREFIXD_ENGINE_PREP_POOL_H_
#define PREFIXD_ENGINE_PREP_POOL_H_

#include <deque>
#include <functional>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "base/mutex.h"

namespace prefixd {

class PrepPool {
 public:
  // Jobs get `false` when the pool is being destroyed before they ran: they then only report.
  using Job = std::function<void(bool run)>;

  explicit PrepPool(int num_threads);
  // Runs the jobs that are left with `false`, then joins.
  ~PrepPool();

  // Runs the jobs that are left, and those that come later, with `false`; the threads have ended
  // when it returns. Idempotent.
  void Shutdown();

  void Add(Job job);

 private:
  void Work();

  Mutex mutex_;
  std::deque<Job> jobs_ ABSL_GUARDED_BY(mutex_);
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::vector<std::jthread> threads_;
};

}  // namespace prefixd

#endif  // PREFIXD_ENGINE_PREP_POOL_H_
