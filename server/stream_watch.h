// Looks at live streams about once a second and ends those whose reader takes nothing. Its thread
// sleeps while there are none. Thread-safe.
#ifndef PREFIXD_SERVER_STREAM_WATCH_H_
#define PREFIXD_SERVER_STREAM_WATCH_H_

#include <memory>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "base/mutex.h"

namespace prefixd {

// How long a reader that was too slow has to take the status before the connection's stream is
// reset.
inline constexpr absl::Duration kSlowReaderGrace = absl::Seconds(5);

// A stream that is looked at.
class WatchedStream {
 public:
  virtual ~WatchedStream() = default;

  // Ends a call whose reader takes nothing. Returns false once the call is done.
  virtual bool CheckStall(absl::Time now) = 0;
};

class StreamWatch {
 public:
  // `clock` must outlive the watch.
  StreamWatch(const Clock* clock, absl::Duration period);
  ~StreamWatch();

  void Add(std::shared_ptr<WatchedStream> stream);

 private:
  void Run();

  const Clock& clock_;
  const absl::Duration period_;
  Mutex mutex_;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  // Shared: the watch may be looking at a stream when its call ends.
  std::vector<std::shared_ptr<WatchedStream>> streams_ ABSL_GUARDED_BY(mutex_);
  std::thread thread_;
};

}  // namespace prefixd

#endif  // PREFIXD_SERVER_STREAM_WATCH_H_
