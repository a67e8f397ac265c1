// How a request takes part in sharing: what it takes from the prefix index and the feature cache,
// when it waits for another, what it publishes, and what its receipt says. Engine thread only.
#ifndef PREFIXD_ENGINE_PREFIX_SHARING_H_
#define PREFIXD_ENGINE_PREFIX_SHARING_H_

#include "cache/kv_cache.h"
#include "engine/feature_cache.h"
#include "engine/in_flight.h"
#include "engine/sequence.h"

namespace prefixd {

class PrefixSharing {
 public:
  // Both must outlive it.
  PrefixSharing(KvCache* cache, FeatureCache* features) : cache_(*cache), features_(*features) {}

  // Begins a step: nobody computes anything yet.
  void BeginStep() { in_flight_.Clear(); }

  // Lets a request whose KV is empty start from its snapshot, else from the longest cached prefix
  // that is of use to it. Returns false if it
  // should rather wait, because what comes next is being computed; its KV is empty again then.
  bool Begin(ActiveRequest* request);

  // Undoes the last Begin.
  void Abandon(ActiveRequest* request);

  // Brings a request in prefill up to date: adopts what was published since, and finds out whether
  // it waits for another. Call for each in order of admission, parked ones left out.
  void Update(ActiveRequest* request);

  // Publishes the full columns of all choices.
  void Publish(ActiveRequest* request);

  // Takes features that the request's encoding made.
  void KeepFeatures(ActiveRequest* request, Features features);

 private:
  bool StartFromSnapshot(ActiveRequest* request);
  bool StartFromWholePrefix(ActiveRequest* request);
  bool StartFromContextEnd(ActiveRequest* request);
  void ExtendColumns(ActiveRequest* request);
  void AdoptPartial(ActiveRequest* request);
  void UpdateImages(ActiveRequest* request);

  KvCache& cache_;
  FeatureCache& features_;
  InFlight in_flight_;
  PrefixIndex::Match match_;  // Of the request at hand.
  // Of the request that Begin was called for, to be restored by Abandon.
  int32_t saved_most_rows_ = 0;
  CacheReceipt saved_receipt_;
};

// What the request's snapshot is of. Valid while the request is. Requires: it has a root key.
SnapshotSpec SnapshotSpecOf(const ActiveRequest& request);

// The same of a whole prompt whose rows see each other. Valid while the prompt is. Requires: it has
// a root key.
SnapshotSpec WholePrefixSpecOf(const Prompt& prompt);

// The same of a context behind which tokens are scored, whatever the model.
SnapshotSpec ContextEndSpecOf(const Prompt& prompt);

// Counts rows [begin, end) of the prompt's first choice as taken from the cache, or as computed.
void CountAdopted(int32_t begin, int32_t end, ActiveRequest* request);
void CountComputed(int32_t begin, int32_t end, Sequence* sequence, ActiveRequest* request);

}  // namespace prefixd

#endif  // PREFIXD_ENGINE_PREFIX_SHARING_H_
