// Requests to an engine, one by one or many at once, and what came back.
#ifndef PREFIXD_TOOLS_ACCEPTANCE_PLAY_H_
#define PREFIXD_TOOLS_ACCEPTANCE_PLAY_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "engine/engine.h"

namespace prefixd::acceptance {

struct Answer {
  std::vector<int32_t> tokens;         // Of the first choice.
  std::vector<LogprobEntry> logprobs;  // Of the first choice, if asked for.
  FinishedEvent finished;
  absl::Status status;                          // Not OK: it failed.
  double first_token_seconds = 0, seconds = 0;  // From Submit.
};

// Keeps what one request was sent. Thread-safe.
class Listener final : public EventSink {
 public:
  Listener();
  void OnEvent(Event event) override;
  bool ended() const;
  // Until the terminal event. Errors: DEADLINE_EXCEEDED.
  absl::Status Wait(absl::Duration timeout);
  Answer answer() const;

 private:
  double SecondsSinceStart() const;

  const absl::Time start_;
  mutable std::mutex mutex_;
  bool ended_ = false;
  Answer answer_;
};

// Token ids of text, the same for the same seed.
std::vector<int32_t> TokensOf(uint32_t seed, int count, int32_t vocab_size);

// A greedy request over token ids, with a picture (the bytes of a file) in front unless empty.
Request NewRequest(const Engine& engine, const std::string& id, std::vector<int32_t> ids,
                   int max_tokens, const std::string& picture = "");

// Submits all at once and waits for all. Errors: of Submit; DEADLINE_EXCEEDED after 5 minutes. What
// becomes of a request stands in its answer.
absl::StatusOr<std::vector<Answer>> Play(Engine* engine, std::vector<Request> requests);
// One request that must finish.
absl::StatusOr<Answer> PlayOne(Engine* engine, Request request);

// Drops what is cached; waits.
void Flush(Engine* engine);

// Opens, loads the weights.
absl::StatusOr<std::unique_ptr<Engine>> OpenAndLoad(
    const std::function<absl::StatusOr<std::unique_ptr<Engine>>(const EngineOptions&)>& open,
    const EngineOptions& options);

}  // namespace prefixd::acceptance

#endif  // PREFIXD_TOOLS_ACCEPTANCE_PLAY_H_
