#include "client/sent_images.h"

namespace prefixd {

bool SentImages::Has(const std::string& digest) const {
  MutexLock lock(&mutex_);
  return digests_.count(digest) > 0;
}

void SentImages::Add(const std::string& digest) {
  MutexLock lock(&mutex_);
  if (!digests_.insert(digest).second) return;
  order_.push_back(digest);
  if (order_.size() <= kMaxDigests) return;
  digests_.erase(order_.front());
  order_.pop_front();
}

void SentImages::Forget(const std::string& digest) {
  MutexLock lock(&mutex_);
  digests_.erase(digest);
}

}  // namespace prefixd
