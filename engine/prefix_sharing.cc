#include "engine/prefix_sharing.h"

#include <algorithm>
#include <utility>

#include "base/planted_bug.h"

namespace prefixd {
namespace {

CacheMiss MissOf(MissReason reason) {
  switch (reason) {
    case MissReason::kNone:
      return CacheMiss::kNone;
    case MissReason::kNotCached:
      return CacheMiss::kNotCached;
    case MissReason::kEvicted:
      return CacheMiss::kEvicted;
    case MissReason::kDiverged:
      return CacheMiss::kDiverged;
    case MissReason::kNoScores:
      return CacheMiss::kNoScores;
  }
  return CacheMiss::kNotCached;
}

// Rows that may come from the cache: the last one must be computed, for it yields the logits. Of a
// prefix that is pinned nobody asks for logits.
// Under a KV budget the row before the selection is computed too, and all whose queries count.
int32_t MatchableRows(const ActiveRequest& request) {
  if (PREFIXD_PLANTED(kLastTokenMatched)) return request.prefill_rows();
  const RetentionState& retention = request.retention;
  if (retention.on()) {
    const int32_t last = retention.needs().window > 0 ? retention.first_summed() : INT32_MAX;
    return std::min(retention.boundary - 1, last);
  }
  const bool needs_last =
      request.pins == nullptr && !(request.scoring && !request.scoring->context_state.empty());
  return needs_last ? request.prefill_rows() - 1 : request.prefill_rows();
}

// The key of the column that the request computes next; null if that is never full.
const ContentKey* NextKey(const ActiveRequest& request) {
  const int32_t next = request.first().kv.num_shared_columns();
  if ((next + 1) * kSlotsPerPage > request.prefill_rows()) return nullptr;
  return next < static_cast<int32_t>(request.keys.size()) ? &request.keys[next] : nullptr;
}

KvCache::Columns ColumnsFor(const ActiveRequest& request) {
  if (request.scoring && request.scoring->params.prompt_logprobs) return KvCache::Columns::kYielded;
  return request.retention.needs_stored_scores() ? KvCache::Columns::kScored
                                                 : KvCache::Columns::kAny;
}

// The key of the column whose scores the request stores next; null if there is none.
const ContentKey* NextScoredKey(const ActiveRequest& request) {
  if (!request.retention.needs_stored_scores()) return nullptr;
  const std::vector<int32_t>& checkpoints = request.retention.checkpoints;
  const auto next =
      std::upper_bound(checkpoints.begin(), checkpoints.end(), request.first().kv.next_position());
  if (next == checkpoints.end()) return nullptr;
  const size_t column = static_cast<size_t>(*next / kSlotsPerPage) - 1;
  return column < request.keys.size() ? &request.keys[column] : nullptr;
}

bool AtCheckpoint(const ActiveRequest& request) {
  const int32_t row = request.first().kv.next_position();
  const std::vector<int32_t>& checkpoints = request.retention.checkpoints;
  return row == 0 || std::binary_search(checkpoints.begin(), checkpoints.end(), row);
}

bool AtColumnBoundary(const KvSequence& kv) {
  return kv.next_position() == kv.num_shared_columns() * kSlotsPerPage;
}

}  // namespace

void CountAdopted(int32_t begin, int32_t end, ActiveRequest* request) {
  int32_t& most = request->first().most_rows;
  const int32_t prompt_end = std::min(end, request->prompt_rows());
  const int32_t counted = PREFIXD_PLANTED(kHitsCountTwice) ? 0 : most;
  request->receipt.hit_tokens += std::max(0, prompt_end - std::max(begin, counted));
  most = std::max(most, end);
}

void CountComputed(int32_t begin, int32_t end, Sequence* sequence, ActiveRequest* request) {
  int32_t& most = sequence->most_rows;
  request->recomputed_rows += std::max(0, std::min(end, most) - begin);
  if (sequence == &request->first()) {
    const int32_t prompt_end = std::min(end, request->prompt_rows());
    request->receipt.computed_tokens += std::max(0, prompt_end - std::max(begin, most));
  }
  most = std::max(most, end);
}

bool PrefixSharing::Begin(ActiveRequest* request) {
  KvSequence* const kv = &request->first().kv;
  saved_most_rows_ = request->first().most_rows;
  saved_receipt_ = request->receipt;
  if (!request->prompt.root_key || request->request.embed_images) return true;
  if (request->context_end && StartFromContextEnd(request)) return true;
  if (request->whole_prompt) {
    if (request->context_end) return !in_flight_.HasSnapshot(*request->context_end);
    if (!request->whole_prefix || StartFromWholePrefix(request)) return true;
    return !in_flight_.HasSnapshot(*request->whole_prefix);
  }
  if (const auto& snapshot = request->retention.snapshot_key) {
    if (StartFromSnapshot(request)) return true;
    if (in_flight_.HasSnapshot(*snapshot)) return false;
  }
  cache_.Open(*request->prompt.root_key, kv);
  ExtendColumns(request);
  match_ = {};
  const ContentKey* next = NextKey(*request);
  const ContentKey* scored = NextScoredKey(*request);
  const bool waits = (next != nullptr && in_flight_.HasColumn(kv->pin().node(), *next)) ||
                     (scored != nullptr && in_flight_.HasScores(*scored));
  if (waits) Abandon(request);
  return !waits;
}

bool PrefixSharing::StartFromSnapshot(ActiveRequest* request) {
  RetentionState& retention = request->retention;
  const SnapshotSpec spec = SnapshotSpecOf(*request);
  KvSequence* const kv = &request->first().kv;
  if (!cache_.StartFromSnapshot(*retention.snapshot_key, spec, kv)) return false;
  retention.selected = true;
  CountAdopted(0, kv->next_position(), request);
  return true;
}

// All rows but the last, which yields the logits.
bool PrefixSharing::StartFromWholePrefix(ActiveRequest* request) {
  KvSequence* const kv = &request->first().kv;
  const SnapshotSpec spec = WholePrefixSpecOf(request->prompt);
  if (!cache_.StartFromSnapshot(*request->whole_prefix, spec, kv)) return false;
  CountAdopted(0, kv->next_position(), request);
  return true;
}

// All rows; the state of the last one is kept with them.
bool PrefixSharing::StartFromContextEnd(ActiveRequest* request) {
  ScoringState& scoring = *request->scoring;
  if (scoring.params.prompt_logprobs) return false;  // Rows yield more than the cache keeps.
  KvSequence* const kv = &request->first().kv;
  const std::vector<float>* const state =
      cache_.StartFromContextEnd(*request->context_end, ContextEndSpecOf(request->prompt),
                                 !request->whole_prompt, request->keys, kv);
  if (state == nullptr) return false;
  scoring.context_state = *state;
  CountAdopted(0, kv->next_position(), request);
  return true;
}

SnapshotSpec ContextEndSpecOf(const Prompt& prompt) {
  static const ContentKey kRecipe = Sha256().Update(absl::string_view("context end")).Finish();
  return {.root_key = *prompt.root_key, .recipe = kRecipe, .tokens = prompt.tokens()};
}

SnapshotSpec WholePrefixSpecOf(const Prompt& prompt) {
  static const ContentKey kRecipe = Sha256().Update(absl::string_view("whole prefix")).Finish();
  return {.root_key = *prompt.root_key, .recipe = kRecipe, .tokens = prompt.tokens()};
}

SnapshotSpec SnapshotSpecOf(const ActiveRequest& request) {
  const auto rows = static_cast<size_t>(request.retention.boundary);
  return {.root_key = *request.prompt.root_key,
          .recipe = request.retention.recipe_digest,
          .tokens = {.ids = absl::MakeConstSpan(request.prompt.token_ids).subspan(0, rows),
                     .media = request.prompt.media}};
}

void PrefixSharing::Abandon(ActiveRequest* request) {
  request->first().kv = KvSequence(cache_.num_layers(), request->tenant);
  request->first().most_rows = saved_most_rows_;
  request->retention.selected = false;
  request->receipt = saved_receipt_;
}

void PrefixSharing::ExtendColumns(ActiveRequest* request) {
  KvSequence* const kv = &request->first().kv;
  const int32_t before = kv->next_position();
  // It may have computed more columns than it could have taken.
  const int32_t most = std::max(MatchableRows(*request), before);
  match_ = cache_.Extend(request->tokens(), request->keys, most, ColumnsFor(*request), kv);
  CountAdopted(before, kv->next_position(), request);
}

void PrefixSharing::AdoptPartial(ActiveRequest* request) {
  KvSequence* const kv = &request->first().kv;
  // The copy needs its source for one step: not where the request may need every page.
  const int64_t own = request->max_pages - kv->num_shared_columns() * cache_.num_layers();
  if (cache_.CanReserve(request->tenant, own + cache_.num_layers()) != KvCache::Room::kGranted) {
    return;
  }
  const int32_t before = kv->next_position();
  cache_.AdoptPartial(std::move(match_), kv);
  CountAdopted(before, kv->next_position(), request);
}

void PrefixSharing::Update(ActiveRequest* request) {
  KvSequence* const kv = &request->first().kv;
  request->column_waits = request->image_waits = false;
  if (request->whole_prefix && kv->next_position() == 0) {
    in_flight_.ClaimSnapshot(*request->whole_prefix);
    if (request->receipt.miss == CacheMiss::kNone) request->receipt.miss = CacheMiss::kNotCached;
  }
  if (request->whole_prompt && request->context_end && kv->next_position() == 0) {
    in_flight_.ClaimSnapshot(*request->context_end);
    if (request->receipt.miss == CacheMiss::kNone) request->receipt.miss = CacheMiss::kNotCached;
  }
  if (kv->shares() && kv->next_position() < request->prefill_rows()) {
    if (request->retention.snapshot_key) {
      in_flight_.ClaimSnapshot(*request->retention.snapshot_key);
    }
    const bool scored = request->retention.needs_stored_scores();
    // Between checkpoints the scores of the rows computed so far are nobody else's.
    const bool at_boundary = scored ? AtCheckpoint(*request) : AtColumnBoundary(*kv);
    if (at_boundary && AtColumnBoundary(*kv)) ExtendColumns(request);
    const ContentKey* next = NextKey(*request);
    bool mine = next == nullptr || in_flight_.ClaimColumn(kv->pin().node(), *next);
    if (scored) {
      const ContentKey* stored = NextScoredKey(*request);
      mine = stored == nullptr || in_flight_.ClaimScores(*stored);
    }
    if (at_boundary) {
      if (mine && match_.partial) AdoptPartial(request);
      // The first thing that had to be computed explains the miss.
      if (mine && request->receipt.miss == CacheMiss::kNone) {
        request->receipt.miss = MissOf(match_.reason);
      }
      request->column_waits = !mine;
    }
    match_ = {};
  }
  if (!request->column_waits) UpdateImages(request);
}

void PrefixSharing::UpdateImages(ActiveRequest* request) {
  // The rows of an image that is being encoded may have come from the cache meanwhile.
  if (request->encoding != nullptr && request->encoding_image != request->next_image()) {
    request->DropEncoding();
  }
  for (size_t i = request->next_image(); i < request->images.size(); i = request->next_image()) {
    if (!request->prompt.root_key && !PREFIXD_PLANTED(kBypassSharesFeatures)) return;
    const ContentKey root = request->prompt.root_key.value_or(ContentKey{});
    const ContentKey& media = request->prompt.images[i].media_id;
    ImageProgress& image = request->images[i];
    image.features = features_.Find(root, media, request->tenant);
    if (image.features == nullptr) {
      request->image_waits = !in_flight_.ClaimMedia(root, media);
      return;
    }
    request->DropEncoding();  // Another was faster.
    if (image.source == FeatureSource::kNone) image.source = FeatureSource::kCache;
  }
}

void PrefixSharing::KeepFeatures(ActiveRequest* request, Features features) {
  const size_t i = request->encoding_image;
  request->images[i].features = features;
  if (!request->prompt.root_key && !PREFIXD_PLANTED(kBypassSharesFeatures)) return;
  features_.Insert(request->prompt.root_key.value_or(ContentKey{}),
                   request->prompt.images[i].media_id, request->tenant, std::move(features));
}

void PrefixSharing::Publish(ActiveRequest* request) {
  if (request->whole_prompt) {
    const KvSequence& kv = request->first().kv;
    const bool fresh = request->phase == ActiveRequest::Phase::kPrefill && !kv.compressed() &&
                       kv.next_position() >= request->prompt_rows();
    if (fresh && request->whole_prefix) {
      cache_.StoreWholePrefix(*request->whole_prefix, WholePrefixSpecOf(request->prompt),
                              &request->first().kv);
    }
    return;
  }
  for (const auto& choice : request->choices) {
    if (choice->finished || choice->kv.compressed()) continue;
    cache_.Publish({.ids = choice->tokens, .media = request->prompt.media}, request->keys,
                   &choice->kv);
  }
}

}  // namespace prefixd
