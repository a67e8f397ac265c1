// Events of one stream that wait to be written. Deltas of one choice merge while they wait, so the
// queue stays as short as a request has choices. Not thread-safe; its stream guards it.
#ifndef PREFIXD_SERVER_RESPONSE_QUEUE_H_
#define PREFIXD_SERVER_RESPONSE_QUEUE_H_

#include <cstddef>
#include <deque>

#include "prefixd/v1/generation_service.pb.h"

namespace prefixd {

// Bytes of memory that a message takes, about: log-probs are several times their serialised size.
size_t MemoryOf(const v1::GenerateResponse& response);

class ResponseQueue {
 public:
  // Appends, or merges a delta into the waiting one of the same choice: the order of events within
  // a choice is kept, and no delta passes the end of its choice.
  void Push(v1::GenerateResponse response);

  // Requires: not empty.
  v1::GenerateResponse Pop();

  void Clear();

  bool empty() const { return entries_.empty(); }
  size_t size() const { return entries_.size(); }
  size_t bytes() const { return bytes_; }  // Of memory, about.

 private:
  // A merged message does not grow beyond this; then the next one starts.
  static constexpr size_t kMaxMessageBytes = 64 << 10;

  struct Entry {
    v1::GenerateResponse response;
    size_t bytes = 0;
  };

  std::deque<Entry> entries_;
  size_t bytes_ = 0;
};

}  // namespace prefixd

#endif  // PREFIXD_SERVER_RESPONSE_QUEUE_H_
