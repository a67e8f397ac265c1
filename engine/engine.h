// The door to everything that computes: requests in, events out. One model, one engine thread.
//
//   auto engine = Engine::Open(options, &clock);      // Config, tokenizer and headers are checked
//   here. engine->LoadWeights(progress);                    // Then it serves.
//   engine->Submit(request, sink);
//
// Threads: every public method is thread-safe. Everything behind belongs to the engine thread,
// except a small pool that prepares prompts (decodes images, tokenises).
#ifndef PREFIXD_ENGINE_ENGINE_H_
#define PREFIXD_ENGINE_ENGINE_H_

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "engine/classification.h"
#include "engine/histograms.h"
#include "engine/options.h"
#include "engine/request.h"

namespace prefixd {

enum class EngineState { kLoading, kServing, kDraining, kStopped, kFailed };

// What clients may know about the model. Constant after Open.
struct EngineModelInfo {
  std::string name;
  std::string family;         // "llama", "llava".
  std::string weights_dtype;  // "bf16".
  std::string digest;         // SHA-256 over config and tokenizer files, hexadecimal.
  uint64_t num_parameters = 0;
  uint64_t weight_bytes = 0;
  int32_t context_length = 0;  // Positions, prompt and output together.
  int32_t vocab_size = 0;
  bool supports_images = false;
  int32_t tokens_per_image = 0;
  int32_t image_token_id = -1;
  int32_t max_images = 0;     // Per request.
  std::string chat_template;  // Name of the renderer; empty: no chat.
  std::string chat_problem;   // Why there is no chat.
  std::vector<int32_t> eos_token_ids;
  SamplingParams sampling_defaults;  // From generation_config.json.
  int32_t max_output_tokens = 0;
  int32_t num_layers = 0;              // With KV.
  std::vector<std::string> policies;   // Of retention, by name.
  std::vector<std::string> profiles;   // Offline ones that are loaded.
  RetentionParams retention_defaults;  // Every field is set.
};

struct RequestInfo {
  std::string id;
  std::string tenant;
  std::string state;  // "queued", "prefill", "decode", "score", "parked".
  int32_t prompt_tokens = 0;
  int32_t cached_tokens = 0;    // Prompt tokens that came from the prefix cache.
  int32_t computed_tokens = 0;  // Prompt tokens in the KV so far, cached ones included.
  int32_t generated_tokens = 0;
  int32_t kv_pages = 0;
  int32_t cached_positions = 0;  // In the KV of its first choice, mean over the layers, rounded up.
  int32_t priority = 0;
  int32_t preemptions = 0;
  absl::Duration age;
};

// Totals since start, of ended requests, unless said otherwise. A page is in one state: free;
// cached, of the prefix cache and evictable or below a pinned prefix; active, held by live
// requests.
struct CacheStats {
  int32_t free_pages = 0, active_pages = 0, cached_pages = 0;  // Now; they add up to all.
  int32_t evictable_pages = 0;                                 // Now, of the cached ones.
  int32_t pinned_pages = 0;                                    // Now: held by pinned prefixes.
  int64_t columns = 0;                                         // Now, in the prefix index.
  int32_t prefixes = 0;                                        // Now: pinned ones.
  uint64_t text_query_tokens = 0, text_hit_tokens = 0;         // Of prompts that were looked up.
  uint64_t image_query_tokens = 0, image_hit_tokens = 0;
  uint64_t computed_tokens = 0;  // Prompt tokens computed; with the hits, all prompt tokens.
  uint64_t published_columns = 0, evicted_columns = 0;
  uint64_t evicted_pages_lru = 0, evicted_pages_preempt = 0;
  uint64_t collisions = 0;                    // Equal keys with different content; never a hit.
  std::array<uint64_t, 6> misses{};           // Requests by CacheMiss.
  uint64_t feature_hits = 0, tower_runs = 0;  // Images.
  uint64_t feature_bytes = 0;                 // Now.
  int32_t feature_entries = 0;                // Now.
  uint64_t image_hits = 0, image_misses = 0;  // Decoded images by the digest of their bytes.
  uint64_t image_bytes = 0;                   // Now.
  int32_t image_entries = 0;                  // Now.
};

// What budgets kept; totals since start, of ended requests, unless said otherwise.
struct RetentionStats {
  std::array<uint64_t, 3> requests{};  // By RetentionScope, as it ran.
  // Of requests whose prompt was compressed: tokens before the selection, and by layer after it.
  uint64_t selected_from = 0;
  std::vector<uint64_t> kept_tokens;  // [layers].
  double score_mass = 0;              // Sum over them of RetentionReceipt::score_mass.
  uint64_t selections = 0;            // Their number.
  uint64_t decode_drops = 0;          // Slots.
  uint64_t saved_kv_bytes = 0;
  uint64_t snapshot_hits = 0, snapshot_misses = 0;  // Lookups.
  uint64_t snapshots_made = 0, snapshots_evicted = 0;
  int32_t snapshots = 0;       // Now.
  int64_t snapshot_pages = 0;  // Now.
  uint64_t score_bytes = 0;    // Now: of scores stored with prefixes.

