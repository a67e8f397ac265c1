// What KV is made of in the simulation. The slot of position t in any layer holds the chain hash of
// the namespace and everything up to t; the logits of a row are a function of its chain hash alone.
// A row that sees what a KV budget left takes a hash of all that it sees, in every layer, in place
// of the chain before it: one slot too many, too few, stale or strange changes all that follows.
#ifndef PREFIXD_TESTS_SIMULATION_CHAIN_H_
#define PREFIXD_TESTS_SIMULATION_CHAIN_H_

#include <cstdint>

#include "absl/types/span.h"
#include "tests/simulation/choices.h"
#include "tests/simulation/scenario.h"

namespace prefixd::simulation {

using ChainHash = uint64_t;

inline constexpr int32_t kEos = 0;

// What a row under an image holds. Exact as a float.
inline int64_t FeatureValue(int64_t owner, int64_t media, int64_t row) {
  return (owner * 16 + media) * 64 + row;
}
// Whose features a request may see: those of its namespace, its own when it bypasses caches.
inline int64_t FeatureOwner(const RequestSpec& request) {
  return request.bypass != 0 ? 256 + request.id : request.tenant * 4 + request.salt;
}

// Nobody else ever computes the chain of a request that bypasses the prefix cache.
inline ChainHash RootHash(const RequestSpec& request) {
  const uint64_t nonce = request.bypass != 0 ? static_cast<uint64_t>(request.id) : 0;
  return Mix(Mix(Mix(0x5eed ^ static_cast<uint64_t>(request.tenant)) ^
                 static_cast<uint64_t>(request.salt)) ^
             nonce);
}
inline ChainHash ExtendByToken(ChainHash chain, int64_t token) {
  return Mix(chain ^ static_cast<uint64_t>(token + 1));
}
inline ChainHash ExtendByFeature(ChainHash chain, int64_t feature_value) {
  return Mix(chain ^ (uint64_t{1} << 40) ^ static_cast<uint64_t>(feature_value));
}

// What a slot adds to the view of a row that sees it. Views add up, in any order.
inline uint64_t SeenSlot(int layer, ChainHash chain, int32_t position) {
  return Mix(chain ^ Mix(static_cast<uint64_t>(layer) << 32 | static_cast<uint32_t>(position)));
}
// What stands for the chain before a row under a KV budget, given its view of all layers.
inline ChainHash ChainOfView(uint64_t view) { return Mix(view ^ 0xb0d6e7u); }
// A slot that several were averaged into, in this order.
inline ChainHash MeanOf(absl::Span<const ChainHash> chains) {
  if (chains.size() == 1) return chains[0];
  ChainHash mean = chains.size();
  for (const ChainHash chain : chains) mean = Mix(mean ^ chain);
  return mean;
}
// The attention that a query pays to a key: small whole numbers, so that floats add up exactly, in
// any order. The further down the layer, the more keys have much of it.
inline int32_t AttentionScore(int layer, ChainHash query, ChainHash key) {
  const uint64_t k = Mix(key + static_cast<uint64_t>(layer));
  const int32_t weight = (k & 15) <= static_cast<uint64_t>(layer) ? 24 : 1;
  return weight + static_cast<int32_t>(Mix(query ^ k) & 3);
}

// logits: [vocab]. The end of sequence is the likeliest token of one row in sixteen and rare in all
// others.
inline void FillLogits(ChainHash chain, absl::Span<float> logits) {
  for (size_t i = 0; i < logits.size(); ++i) {
    logits[i] = static_cast<float>((Mix(chain + i) >> 20) & 0xfff) / 512.0f;
  }
  logits[kEos] = (chain & 15) == 0 ? 9.0f : -9.0f;
}

}  // namespace prefixd::simulation

#endif  // PREFIXD_TESTS_SIMULATION_CHAIN_H_
