// The manager of all KV: pages and the sequences that hold them. Ids and integers
// only; the bytes are a backend's. Engine thread only.
#ifndef PREFIXD_CACHE_KV_CACHE_H_
#define PREFIXD_CACHE_KV_CACHE_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/types/span.h"
#include "cache/kv_sequence.h"
#include "cache/layer_table.h"
#include "cache/page_pool.h"

namespace prefixd {

class KvCache {
 public:
  KvCache(int num_layers, int32_t num_pages);

  int num_layers() const { return num_layers_; }
  int32_t num_pages() const { return pool_.num_pages(); }
  int32_t num_free_pages() const { return pool_.num_free(); }

  // Pages that a sequence of `num_tokens` tokens holds when nothing is shared or evicted.
  int64_t PagesForTokens(int64_t num_tokens) const;

  // Where the tokens of one Append go, per layer.
  struct Placement {
    std::vector<std::vector<int32_t>> write_slots;  // [num_layers][count].
    std::vector<int32_t> first_visible;             // [num_layers]: slots the first row sees.
  };

  // Adds `count` tokens to every layer of `sequence`. Page copies to make before the writes are
  // added to copies(). Returns false, and changes nothing, if pages lack.
  bool Append(KvSequence* sequence, int32_t count, Placement* placement);

  // A sequence with the same tokens, sharing every page; the first write of either copies.
  // Requires: no copy for `sequence` is pending, that is, its last step has cleared the copies.
  KvSequence Fork(const KvSequence& sequence) const;

  // Pages that Append(count) would take now.
  int64_t PagesToAppend(const KvSequence& sequence, int32_t count) const;

  // Copies to make before the step's writes, in any order: no page is both a source and a
  // destination. The step that made them calls ClearCopies; until then the sources stay allocated.
  absl::Span<const PendingCopy> copies() const { return copies_; }
  void ClearCopies();

  // Crashes unless the pool, and `sequences` (all that are alive), agree on every page:
  // each page's count is the number of tables that hold it, all others are free.
  void CheckInvariants(absl::Span<const KvSequence* const> sequences) const;

 private:
  const int num_layers_;
  PagePool pool_;
  std::vector<PendingCopy> copies_;
  std::vector<PageHold> copy_sources_;  // Keeps the sources of copies_ alive.
};

}  // namespace prefixd

#endif  // PREFIXD_CACHE_KV_CACHE_H_