  // The quality guard (docs/retention.md). Averages are over its window.
  uint64_t guard_sampled = 0, guard_replayed = 0, guard_dropped = 0;
  double guard_agreement = 1.0;      // Share of places where full KV ranks the same token first.
  double guard_logprob_drift = 0.0;  // Mean absolute difference, nats a token.
  uint64_t guard_raises = 0;
  double default_budget = 1.0;  // In force now for requests that name none.
};

// What was ranked and scored; totals since start, of requests that finished.
struct ScoringStats {
  uint64_t requests = 0;       // Contexts: an ensemble counts each.
  uint64_t candidates = 0;     // Names and texts.
  uint64_t computed_rows = 0;  // Beside the contexts.
  uint64_t saved_rows = 0;     // By the trie, against one by one.
  uint64_t pruned_nodes = 0;
  uint64_t passes = 0;
  uint64_t context_hits = 0;  // Contexts of which no row was computed.
  int32_t class_sets = 0;     // Now.
};

struct TenantStats {
  std::string name;
  int32_t waiting = 0, running = 0;               // Requests, now.
  int32_t active_pages = 0, cached_pages = 0;     // Now; a page shared by requests counts once.
  int32_t page_quota = 0, page_floor = 0;         // Pages.
  int32_t prefixes = 0;                           // Pinned, now.
  uint64_t prompt_tokens = 0, cached_tokens = 0;  // Totals since start.
  uint64_t generated_tokens = 0;
};

// A snapshot made by the engine thread once per step; reading it takes no engine lock.
struct EngineStats {
  EngineState state = EngineState::kLoading;
  int32_t waiting = 0;  // Accepted, not yet scheduled.
  int32_t running = 0;  // Requests being computed.
  int32_t total_pages = 0;
  int32_t free_pages = 0;
  int32_t reserved_pages = 0;  // Promised to admitted requests, not yet taken.
  uint64_t page_bytes = 0;
  int32_t page_slots = 0;
  uint64_t steps = 0;
  absl::Duration step_time;    // Spent in steps since start, and of that
  absl::Duration cache_time;   // for the cache: lookup, adoption, plans with room, publishing.
  uint64_t prompt_tokens = 0;  // Totals since start.
  uint64_t generated_tokens = 0;
  uint64_t images = 0;
  uint64_t requests_finished = 0;
  uint64_t requests_failed = 0;
  uint64_t preemptions = 0;
  uint64_t recomputed_tokens = 0;
  std::array<uint64_t, 6> finishes{};  // Choices by FinishReason.
  CacheStats cache;
  RetentionStats retention;
  ScoringStats scoring;
  EngineHistograms histograms;
  std::vector<TenantStats> tenants;   // In the order of the options; one, if none are configured.
  std::vector<RequestInfo> requests;  // In order of arrival.
};

// A prefix whose KV stays until it is released or expires.
struct PrefixInfo {
  std::string name;  // "prefixes/ID".
  int32_t prompt_tokens = 0;
  int32_t pinned_tokens = 0;  // Of them, in whole pages.
  int32_t images = 0;
  uint64_t kv_bytes = 0;     // Of the pinned pages; pages that prefixes share count in each.
  uint64_t image_bytes = 0;  // Of the decoded images it keeps.
  uint64_t requests = 0;     // That referred to it so far.
  absl::Duration ttl;
  absl::Duration age;
  absl::Duration expires_in;
};

struct PrefixSpec {
  std::string tenant;
  std::string id;  // 1..63 of [a-z0-9-]; empty: drawn, 128 bits in hexadecimal.
  Input input;
  absl::Duration ttl = absl::Minutes(10);  // [1 s, 24 h].
  std::string cache_salt;
  absl::Time deadline = absl::InfiniteFuture();
};

// What each page of the pool is used for, in cells of equal numbers of pages.
struct PageMap {
  enum State : uint8_t { kFree, kActive, kShared, kCached, kPinned };  // kShared: by requests.
  int32_t pages_per_cell = 1;
  std::vector<std::array<int32_t, 5>> cells;  // Pages of the cell by state.
};

struct FlushResult {
  int32_t pages = 0;  // That became free.
  int64_t columns = 0;
  uint64_t feature_bytes = 0, image_bytes = 0;
};

struct EngineRuntimeInfo {
  std::string backend;  // "cpu".
  std::string level;    // "avx512"; empty: the backend has none.
  std::string device;   // As BackendInfo.device; empty: the CPU.
  int32_t threads = 0;
  std::string kv_dtype;
  std::string activation_dtype;
  uint64_t kv_memory_bytes = 0;
};

struct TokenCounts {
  int32_t prompt_tokens = 0;
  int32_t image_tokens = 0;
  int32_t cached_prompt_tokens = 0;
  int32_t num_images = 0;
};

class Engine {
 public:
  // Checks the options and the model directory and starts the threads; no weight is read.
  // `clock` must outlive the engine. Errors name the file or option.
  static absl::StatusOr<std::unique_ptr<Engine>> Open(const EngineOptions& options,
                                                      const Clock* clock);

