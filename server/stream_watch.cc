#include "server/stream_watch.h"

#include <exception>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/log.h"

namespace prefixd {

StreamWatch::StreamWatch(const Clock* clock, absl::Duration period)
    : clock_(*clock), period_(period), thread_([this] {
        try {
          Run();
        } catch (const std::exception& e) {
          PREFIXD_LOG(kError, "stream watch ended: ", e.what());
        }
      }) {}

StreamWatch::~StreamWatch() {
  {
    MutexLock lock(&mutex_);
    stopping_ = true;
  }
  thread_.join();
}

void StreamWatch::Add(std::shared_ptr<WatchedStream> stream) {
  MutexLock lock(&mutex_);
  streams_.push_back(std::move(stream));
}

void StreamWatch::Run() {
  const auto has_work = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return stopping_ || !streams_.empty();
  };
  while (true) {
    std::vector<std::shared_ptr<WatchedStream>> streams;
    {
      MutexLock lock(&mutex_);
      mutex_.Await(has_work);
      mutex_.AwaitWithTimeout([this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return stopping_; },
                              period_);
      if (stopping_) return;
      streams.swap(streams_);
    }
    std::vector<std::shared_ptr<WatchedStream>> live;
    for (std::shared_ptr<WatchedStream>& stream : streams) {
      if (stream->CheckStall(clock_.Now())) live.push_back(std::move(stream));
    }
    MutexLock lock(&mutex_);
    streams_.insert(streams_.end(), live.begin(), live.end());
  }
}

}  // namespace prefixd
