// The progress of one request on the engine thread: the state shared by its choices, and one
// Sequence per choice. Engine thread only.
#ifndef PREFIXD_ENGINE_SEQUENCE_H_
#define PREFIXD_ENGINE_SEQUENCE_H_

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "cache/kv_sequence.h"
#include "engine/models/model.h"
#include "engine/prompt/prompt.h"
#include "engine/request.h"
#include "engine/sampler.h"
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
  KvSequence kv;                       // Prompt rows first, then every token fed.
  std::vector<int32_t> generated;      // Sampled or forced, in order.
  std::vector<int32_t> forced_tokens;  // Replayed instead of sampling, without events; see rule 12.
  InputToken next_input;               // Fed by the next decode row.
  TokenCounter counts;
  TextStreamer streamer;
  bool finished = false;

  // Whether the next token is replayed instead of sampled.
  bool replaying() const { return generated.size() < forced_tokens.size(); }
};

// A request that was prepared: waiting, in prefill, or decoding.
struct ActiveRequest {
  enum class Phase { kWaiting, kPrefill, kDecode };

  Request request;
  Prompt prompt;
  std::shared_ptr<EventSink> sink;
  std::shared_ptr<RequestHandle> handle;

  Phase phase = Phase::kWaiting;
  uint64_t image_bytes = 0;  // Of pixels, charged until the request ends.
  uint64_t arrival = 0;      // Order of arrival.
  uint64_t seed = 0;
  int32_t max_new_tokens = 0;      // After all caps; >= 1.
  bool capped_by_context = false;  // max_new_tokens is what the context (or the cache) leaves.
  int64_t reserved_pages = 0;      // Most pages that all choices can ever hold.
  bool parked = false;             // The reader is too far behind; nothing is computed for it.
  bool ended = false;              // The terminal event was sent.

  int32_t computed_rows = 0;                // Prompt rows in the KV.
  size_t next_image = 0;                    // First image that is not encoded.
  std::unique_ptr<ImageEncoding> encoding;  // Of images[next_image], if begun.
  std::vector<std::optional<OwnedTensor>>
      features;  // By image; dropped when its rows are computed.

  std::vector<std::unique_ptr<Sequence>> choices;  // One during prefill; all of them afterwards.

  absl::Time submitted, scheduled, prefilled, first_token;

  int32_t prompt_rows() const { return static_cast<int32_t>(prompt.token_ids.size()); }
};

}  // namespace prefixd

#endif  // PREFIXD_ENGINE_SEQUENCE_H_
