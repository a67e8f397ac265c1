#include "cache/kv_sequence.h"

namespace prefixd {

int32_t KvSequence::num_pages() const {
  int32_t count = 0;
  for (const LayerTable& layer : layers_) count += static_cast<int32_t>(layer.page_ids().size());
  return count;
}

}  // namespace prefixd
