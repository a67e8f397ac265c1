// Which images a server has taken, by the SHA-256 of their bytes.
#ifndef PREFIXD_CLIENT_SENT_IMAGES_H_
#define PREFIXD_CLIENT_SENT_IMAGES_H_

#include <cstddef>
#include <deque>
#include <string>
#include <unordered_set>

#include "absl/base/thread_annotations.h"
#include "base/mutex.h"

namespace prefixd {

// A memory of digests, the oldest forgotten first. What it holds is a guess: the server may have
// dropped an image since. Thread-safe.
class SentImages {
 public:
  static constexpr size_t kMaxDigests = 4096;

  bool Has(const std::string& digest) const;
  void Add(const std::string& digest);
  void Forget(const std::string& digest);

 private:
  mutable Mutex mutex_;
  std::unordered_set<std::string> digests_ ABSL_GUARDED_BY(mutex_);
  // In the order in which they were added; may hold forgotten ones.
  std::deque<std::string> order_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace prefixd

#endif  // PREFIXD_CLIENT_SENT_IMAGES_H_
