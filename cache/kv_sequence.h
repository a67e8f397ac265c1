// The KV of one sequence: a layer table per layer, and the number of tokens it has seen.
// Engine thread only.
#ifndef PREFIXD_CACHE_KV_SEQUENCE_H_
#define PREFIXD_CACHE_KV_SEQUENCE_H_

#include <cstdint>
#include <vector>

#include "cache/layer_table.h"

namespace prefixd {

class KvSequence {
 public:
  explicit KvSequence(int num_layers) : layers_(num_layers) {}
  KvSequence(KvSequence&&) = default;
  KvSequence& operator=(KvSequence&&) = default;

  int num_layers() const { return static_cast<int>(layers_.size()); }
  const LayerTable& layer(int index) const { return layers_[index]; }
  // Tokens seen so far, which is the position of the next one; not the number of live slots.
  int32_t next_position() const { return next_position_; }
  // Pages held over all layers, shared ones included.
  int32_t num_pages() const;

 private:
  friend class KvCache;

  std::vector<LayerTable> layers_;
  int32_t next_position_ = 0;
};

}  // namespace prefixd

#endif  // PREFIXD_CACHE_KV_SEQUENCE_H_
