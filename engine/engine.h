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
  std::vector<int32_t> eos_token_ids;
  SamplingParams sampling_defaults;  // From generation_config.json.
  int32_t max_output_tokens = 0;
};

struct RequestInfo {
  std::string id;
  std::string state;  // "queued", "prefill", "decode", "parked".
  int32_t prompt_tokens = 0;
  int32_t computed_tokens = 0;  // Prompt tokens computed so far.
  int32_t generated_tokens = 0;
  int32_t kv_pages = 0;
  absl::Duration age;
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
  uint64_t prompt_tokens = 0;  // Totals since start.
  uint64_t generated_tokens = 0;
  uint64_t images = 0;
  uint64_t requests_finished = 0;
  uint64_t requests_failed = 0;
  std::vector<RequestInfo> requests;  // In order of arrival.
};

struct EngineRuntimeInfo {
  std::string backend;  // "cpu".
  std::string level;    // "avx512".
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
  virtual absl::Status Cancel(absl::string_view request_id) = 0;

  // Tells the engine that a sink may have become writable again.
  virtual void Poke() = 0;

  // Tokenises like Submit would, without computing. `done` is called once, by a prep thread.
  virtual void CountTokens(Input input, std::function<void(absl::StatusOr<TokenCounts>)> done) = 0;

  // Stops taking requests (DRAINING). Returns at once; what was accepted goes on.
  virtual void Drain() = 0;
  // Waits until no request is left or `timeout` has passed, then ends what is left with
  // UNAVAILABLE, reason DRAINING. Returns the number of requests that were cut.
  virtual int WaitDrained(absl::Duration timeout) = 0;

  virtual std::shared_ptr<const EngineStats> Stats() const = 0;
};

}  // namespace prefixd

#endif  // PREFIXD_ENGINE_ENGINE_H_
