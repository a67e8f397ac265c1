#include "engine/prep_pool.h"

#include <utility>

namespace prefixd {

PrepPool::PrepPool(int num_threads) {
  for (int i = 0; i < num_threads; ++i) threads_.emplace_back([this] { Work(); });
}

PrepPool::~PrepPool() { Shutdown(); }

void PrepPool::Shutdown() {
  {
    MutexLock lock(&mutex_);
    stopping_ = true;
  }
  threads_.clear();  // Joins.
}

void PrepPool::Add(Job job) {
  {
    MutexLock lock(&mutex_);
    if (!stopping_) {
      jobs_.push_back(std::move(job));
      return;
    }
  }
  job(false);
}

void PrepPool::Work() {
  while (true) {
    Job job;
    bool run = true;
    {
      MutexLock lock(&mutex_);
      const auto ready = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
        return stopping_ || !jobs_.empty();
      };
      mutex_.Await(ready);
      if (jobs_.empty()) return;
      job = std::move(jobs_.front());
      jobs_.pop_front();
      run = !stopping_;
    }
    job(run);
  }
}

}  // namespace prefixd
