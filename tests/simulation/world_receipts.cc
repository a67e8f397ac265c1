// What receipts say, compared with what forward passes and the oracle have shown.
#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "tests/simulation/world.h"

namespace prefixd::simulation {

// A receipt tells where each row of the prompt came from, as forward passes have shown it.
void World::CheckReceipt(const LiveRequest& request, const FinishedEvent& event) {
  const CacheReceipt& cache = event.cache;
  counted_[static_cast<size_t>(request.spec.tenant)].hits +=
      static_cast<uint64_t>(cache.hit_tokens);
  if (event.usage.cached_prompt_tokens != cache.hit_tokens) {
    Fail("receipt", request, "usage and receipt tell different hits");
  }
  if (cache.miss == CacheMiss::kEvicted) report_->Reach(Mark::kMissEvicted);
  if (cache.miss == CacheMiss::kDiverged) report_->Reach(Mark::kMissDiverged);
  if (cache.feature_hits > 0) report_->Reach(Mark::kFeatureHit);
  if (cache.images_encoded > request.images_encoded) {
    Fail("receipt", request, "more images are told than were encoded");
  }
  const bool shares = config_.cache != 0 && request.spec.bypass == 0;
  if (!shares && (cache.hit_tokens > 0 || cache.feature_hits > 0)) {
    Fail("receipt", request, "bypasses the cache and has hits");
  }
  if (!request.any_token()) return;  // Not all of the prompt was computed.
  const auto images = static_cast<int32_t>(request.oracle.images().size());
  if (cache.images != images ||
      cache.images_in_prefix + cache.feature_hits + cache.images_encoded != images) {
    Fail("receipt", request,
         absl::StrCat(images, " images came from ", cache.images_in_prefix, " + ",
                      cache.feature_hits, " + ", cache.images_encoded));
  }
  // What was taken from the cache and given back before it was used shows in no forward pass.
  const bool as_seen = cache.preemptions > 0 ? cache.hit_tokens >= request.hit_rows
                                             : cache.hit_tokens == request.hit_rows;
  if (!as_seen || cache.hit_tokens + cache.computed_tokens != request.oracle.prompt_rows()) {
    Fail("receipt", request,
         absl::StrCat("is told of ", cache.hit_tokens, " hits and ", cache.computed_tokens,
                      " computed rows; counted ", request.hit_rows, " and ",
                      request.first_computed_rows, " of ", request.oracle.prompt_rows()));
  }
}

// Under a budget: what the selection kept, and the slots that were handed on since.
void World::CheckRetention(LiveRequest* request, const FinishedEvent& event) {
  const RetentionReceipt& receipt = event.retention;
  Oracle& oracle = request->oracle;
  const auto fail = [&](absl::string_view what) {
    Fail("receipt", *request, absl::StrCat("its budget: ", what));
  };
  if (receipt.scope != oracle.scope()) fail("it ran in another scope");
  if (!oracle.budgeted()) {
    if (receipt.selected_from > 0 || receipt.decode_drops > 0) fail("it has none");
    return;
  }
  if (receipt.policy != oracle.recipe().policy->name() ||
      receipt.budget != oracle.recipe().budget) {
    fail("another was in force");
  }
  if (receipt.snapshot_hit && oracle.scope() != RetentionScope::kShared) fail("hits a snapshot");
  if (!request->any_token()) return;
  if (receipt.selected_from != oracle.boundary() ||
      receipt.kept_tokens != oracle.Selected().kept_tokens()) {
    fail(
        absl::StrCat("kept of ", receipt.selected_from, " tokens, must be of ", oracle.boundary()));
  }
  if (std::abs(receipt.score_mass - oracle.Selected().score_mass()) > 1e-9) {
    fail(absl::StrCat("score mass ", receipt.score_mass, ", must be ",
                      oracle.Selected().score_mass()));
  }
  // A choice that a time limit ended may have been computed again in part.
  int64_t drops = 0;
  for (int choice = 0; choice < request->spec.choices; ++choice) {
    const int32_t tokens = request->choices[static_cast<size_t>(choice)].tokens;
    if (tokens == 0 || (event.cache.preemptions > 0 && TimePassed(request->soft_limit))) return;
    const int32_t row = oracle.prompt_rows() + tokens - 1;  // That of the last token never ran.
    drops += oracle.KeptAt(choice, row).DropsBefore(row);
  }
  if (receipt.decode_drops != drops) {
    fail(absl::StrCat("dropped ", receipt.decode_drops, " slots, must be ", drops));
  }
}

}  // namespace prefixd::simulation
