// What is being computed right now and others wait for: the next column of a prefix, the features
// of an image. Filled afresh every step, oldest request first, so a computer that dies leaves no
// trace and the next in line takes over (docs/decisions.md, rule 9). Engine thread only.
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
  }

  // The caller computes the column that follows `parent`. Returns false if another does.
  bool ClaimColumn(const PrefixIndex::Node* parent, const ContentKey& key) {
    return columns_.emplace(parent, key).second;
  }
  bool HasColumn(const PrefixIndex::Node* parent, const ContentKey& key) const {
    return columns_.contains(std::pair(parent, key));
  }

  // The caller encodes the image for its namespace. Returns false if another does.
  bool ClaimMedia(const ContentKey& root_key, const ContentKey& media_id) {
    return media_.emplace(root_key, media_id).second;
  }

 private:
  absl::flat_hash_set<std::pair<const PrefixIndex::Node*, ContentKey>> columns_;
  absl::flat_hash_set<std::pair<ContentKey, ContentKey>> media_;  // Root, image.
};

}  // namespace prefixd

#endif  // PREFIXD_ENGINE_IN_FLIGHT_H_
