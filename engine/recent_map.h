// A small map from names to values that keeps those used last. One thread at a time.
#ifndef PREFIXD_ENGINE_RECENT_MAP_H_
#define PREFIXD_ENGINE_RECENT_MAP_H_

#include <algorithm>
#include <list>
#include <string>
#include <utility>

namespace prefixd {

template <typename Value>
class RecentMap {
 public:
  explicit RecentMap(size_t capacity) : capacity_(capacity) {}

  // Null if it is not there. Valid until the next call.
  const Value* Find(const std::string& key) {
    const auto found = std::find_if(entries_.begin(), entries_.end(),
                                    [&key](const auto& entry) { return entry.first == key; });
    if (found == entries_.end()) return nullptr;
    entries_.splice(entries_.begin(), entries_, found);
    return &entries_.front().second;
  }

  // Keeps a value under a key that is not there.
  void Insert(std::string key, Value value) {
    entries_.emplace_front(std::move(key), std::move(value));
    if (entries_.size() > capacity_) entries_.pop_back();
  }

 private:
  const size_t capacity_;
  std::list<std::pair<std::string, Value>> entries_;  // The one used last first.
};

}  // namespace prefixd

#endif  // PREFIXD_ENGINE_RECENT_MAP_H_
