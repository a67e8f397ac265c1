// Many Generate calls from one process: some are read as fast as they come, some are not read after
// their first event until told to. Used by slow_readers_bench. Thread-safe.
#ifndef PREFIXD_BENCH_STREAM_READERS_H_
#define PREFIXD_BENCH_STREAM_READERS_H_

#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include <grpcpp/grpcpp.h>

#include "prefixd/v1/generation_service.grpc.pb.h"

namespace prefixd {

// What happened in one group of streams. Times in seconds.
struct StreamTotals {
  int64_t started = 0, ended = 0, tokens = 0, bytes = 0;
  int64_t slow_reader = 0;   // Ended with RESOURCE_EXHAUSTED, SLOW_READER.
  std::vector<double> gaps;  // Between messages of one stream.
};

class StreamReaders {
 public:
  // Connections to `server` that carry `streams_per_connection` calls each and take 64 KiB of each
  // ahead of its reader.
  StreamReaders(std::string server, int streams_per_connection);
  // Cancels what is live and waits for its end.
  ~StreamReaders();

  // Starts `count` calls. If they `stall`, each reads its first event and no more.
  void Start(const v1::GenerateRequest& request, int count, bool stall);
  // Lets those that stall read on.
  void WakeUp();
  // Cancels all.
  void Cancel();
  // Waits, at most `seconds`; false if that was not enough.
  bool WaitStarted(double seconds) const;
  bool WaitEnded(double seconds) const;

  StreamTotals totals() const;
  // Forgets the gaps and tokens so far.
  void ClearGaps();

 private:
  class Call;

  bool WaitUntil(int64_t StreamTotals::*count, double seconds) const;

  const std::string server_;
  const int streams_per_connection_;
  mutable std::mutex mutex_;
  StreamTotals totals_;
  std::vector<std::unique_ptr<v1::GenerationService::Stub>> stubs_;
  std::vector<std::unique_ptr<Call>> calls_;
};

}  // namespace prefixd

#endif  // PREFIXD_BENCH_STREAM_READERS_H_
