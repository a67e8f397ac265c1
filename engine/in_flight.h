// What is being computed right now and others wait for: the next column of a prefix, its scores, a
// snapshot, the features of an image. Filled afresh every step, oldest request first, so a computer
// that dies leaves no trace and the next in line takes over (docs/decisions.md, rule 9). Engine
// thread only.
#ifndef PREFIXD_ENGINE_IN_FLIGHT_H_
#define PREFIXD_ENGINE_IN_FLIGHT_H_

#include <utility>

#include "absl/container/flat_hash_set.h"
#include "cache/content.h"
#include "cache/prefix_index.h"

namespace prefixd {

class InFlight {
 public:
  void Clear() {
    columns_.clear();
    media_.clear();
    scores_.clear();
    snapshots_.clear();
  }

  // The caller computes the column that follows `parent`. Returns false if another does.
  bool ClaimColumn(const PrefixIndex::Node* parent, const ContentKey& key) {
    return columns_.emplace(parent, key).second;
  }
  bool HasColumn(const PrefixIndex::Node* parent, const ContentKey& key) const {
    return columns_.contains(std::pair(parent, key));
  }

  // The caller computes the scores up to the end of the column `key`. Returns false if another
  // does.
  bool ClaimScores(const ContentKey& key) { return scores_.insert(key).second; }
  bool HasScores(const ContentKey& key) const { return scores_.contains(key); }

  // The caller computes the snapshot.
  void ClaimSnapshot(const ContentKey& key) { snapshots_.insert(key); }
  bool HasSnapshot(const ContentKey& key) const { return snapshots_.contains(key); }

  // The caller encodes the image for its namespace. Returns false if another does.
  bool ClaimMedia(const ContentKey& root_key, const ContentKey& media_id) {
    return media_.emplace(root_key, media_id).second;
  }

 private:
  absl::flat_hash_set<std::pair<const PrefixIndex::Node*, ContentKey>> columns_;
  absl::flat_hash_set<std::pair<ContentKey, ContentKey>> media_;  // Root, image.
  absl::flat_hash_set<ContentKey> scores_;                        // By column.
  absl::flat_hash_set<ContentKey> snapshots_;
};

}  // namespace prefixd

#endif  // PREFIXD_ENGINE_IN_FLIGHT_H_
