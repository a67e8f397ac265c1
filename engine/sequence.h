// The progress of one request on the engine thread: the state shared by its choices, and one
// Sequence per choice. Engine thread only.
#ifndef PREFIXD_ENGINE_SEQUENCE_H_
#define PREFIXD_ENGINE_SEQUENCE_H_

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "base/planted_bug.h"
#include "cache/kv_sequence.h"
#include "engine/beam_search.h"
#include "engine/feature_cache.h"
#include "engine/models/model.h"
#include "engine/prefix_registry.h"
#include "engine/prompt/prompt.h"
#include "engine/request.h"
#include "engine/retention_state.h"
#include "engine/sampler.h"
#include "engine/scoring_state.h"
#include "engine/shadow_replay.h"
#include "engine/text_streamer.h"

namespace prefixd {

// Why a request must end before it is done.
enum class StopCause { kNone, kCancelled, kDraining };

// What the public methods and the engine thread both see of a request. Thread-safe.
struct RequestHandle {
  std::atomic<StopCause> stop{StopCause::kNone};
};

// The token that a decode row feeds: known to the host, or row `sample_row` of the sample buffer of
// the step before (docs/decisions.md, rule 22).
struct InputToken {
  int32_t token = 0;
  int32_t sample_row = -1;  // >= 0: take this row instead of `token`.
};

// One choice of a request.
struct Sequence {
  Sequence(int32_t choice_index, KvSequence kv_tables, const Tokenizer* tokenizer,
           const TextStreamer::Options& text)
      : choice(choice_index), kv(std::move(kv_tables)), streamer(tokenizer, text) {}

  const int32_t choice;
  KvSequence kv;                   // The leading rows of `tokens`.
  std::vector<int32_t> tokens;     // The prompt's rows, then `generated`.
  std::vector<int32_t> generated;  // Sampled or forced, in order.
  // Taken instead of sampling: the output that a request forces, or what was generated before a
  // preemption under a KV budget (docs/decisions.md, rule 12).
  std::vector<int32_t> forced_tokens;
  size_t num_sent = 0;    // Tokens that events were sent for; those that come again send none.
  InputToken next_input;  // Fed by the next decode row.
  int32_t draws_out = 0;  // Tokens that are being drawn and were not taken yet.
  TokenCounter counts;
  TextStreamer streamer;
  bool finished = false;
  std::vector<ServedToken> served;  // Of a request that the quality guard watches.
  SlotScores scores;                // While a retention policy wants them.
  int64_t drops = 0;                // Slots handed on while decoding, of the KV at hand.
  int32_t most_rows = 0;  // Rows that were ever in the KV; those computed again count apart.
  absl::Time last_token;

  // Rows of `tokens`, and of those being drawn, that are not in the KV yet. 1: a decode row; more:
  // computed after preemption.
  int32_t pending_rows() const {
    return static_cast<int32_t>(tokens.size()) + draws_out - kv.next_position();
  }
  // Which token the next draw is.
  size_t next_index() const { return generated.size() + static_cast<size_t>(draws_out); }
  // Whether token `index` is given instead of sampled, and whether it was sent before.
  bool is_forced(size_t index) const { return index < forced_tokens.size(); }
  bool was_sent(size_t index) const { return index < num_sent; }

  // Begins again after the prompt; what was generated will be forced.
  void Rewind(const std::vector<int32_t>& prompt) {
    if (generated.size() > forced_tokens.size()) forced_tokens = generated;
    num_sent = std::max(num_sent, generated.size());
    generated.clear();
    tokens = prompt;
    if (!PREFIXD_PLANTED(kScoresOutliveTheirKv)) scores = {};
    drops = 0;
  }
};

// Where the features of an image of a request came from.
enum class FeatureSource { kNone, kCache, kTower };

struct ImageProgress {
  Features features;  // Null: not there, or all rows are computed.
  FeatureSource source = FeatureSource::kNone;
};

// Of a request that searches with beams, which are its choices until the search is over.
struct BeamState {
  BeamSearch search;
  std::vector<std::vector<BeamSearch::Candidate>> candidates;  // By choice; empty: not drawn yet.
  uint64_t advanced_in = 0;  // The step whose draws let the beams go on last.
};

// A request that was prepared: waiting, in prefill, decoding, or scoring candidates.
struct ActiveRequest {
  enum class Phase { kWaiting, kPrefill, kDecode, kScore };

  Request request;
  Prompt prompt;
  std::shared_ptr<EventSink> sink;
  std::shared_ptr<RequestHandle> handle;
  std::shared_ptr<PrefixEntry> pins;  // The prefix that it computes and pins; null: none.
  std::vector<KeptImage> kept;        // Images of the prefix that its input begins with.
  int32_t prefix_rows = 0;            // Of the named prefix; 0: it names none.

