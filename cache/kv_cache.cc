#include "cache/kv_cache.h"

#include <limits>

#include "base/check.h"

namespace prefixd {
KvCache::KvCache(int num_layers, int32_t num_pages) : num_layers_(num_layers), pool_(num_pages) {
  PREFIXD_CHECK(num_layers > 0);
}

int64_t KvCache::PagesForTokens(int64_t num_tokens) const {
  PREFIXD_CHECK(num_tokens >= 0);
  const int64_t per_layer = num_tokens / kSlotsPerPage + (num_tokens % kSlotsPerPage != 0);
  return per_layer * num_layers_;
}

int64_t KvCache::PagesToAppend(const KvSequence& sequence, int32_t count) const {
  int64_t pages = 0;
  for (const LayerTable& layer : sequence.layers_) pages += layer.PagesToAppend(count);
  return pages;
}

bool KvCache::Append(KvSequence* sequence, int32_t count, Placement* placement) {
  PREFIXD_CHECK(sequence->num_layers() == num_layers_);
  PREFIXD_CHECK(count >= 0);
  PREFIXD_CHECK(count <= std::numeric_limits<int32_t>::max() - sequence->next_position_);
  if (PagesToAppend(*sequence, count) > pool_.num_free()) return false;
  placement->write_slots.resize(num_layers_);
  placement->first_visible.resize(num_layers_);
  for (int i = 0; i < num_layers_; ++i) {
    LayerTable& layer = sequence->layers_[i];
    std::vector<int32_t>& slots = placement->write_slots[i];
    placement->first_visible[i] = layer.length() + 1;
    slots.resize(count);
    layer.Append(count, sequence->next_position_, &pool_, absl::MakeSpan(slots), &copies_,
                 &copy_sources_);
  }
  sequence->next_position_ += count;
  return true;
}

KvSequence KvCache::Fork(const KvSequence& sequence) const {
  PREFIXD_CHECK(sequence.num_layers() == num_layers_);
  KvSequence fork(num_layers_);
  for (int i = 0; i < num_layers_; ++i) fork.layers_[i] = sequence.layers_[i].Fork();
  fork.next_position_ = sequence.next_position_;
  return fork;
}

void KvCache::ClearCopies() {
  copies_.clear();
  copy_sources_.clear();
}

void KvCache::CheckInvariants(absl::Span<const KvSequence* const> sequences) const {
  pool_.CheckInvariants();
  std::vector<int32_t> claims(pool_.num_pages());
  for (const KvSequence* sequence : sequences) {
    PREFIXD_CHECK(sequence->num_layers() == num_layers_);
    for (const LayerTable& layer : sequence->layers_) {
      layer.CheckInvariants(pool_);
      PREFIXD_CHECK(layer.length() <= sequence->next_position_);
      for (const PageId id : layer.page_ids()) ++claims[id];
    }
  }
  std::vector<int32_t> holds(pool_.num_pages());
  PREFIXD_CHECK(copies_.size() == copy_sources_.size());
  for (const PendingCopy& copy : copies_) ++holds[copy.source];
  for (const PendingCopy& copy : copies_) PREFIXD_CHECK(holds[copy.destination] == 0);
  for (PageId id = 0; id < pool_.num_pages(); ++id) {
    PREFIXD_CHECK(pool_.ref_count(id) == claims[id]);
    PREFIXD_CHECK(pool_.hold_count(id) == holds[id]);
  }
}

}  // namespace prefixd
