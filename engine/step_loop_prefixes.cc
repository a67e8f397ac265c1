// StepLoop: pinned prefixes and the pages they take.
#include "engine/step_loop.h"

#include <algorithm>
#include <limits>
#include <numeric>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "base/planted_bug.h"
#include "engine/error_reasons.h"
#include "engine/step_loop_internal.h"

namespace prefixd {

absl::Status StepLoop::PinPrefix(ActiveRequest* request) {
  const KvSequence& kv = request->first().kv;
  pinned_.push_back({request->pins, request->tenant, kv.pin().Clone()});
  CountPinned();
  const int64_t pinned = std::accumulate(pinned_pages_.begin(), pinned_pages_.end(), int64_t{0});
  const int64_t limit = static_cast<int64_t>(options_.pinned_share * cache_.num_pages());
  const auto fits = [this](const RequestList& requests) {
    return std::all_of(requests.begin(), requests.end(), [this](const auto& other) {
      return other->ended || other->pins != nullptr || CheckFits(*other).ok();
    });
  };
  absl::Status status;
  if (pinned > limit) {
    status = MakeError(absl::StatusCode::kResourceExhausted, reason::kTenantQuota,
                       absl::StrCat("with this one pinned prefixes would hold ", pinned,
                                    " pages, the limit is ", limit),
                       {{"pages", absl::StrCat(pinned)}, {"limit", absl::StrCat(limit)}});
  } else if (LonelyPages(request->tenant) < 0 || !fits(waiting_) || !fits(running_)) {
    status = MakeError(absl::StatusCode::kResourceExhausted, reason::kTenantQuota,
                       "the pages of this prefix are needed by requests that were accepted",
                       {{"pages", absl::StrCat(pinned)}});
  } else {
    const int64_t pages = int64_t{kv.num_shared_columns()} * cache_.num_layers();
    uint64_t image_bytes = 0;
    for (const KeptImage& kept : request->pins->kept) {
      image_bytes += kept.image.pixels->size() * sizeof(float);
    }
    const PrefixInfo info{.prompt_tokens = request->prompt_rows(),
                          .pinned_tokens = kv.num_shared_columns() * kSlotsPerPage,
                          .images = request->receipt.images,
                          .kv_bytes = static_cast<uint64_t>(pages) * options_.page_bytes,
                          .image_bytes = image_bytes};
    if (options_.prefixes->SetReady(request->pins.get(), info, clock_->Now())) return status;
    status = Stopped(StopCause::kCancelled);
  }
  pinned_.pop_back();
  CountPinned();
  return status;
}

void StepLoop::DropReleasedPins() {
  if (options_.prefixes == nullptr) return;
  options_.prefixes->RemoveExpired(clock_->Now());
  const size_t dropped = std::erase_if(pinned_, [this](const PinnedPrefix& prefix) {
    return !options_.prefixes->IsAlive(*prefix.entry) && !PREFIXD_PLANTED(kReleasedStaysPinned);
  });
  if (dropped == 0) return;
  calm_ = false;
  CountPinned();
}

void StepLoop::CountPinned() {
  std::fill(pinned_pages_.begin(), pinned_pages_.end(), 0);
  absl::flat_hash_set<const PrefixIndex::Node*> seen;
  for (const PinnedPrefix& prefix : pinned_) {
    const PrefixIndex::Node* node = prefix.pin.node();
    while (cache_.index().depth(node) > 0 && seen.insert(node).second) {
      pinned_pages_[prefix.tenant] += cache_.num_layers();
      node = cache_.index().parent(node);
    }
  }
}

int64_t StepLoop::LonelyPages(int32_t tenant) const {
  int64_t others = 0;
  for (size_t t = 0; t < pinned_pages_.size(); ++t) {
    if (static_cast<int32_t>(t) == tenant) continue;
    // Whole columns are evicted: a floor may be missed by less than one.
    const int64_t floor = cache_.tenant(static_cast<int32_t>(t)).floor;
    others += std::max(floor > 0 ? floor + cache_.num_layers() - 1 : 0, pinned_pages_[t]);
  }
  return std::min(cache_.tenant(tenant).quota, cache_.num_pages() - others) - pinned_pages_[tenant];
}

FlushResult StepLoop::Flush(int32_t tenant) {
  calm_ = false;
  FlushResult result;
  const int32_t free_before = cache_.num_free_pages();
  const int64_t columns = cache_.index().num_columns();
  cache_.EvictAll(tenant);
  result.pages = cache_.num_free_pages() - free_before;
  result.columns = columns - cache_.index().num_columns();
  result.feature_bytes = features_.Flush(tenant);
  return result;
}

}  // namespace prefixd
