// Takes the events of one context that is scored, and hands them over together. Engine thread (or a
// prep thread, for a refusal); see EventSink.
#ifndef PREFIXD_ENGINE_CONTEXT_SINK_H_
#define PREFIXD_ENGINE_CONTEXT_SINK_H_

#include <functional>
#include <utility>
#include <variant>

#include "absl/status/statusor.h"
#include "engine/request.h"

namespace prefixd {

struct ContextResult {
  ScoresEvent scores;
  EmbeddedEvent embedded;
  FinishedEvent finished;
};

class ContextSink final : public EventSink {
 public:
  using Done = std::function<void(absl::StatusOr<ContextResult>)>;

  explicit ContextSink(Done done) : done_(std::move(done)) {}

  void OnEvent(Event event) override {
    if (auto* scores = std::get_if<ScoresEvent>(&event)) {
      result_.scores = std::move(*scores);
    } else if (auto* embedded = std::get_if<EmbeddedEvent>(&event)) {
      result_.embedded = std::move(*embedded);
    } else if (auto* finished = std::get_if<FinishedEvent>(&event)) {
      result_.finished = std::move(*finished);
      done_(std::move(result_));
    } else if (auto* failed = std::get_if<FailedEvent>(&event)) {
      done_(std::move(failed->status));
    }
  }

 private:
  const Done done_;
  ContextResult result_;
};

}  // namespace prefixd

#endif  // PREFIXD_ENGINE_CONTEXT_SINK_H_
