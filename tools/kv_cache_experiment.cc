#include "tools/kv_cache_experiment.h"

#include <algorithm>
#include <cmath>
#include <future>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"

namespace prefixd {
namespace {

// Notes when each token came.
class TimedSink final : public EventSink {
 public:
  explicit TimedSink(const Clock* clock) : clock_(*clock), last_(clock->Now()), begin_(last_) {}

  void OnEvent(Event event) override {
    const absl::Time now = clock_.Now();
    if (const auto* delta = std::get_if<DeltaEvent>(&event)) {
      for (const int32_t id : delta->token_ids) {
        run_.tokens.push_back(id);
        run_.token_seconds.push_back(absl::ToDoubleSeconds(now - last_));
        last_ = now;
      }
      for (const LogprobEntry& entry : delta->logprobs) {
        run_.logprobs.push_back(entry.sampled.logprob);
      }
    } else if (auto* finished = std::get_if<FinishedEvent>(&event)) {
      run_.seconds = absl::ToDoubleSeconds(now - begin_);
      prompt_tokens_ = finished->usage.prompt_tokens;
      done_.set_value(absl::OkStatus());
    } else if (auto* failed = std::get_if<FailedEvent>(&event)) {
      done_.set_value(failed->status);
    }
  }
  absl::StatusOr<KvCacheRun> Wait() {
    PREFIXD_RETURN_IF_ERROR(done_.get_future().get());
    return std::move(run_);
  }
  int32_t prompt_tokens() const { return prompt_tokens_; }

 private:
  const Clock& clock_;
  absl::Time last_;
  const absl::Time begin_;
  KvCacheRun run_;
  int32_t prompt_tokens_ = 0;
  std::promise<absl::Status> done_;
};

absl::StatusOr<KvCacheRun> Generate(const KvCacheExperimentOptions& options, bool cached,
                                    const std::string& id, const Clock& clock, Engine* engine,
                                    int32_t* prompt_tokens) {
  Request request;
  request.id = id;
  request.input = PromptInput{{TextPart{options.prompt}}};
  request.stopping = {.max_tokens = options.new_tokens, .ignore_eos = true};
  request.output = {.logprobs = 0, .token_ids = true};
  request.bypass_prefix_cache = true;
  request.recompute_all = !cached;
  request.retention.scope = RetentionScope::kOff;
  auto sink = std::make_shared<TimedSink>(&clock);
  PREFIXD_RETURN_IF_ERROR(engine->Submit(std::move(request), sink));
  PREFIXD_ASSIGN_OR_RETURN(KvCacheRun run, sink->Wait());
  *prompt_tokens = sink->prompt_tokens();
  if (static_cast<int32_t>(run.tokens.size()) < options.new_tokens) {
    return absl::FailedPreconditionError(
        absl::StrCat("the model generated ", run.tokens.size(), " tokens of ", options.new_tokens,
                     ": its context of ", engine->model_info().context_length,
                     " holds no more after ", *prompt_tokens, " tokens of the prompt"));
  }
  return run;
}

}  // namespace

MeanAndDeviation MeanOf(const std::vector<KvCacheRun>& runs) {
  MeanAndDeviation result;
  for (const KvCacheRun& run : runs) result.mean += run.seconds / static_cast<double>(runs.size());
  if (runs.size() < 2) return result;
  double squares = 0;
  for (const KvCacheRun& run : runs) squares += std::pow(run.seconds - result.mean, 2);
  result.deviation = std::sqrt(squares / static_cast<double>(runs.size() - 1));
  return result;
}

int32_t EqualTokens(const KvCacheExperiment& experiment) {
  const std::vector<int32_t>& first = experiment.with_cache.at(0).tokens;
  size_t equal = first.size();
  for (const auto* runs : {&experiment.with_cache, &experiment.without}) {
    for (const KvCacheRun& run : *runs) {
      const auto end = std::mismatch(first.begin(), first.begin() + static_cast<ptrdiff_t>(equal),
                                     run.tokens.begin(), run.tokens.end());
      equal = static_cast<size_t>(end.first - first.begin());
    }
  }
  return static_cast<int32_t>(equal);
}

double LogprobDifference(const KvCacheExperiment& experiment) {
  const std::vector<double>& with = experiment.with_cache.at(0).logprobs;
  const std::vector<double>& without = experiment.without.at(0).logprobs;
  double largest = 0;
  for (size_t i = 0; i < std::min(with.size(), without.size()); ++i) {
    largest = std::max(largest, std::fabs(with[i] - without[i]));
  }
  return largest;
}

absl::StatusOr<KvCacheExperiment> RunKvCacheExperiment(
    const KvCacheExperimentOptions& options, const Clock& clock, Engine* engine,
    const std::function<void(int32_t run, bool cached)>& progress) {
  KvCacheExperiment experiment{.options = options,
                               .model = engine->model_info().name,
                               .backend = engine->runtime_info().backend,
                               .level = engine->runtime_info().level};
  for (int32_t i = 0; i < options.repeat; ++i) {
    for (const bool cached : {true, false}) {
      progress(i, cached);
      PREFIXD_ASSIGN_OR_RETURN(
          KvCacheRun run, Generate(options, cached, absl::StrCat("run-", i, cached ? "-a" : "-b"),
                                   clock, engine, &experiment.prompt_tokens));
      (cached ? experiment.with_cache : experiment.without).push_back(std::move(run));
    }
  }
  return experiment;
}

}  // namespace prefixd