  // Fails what is still running with UNAVAILABLE, joins all threads. No sink is called afterwards.
  virtual ~Engine() = default;

  // Whether a step takes so long that the device must have stopped answering; the state is kFailed
  // then. Such an engine cannot be destroyed: its thread never comes back.
  virtual bool Hung() const { return false; }

  // Reads the weights in the calling thread; afterwards state is kServing (or kFailed).
  // `progress` gets bytes done and in all, and returns false to give up.
  virtual absl::Status LoadWeights(
      const std::function<bool(uint64_t bytes_done, uint64_t bytes_total)>& progress) = 0;

  virtual const EngineModelInfo& model_info() const = 0;
  virtual const EngineRuntimeInfo& runtime_info() const = 0;

  // Hands a request over and returns at once; what happens to it comes as events to `sink`.
  // Errors (nothing was taken, the sink gets no event): UNAVAILABLE, MODEL_NOT_READY or DRAINING;
  // RESOURCE_EXHAUSTED, QUEUE_FULL, with a retry hint; ALREADY_EXISTS for an id that is live.
  virtual absl::Status Submit(Request request, std::shared_ptr<EventSink> sink) = 0;

  // Ends a request within one step with FailedEvent(CANCELLED). Unknown ids: NOT_FOUND. Idempotent
  // while the request lives.
  virtual absl::Status Cancel(absl::string_view tenant, absl::string_view request_id) = 0;

  // Tells the engine that a sink may have become writable again.
  virtual void Poke() = 0;

  // Tokenises like Submit would, without computing. Of `request` it reads tenant, input, prefix and
  // what concerns the cache. `done` is called once, by any thread, and must not block.
  virtual void CountTokens(Request request,
                           std::function<void(absl::StatusOr<TokenCounts>)> done) = 0;

  // --- Pinned prefixes. A name that another tenant owns is NOT_FOUND, PREFIX_NOT_FOUND.

  // Computes the prefix and pins it. `done` is called once, by any thread, and must not block.
  // Errors: those of Submit and of the input; ALREADY_EXISTS, PREFIX_EXISTS; RESOURCE_EXHAUSTED,
  // TENANT_QUOTA, where pages or the number of prefixes would exceed a limit.
  virtual void CreatePrefix(PrefixSpec spec,
                            std::function<void(absl::StatusOr<PrefixInfo>)> done) = 0;
  virtual absl::StatusOr<PrefixInfo> GetPrefix(absl::string_view tenant,
                                               absl::string_view name) = 0;
  // In order of name.
  virtual std::vector<PrefixInfo> ListPrefixes(absl::string_view tenant) = 0;
  // Starts the time to live again, with another length if `ttl` is given.
  virtual absl::StatusOr<PrefixInfo> TouchPrefix(absl::string_view tenant, absl::string_view name,
                                                 std::optional<absl::Duration> ttl) = 0;
  // Frees the pages within one step. Requests that started from it go on.
  virtual absl::Status ReleasePrefix(absl::string_view tenant, absl::string_view name) = 0;

  // Ranks names and scores texts. Lives as long as the engine.
  virtual Classifier* classifier() = 0;

  // --- For operators

  // Drops everything cached that nothing uses: prefixes that are not pinned, features, images.
  // `tenant` unset: of all. `done` is called once, by any thread.
  virtual void FlushCache(std::optional<std::string> tenant,
                          std::function<void(FlushResult)> done) = 0;
  // `max_cells` >= 1. `done` is called once, by any thread.
  virtual void GetPageMap(int32_t max_cells, std::function<void(PageMap)> done) = 0;

  // Stops taking requests (DRAINING). Returns at once; what was accepted goes on.
  virtual void Drain() = 0;
  // Waits until no request is left or `timeout` has passed, then ends what is left with
  // UNAVAILABLE, reason DRAINING. Returns the number of requests that were cut.
  virtual int WaitDrained(absl::Duration timeout) = 0;

  virtual std::shared_ptr<const EngineStats> Stats() const = 0;
};

}  // namespace prefixd

#endif  // PREFIXD_ENGINE_ENGINE_H_