  Phase phase = Phase::kWaiting;
  int32_t tenant = 0;        // Index into the engine's tenants.
  uint64_t image_bytes = 0;  // Of pixels, charged until the request ends.
  uint64_t arrival = 0;      // Order of arrival.
  uint64_t seed = 0;
  // Of its model: the prompt is computed in one pass, for its rows see each other; images are seen
  // through cross-attention (model.h).
  bool whole_prompt = false;
  bool cross_attended = false;
  // Of the snapshot that an equal prompt of a whole_prompt model starts from; unset: none.
  std::optional<ContentKey> whole_prefix;
  std::optional<ScoringState> scoring;
  // Under which the end of a scored context is kept; unset: it is not.
  std::optional<ContentKey> context_end;
  int32_t max_new_tokens = 0;      // After all caps; >= 1.
  bool capped_by_context = false;  // max_new_tokens is what the context (or the cache) leaves.
  int64_t max_pages = 0;           // Most pages that all choices can ever hold.
  int32_t expected_rows = 0;       // Of the prompt, that it will compute itself; an estimate.
  bool started = false;            // StartedEvent was sent.
  bool parked = false;             // The reader is too far behind; nothing is computed for it, and
                                   // after preemption it does not start.
  bool ended = false;              // The terminal event was sent.
  size_t tokens_at_start = 0;      // That it had when it started last.
  uint64_t last_decode = 0;        // The step that decoded it last.
  uint64_t last_prefill = 0;       // The step that computed a part of its prompt last.

  // Single flight: whether its next column, or its next image, is being computed by another.
  bool column_waits = false;
  bool image_waits = false;

  std::vector<ImageProgress> images;        // By image of the prompt.
  size_t encoding_image = 0;                // Which image `encoding` is of.
  std::unique_ptr<ImageEncoding> encoding;  // Null: none is begun.
  absl::Time encoding_begun;

  std::vector<ContentKey> keys;  // Of the columns of choices[0]->tokens, as far as they are needed.
  std::vector<std::unique_ptr<Sequence>> choices;  // One during prefill; all of them afterwards.
  std::optional<BeamState> beams;

  RetentionState retention;
  bool guarded = false;  // The quality guard replays it when it has finished.
  CacheReceipt receipt;
  int32_t most_pages = 0;  // Held at a time.
  int32_t recomputed_rows = 0;
  absl::Time submitted, scheduled, prefilled, first_token;

  int32_t prompt_rows() const { return static_cast<int32_t>(prompt.token_ids.size()); }
  Sequence& first() const { return *choices[0]; }
  TokenView tokens() const { return {.ids = first().tokens, .media = prompt.media}; }

  // Rows that prefill computes: the prompt; what one choice has generated is computed with it after
  // preemption. Of a prefix that is pinned, whole columns only.
  int32_t prefill_rows() const {
    if (pins != nullptr) return prompt_rows() / kSlotsPerPage * kSlotsPerPage;
    if (request.embed_images) return 0;
    if (retention.on()) return prompt_rows();
    return choices.size() == 1 ? static_cast<int32_t>(first().tokens.size()) : prompt_rows();
  }
  // Tokens that it has generated, all choices; what is computed again counts once.
  size_t num_tokens() const {
    size_t tokens = 0;
    for (const auto& choice : choices) {
      tokens += std::max(choice->generated.size(), choice->num_sent);
    }
    return tokens;
  }
  // Whether it was preempted and has got nowhere since: what it generated is computed again.
  bool catches_up() const { return receipt.preemptions > 0 && num_tokens() == tokens_at_start; }
  void DropEncoding() {
    encoding.reset();
    encoding_begun = absl::Time();
  }
  int32_t computed_rows() const {
    const bool past_prompt = phase == Phase::kDecode || phase == Phase::kScore;
    return past_prompt ? prompt_rows() : first().kv.next_position();
  }
  // Whether nothing of the prompt is left to compute although it never ended in a step.
  bool complete() const {
    if (phase != Phase::kPrefill || ended) return false;
    if (request.embed_images) return next_image() == images.size();
    return (pins != nullptr || scoring) && first().kv.next_position() == prefill_rows();
  }
  int32_t unfinished_choices() const {
    return static_cast<int32_t>(
        std::count_if(choices.begin(), choices.end(), [](const auto& c) { return !c->finished; }));
  }
  // The row from which on the features of image i are of no use: behind its own rows, or, where it
  // is cross-attended, at the next image.
  int32_t features_end(size_t i) const {
    if (!cross_attended) return prompt.images[i].row_end();
    return i + 1 < images.size() ? prompt.images[i + 1].row_begin
                                 : std::numeric_limits<int32_t>::max();
  }
  // The first image whose features rows to compute need and that has none; images.size(): none.
  size_t next_image() const {
    for (size_t i = 0; i < images.size(); ++i) {
      const bool done = features_end(i) <= computed_rows();
      if (!done && images[i].features == nullptr) return i;
    }
    return images.size();
  }
};

}  // namespace prefixd

#endif  // PREFIXD_ENGINE_SEQUENCE_H_
