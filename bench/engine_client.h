// What benchmarks need of an engine: opening one, prompts of token ids, and sinks that note what
// came and when.
#ifndef PREFIXD_BENCH_ENGINE_CLIENT_H_
#define PREFIXD_BENCH_ENGINE_CLIENT_H_

#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "base/clock.h"
#include "engine/engine.h"

namespace prefixd {

// One stream: its tokens, its end, and seconds (NowSeconds) of both. Thread-safe.
class StreamRecord final : public EventSink {
 public:
  void OnEvent(Event event) override;
  // Until the terminal event.
  void Wait();
  bool WaitFor(absl::Duration timeout);
  bool ended() const;
  bool started() const;

  // After the end.
  const std::vector<int32_t>& token_ids() const { return token_ids_; }
  const std::string& text() const { return text_; }
  const FinishedEvent& finished() const { return finished_; }
  const absl::Status& status() const { return status_; }
  double first_token_seconds() const { return first_token_seconds_; }

 private:
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  bool started_ = false, ended_ = false;
  std::vector<int32_t> token_ids_;
  std::string text_;
  FinishedEvent finished_;
  absl::Status status_;
  double first_token_seconds_ = 0;
};

class EngineClient {
 public:
  // Opens and loads. Errors: those of Engine.
  static absl::StatusOr<std::unique_ptr<EngineClient>> Open(const EngineOptions& options);

  Engine& engine() { return *engine_; }

  // `count` byte tokens; those of two calls differ within the first three, of 200 in a row in the
  // first.
  std::vector<int32_t> NewTokens(int count);
  // A greedy request of `max_tokens` tokens over `ids`, with a picture in front unless it is empty.
  Request Ask(std::vector<int32_t> ids, int max_tokens, const std::string& picture = "");
  // Crashes if the engine refuses.
  std::shared_ptr<StreamRecord> Submit(Request request);
  // Crashes if the request fails.
  std::shared_ptr<StreamRecord> Run(Request request);

  // Of the engine at rest. Requires: every request submitted finishes.
  EngineStats StatsAtRest();
  void Flush();
  PageMap Pages();

 private:
  explicit EngineClient(std::unique_ptr<Engine> engine) : engine_(std::move(engine)) {}

  static const MonotonicClock clock_;
  const std::unique_ptr<Engine> engine_;
  uint64_t next_id_ = 0, submitted_ = 0;
  uint32_t next_prompt_ = 0;
};

}  // namespace prefixd

#endif  // PREFIXD_BENCH_ENGINE_CLIENT_H_
