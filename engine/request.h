// What a caller wants, and what it gets back: plain values between the server and the engine.
// A Request is validated by the engine's prompt preparation; field paths in errors are those of the
// proto (`prefixd.v1.GenerateRequest`).
#ifndef PREFIXD_ENGINE_REQUEST_H_
#define PREFIXD_ENGINE_REQUEST_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "cache/retention/recipe.h"

namespace prefixd {

class TokenTrie;
struct TopSearch;

struct TextPart {
  std::string text;  // Valid UTF-8.
};
struct ImagePart {
  std::string bytes;   // An encoded JPEG or PNG; empty: `sha256` names one that was sent before.
  std::string sha256;  // Of the encoded bytes, 32 raw bytes; empty: not given.
};
using Part = std::variant<TextPart, ImagePart>;

enum class Role { kSystem, kUser, kAssistant };

struct ChatMessage {
  Role role = Role::kUser;
  std::vector<Part> parts;
};

// A conversation; the model's chat template is applied.
struct ChatInput {
  std::vector<ChatMessage> messages;
};
// Text and images in order, no template. The tokenizer's special tokens (BOS) are added.
struct PromptInput {
  std::vector<Part> parts;
};
// Token ids as they are. One placeholder id (ModelSpec::image->token_id) for each image.
struct TokenInput {
  std::vector<int32_t> ids;
  std::vector<ImagePart> images;
};
using Input = std::variant<ChatInput, PromptInput, TokenInput>;

// docs/decisions.md, rule 6. A temperature of 0 (or below 1e-6) is greedy.
inline constexpr int32_t kMaxBeams = 8;
struct SamplingParams {
  float temperature = 0.0f;                           // [0, 100].
  int32_t top_k = 0;                                  // 0: off.
  float top_p = 1.0f;                                 // (0, 1].
  float min_p = 0.0f;                                 // [0, 1].
  float repetition_penalty = 1.0f;                    // (0, 100].
  float presence_penalty = 0.0f;                      // [-2, 2].
  float frequency_penalty = 0.0f;                     // [-2, 2].
  std::optional<uint64_t> seed;                       // Unset: drawn by the engine and reported.
  std::vector<std::pair<int32_t, float>> logit_bias;  // At most 1,024; ids in the vocabulary.
  // Beam search: hypotheses that are kept, 1..8; 1: none. Greedy, without penalties or a KV budget.
  int32_t num_beams = 1;
  float length_penalty = 1.0f;  // [-10, 10]: worth = sum of log-probs / length^length_penalty.
};

struct StoppingParams {
  std::optional<int32_t> max_tokens;    // Unset: the rest of the context, capped by the server.
  int32_t min_tokens = 0;               // End-of-sequence and stop ids are not sampled before.
  std::vector<std::string> stop;        // At most 16, each 1..256 bytes.
  std::vector<int32_t> stop_token_ids;  // At most 64.
  bool include_stop = false;            // The matched stop string stays in the text.
  bool ignore_eos = false;
  std::optional<absl::Duration> soft_time_limit;  // Ends with TIME_LIMIT and what there is.
};

struct OutputParams {
  int32_t num_choices = 1;          // 1..8.
  std::optional<int32_t> logprobs;  // 0..20 alternatives beside the sampled token; unset: none.
  bool token_ids = false;           // Deltas carry token ids.
};

// How much of the KV is kept (docs/retention.md). What is unset comes from the tenant, else from
// the engine's options.
struct RetentionParams {
  std::optional<RetentionScope> scope;
  std::optional<double> budget;       // Share kept, [0.001, 1].
  std::optional<std::string> policy;  // Name of a policy: "prefixkv".
  // Name of an offline profile; empty: the counts come from the prompt's own scores.
  std::optional<std::string> profile;
  std::optional<int32_t> start_size;  // [0, 1024].
  std::optional<int32_t> protect;     // [1, 1024].
  std::optional<int32_t> distance;    // [-65536, 65536].
  bool reference_positions = false;   // See RetentionRecipe.
};

// Instead of generating, a request may score tokens behind its prompt, and its prompt
// (docs/classification.md).
struct ScoringParams {
  std::shared_ptr<const TokenTrie> candidates;  // Null: none.
  std::shared_ptr<const TopSearch> top;         // Null: all candidates.
  bool prompt_logprobs = false;                 // Of the prompt's own tokens.
  bool one_at_a_time = false;  // One row a step, for comparison. recompute_all: every candidate as
                               // a whole sequence of its own.
};

struct Request {
  std::string id;      // Unique among live requests of the engine; never empty.
  std::string tenant;  // Empty: the single tenant.
  Input input;
  SamplingParams sampling;
  StoppingParams stopping;
  OutputParams output;
  absl::Time deadline = absl::InfiniteFuture();  // On the engine's clock.
  int32_t priority = 0;                          // Higher first.
  std::string prefix;                // Name of a pinned prefix whose input precedes `input`.
  bool bypass_prefix_cache = false;  // Neither reads nor publishes KV and features.
  // Every step computes the whole sequence again, as if there were no KV cache: for experiments.
  // Implies bypass_prefix_cache; no KV budget, beam search or named prefix.
  bool recompute_all = false;
  std::string cache_salt;  // Narrows the tenant's namespace; at most 128 bytes.
  RetentionParams retention;
  // Teacher forcing, for evaluation: the output of every choice is these tokens, nothing is
  // sampled, and it ends after the last one whatever `stopping` says. Log-probs are the model's of
  // them.
  std::vector<int32_t> forced_output;
  std::optional<ScoringParams> scoring;  // Set: nothing is generated, nothing of the KV is dropped.
  bool embed_images =
      false;  // Only the images of the input are looked at: ends with EmbeddedEvent.
};

// --- What comes back
// -------------------------------------------------------------------------------

enum class FinishReason { kEos, kStopString, kStopToken, kMaxTokens, kContextLength, kTimeLimit };

struct TokenLogprob {
  int32_t token_id = 0;
  std::string token;     // Raw bytes; may be part of a character.
  float logprob = 0.0f;  // Natural log, of the raw logits.
  int32_t rank = 0;      // 1 = most likely.
};
struct LogprobEntry {
  TokenLogprob sampled;
  std::vector<TokenLogprob> top;  // The most likely tokens, best first.
};

struct Usage {
  int32_t prompt_tokens = 0;  // Image tokens included.
  int32_t cached_prompt_tokens = 0;
  int32_t image_tokens = 0;
  int32_t completion_tokens = 0;  // All choices together.
  int32_t recomputed_tokens = 0;  // After preemption; not part of the others.
};

// Why prompt tokens had to be computed.
enum class CacheMiss {
  kNone,       // Everything that can be shared was.
  kBypassed,   // The request asked for it, or the cache is off.
  kNotCached,  // Nothing was known of what follows.
  kEvicted,    // It was cached, and has been evicted since.
  kDiverged,   // Something else is cached at this place: the tokens differ from here on.
  kNoScores,   // It is cached, without the attention sums that the KV budget needs.
};

// What the cache did for one request.
struct CacheReceipt {
  int32_t hit_tokens = 0;        // Prompt tokens taken from the prefix cache.
  int32_t computed_tokens = 0;   // Prompt tokens computed, the first time; hit + computed = prompt.
  int32_t evicted_tokens = 0;    // Dropped by a KV budget.
  int32_t images = 0;            // In the prompt. Each counts in one of the next three.
  int32_t images_in_prefix = 0;  // Their rows all came from the prefix cache.
  int32_t feature_hits = 0;      // Their features were cached: the vision tower did not run.
  int32_t images_encoded = 0;    // Runs of the vision tower.
  int32_t decode_hits = 0;       // Images whose decoded pixels were cached, of all.
  uint64_t kv_bytes = 0;         // Most KV held at a time, shared pages included.
  uint64_t shared_kv_bytes = 0;  // Of those, what the prefix cache had when the request started.
  CacheMiss miss = CacheMiss::kNone;  // Why the first token that was not hit was not.
  int32_t preemptions = 0;
};

// What a KV budget kept of one request.
struct RetentionReceipt {
  RetentionScope scope = RetentionScope::kOff;  // What ran.
  std::string policy, profile;                  // Empty where none was in force.
  double budget = 1.0;                          // In force, fixed at admission.
  int32_t selected_from = 0;         // Tokens that the selection was made from; 0: none was made.
  std::vector<int32_t> kept_tokens;  // By layer: of those. Empty: none was made.
  double score_mass = 1.0;           // Share of the scores that the kept tokens have, all layers.
  bool snapshot_hit = false;         // The compressed prefix was there already.
  int64_t decode_drops = 0;          // Slots that new tokens took over, all layers and choices.
  uint64_t saved_kv_bytes = 0;       // At the end, against KV of all tokens: first choice.
};

struct Timings {
  absl::Duration queue;        // Submit until first scheduled.
  absl::Duration prefill;      // First scheduled until the prompt is computed.
  absl::Duration first_token;  // Submit until the first token.
  absl::Duration total;        // Submit until the end.
};

// The first event, sent when the request is first scheduled.
struct StartedEvent {
  std::string request_id;
  std::string model;
  int32_t prompt_tokens = 0;
  int32_t cached_prompt_tokens = 0;
  int32_t image_tokens = 0;
  uint64_t seed = 0;
  int32_t max_tokens = 0;  // In force after all caps.
};
struct DeltaEvent {
  int32_t choice = 0;
  std::string text;  // Valid UTF-8; may be empty when only tokens are new.
  std::vector<int32_t> token_ids;
  std::vector<LogprobEntry> logprobs;
};
struct ChoiceFinishedEvent {
  int32_t choice = 0;
  FinishReason reason = FinishReason::kEos;
  std::string stop_string;            // For kStopString.
  std::optional<int32_t> stop_token;  // For kStopToken and kEos.
};
// What scoring did.
struct ScoringReceipt {
  int32_t candidates = 0;
  int64_t computed_rows = 0;  // Beside the context; what was computed again is not counted.
  int64_t saved_rows = 0;     // That scoring one by one over a cached context had computed beyond.
  int64_t pruned_nodes = 0;   // Of the trie, that cannot lead to one of the best.
  int32_t passes = 0;         // Forward passes with rows of candidates.
  int32_t context_hits = 0;   // Contexts of which no row was computed.
  int32_t contexts = 0;
};
// The scores of a request with ScoringParams; FinishedEvent follows.
struct ScoresEvent {
  std::vector<float> logprobs;         // By node of the trie; NaN: the root, and what was left out.
  std::vector<int32_t> prompt_ids;     // With prompt_logprobs: by row.
  std::vector<float> prompt_logprobs;  // NaN: the first row, rows of images.
  ScoringReceipt receipt;
};
// Of a request with embed_images: for each image the mean of its features over their rows, of
// Euclidean length 1. FinishedEvent follows.
struct EmbeddedEvent {
  std::vector<std::vector<float>> images;
};
struct FinishedEvent {
  Usage usage;
  CacheReceipt cache;
  RetentionReceipt retention;
  Timings timings;
};
// The one terminal event of a request that did not finish: a non-OK status.
struct FailedEvent {
  absl::Status status;
};
using Event = std::variant<StartedEvent, DeltaEvent, ChoiceFinishedEvent, FinishedEvent,
                           FailedEvent, ScoresEvent, EmbeddedEvent>;

// Takes the events of one request. Called by the engine thread (a refusal before that: by a prep
// thread), never concurrently; must not block, throw or call back into the engine. Exactly one of
// FinishedEvent and FailedEvent comes, and comes last; the engine drops the sink then.
class EventSink {
 public:
  virtual ~EventSink() = default;
  virtual void OnEvent(Event event) = 0;
  // False while the reader is too far behind: the engine parks the request and keeps its KV until
  // Engine::Poke. Thread-safe.
  virtual bool Writable() const { return true; }
};

}  // namespace prefixd

#endif  // PREFIXD_ENGINE_REQUEST_H_
