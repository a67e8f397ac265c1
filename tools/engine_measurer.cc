#include "tools/engine_measurer.h"

#include <deque>
#include <future>
#include <map>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "base/mutex.h"
#include "base/status_macros.h"

namespace prefixd {
namespace {

constexpr size_t kMaxImageBytes = 16 << 20;

// Tasks that have ended. Thread-safe.
class EndedTasks {
 public:
  void Push(size_t task) {
    MutexLock lock(&mutex_);
    ended_.push_back(task);
  }
  // Waits for one.
  size_t Pop() {
    MutexLock lock(&mutex_);
    mutex_.Await([this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return !ended_.empty(); });
    const size_t task = ended_.front();
    ended_.pop_front();
    return task;
  }

 private:
  Mutex mutex_;
  std::deque<size_t> ended_ ABSL_GUARDED_BY(mutex_);
};

RetentionParams ParamsOf(const RetentionSetting& setting) {
  RetentionParams params;
  if (setting.full()) {
    params.scope = RetentionScope::kOff;
    return params;
  }
  params.scope = RetentionScope::kExact;
  params.policy = setting.policy;
  params.profile = setting.profile;
  params.budget = setting.budget;
  return params;
}

}  // namespace

// What a request said. Written by its sink, read after it was popped from EndedTasks.
struct EngineMeasurer::Flight {
  std::string request_id;
  std::vector<int32_t> token_ids;
  std::vector<LogprobEntry> logprobs;
  std::string text;
  std::optional<int32_t> eos_token;
  FinishedEvent finished;
  absl::Status status;
};

class EngineMeasurer::Sink final : public EventSink {
 public:
  Sink(size_t task, std::shared_ptr<Flight> flight, std::shared_ptr<EndedTasks> ended)
      : task_(task), flight_(std::move(flight)), ended_(std::move(ended)) {}

  void OnEvent(Event event) override {
    if (auto* delta = std::get_if<DeltaEvent>(&event)) {
      flight_->token_ids.insert(flight_->token_ids.end(), delta->token_ids.begin(),
                                delta->token_ids.end());
      for (LogprobEntry& entry : delta->logprobs) flight_->logprobs.push_back(std::move(entry));
      flight_->text += delta->text;
    } else if (auto* choice = std::get_if<ChoiceFinishedEvent>(&event)) {
      if (choice->reason == FinishReason::kEos) flight_->eos_token = choice->stop_token;
    } else if (auto* finished = std::get_if<FinishedEvent>(&event)) {
      flight_->finished = std::move(*finished);
      ended_->Push(task_);
    } else if (auto* failed = std::get_if<FailedEvent>(&event)) {
      flight_->status = std::move(failed->status);
      ended_->Push(task_);
    }
  }

 private:
  const size_t task_;
  const std::shared_ptr<Flight> flight_;
  const std::shared_ptr<EndedTasks> ended_;  // The sink may be dropped after the run has ended.
};

EngineMeasurer::EngineMeasurer(Engine* engine, const Tokenizer* tokenizer,
                               absl::Span<const Sample> samples,
                               const EngineMeasurerOptions& options)
    : engine_(*engine), tokenizer_(*tokenizer), samples_(samples), options_(options) {}

absl::StatusOr<std::vector<int32_t>> EngineMeasurer::AnswerIds(const Sample& sample) const {
  const TextSpan answer{.text = sample.answer, .trusted = false};
  return tokenizer_.Encode(absl::MakeConstSpan(&answer, 1), /*add_special_tokens=*/false);
}

absl::StatusOr<Input> EngineMeasurer::Prompt(const Sample& sample) const {
  ChatMessage message{.role = Role::kUser};
  if (!sample.image.empty()) {
    PREFIXD_ASSIGN_OR_RETURN(std::string bytes, ReadFile(sample.image, kMaxImageBytes));
    message.parts.push_back(ImagePart{.bytes = std::move(bytes)});
  }
  message.parts.push_back(TextPart{sample.question});
  return ChatInput{{std::move(message)}};
}

absl::StatusOr<Request> EngineMeasurer::BuildRequest(const MeasureTask& task,
                                                     std::string id) const {
  const Sample& sample = samples_[task.sample];
  Request request;
  request.id = std::move(id);
  PREFIXD_ASSIGN_OR_RETURN(request.input, Prompt(sample));
  request.sampling.temperature = 0;
  request.sampling.seed = 0;  // Of policies that draw.
  request.output.token_ids = true;
  request.bypass_prefix_cache = options_.bypass_prefix_cache;
  request.retention = ParamsOf(*task.setting);
  switch (task.kind) {
    case MeasureKind::kForced: {
      PREFIXD_ASSIGN_OR_RETURN(request.forced_output, AnswerIds(sample));
      request.stopping.max_tokens = static_cast<int32_t>(request.forced_output.size());
      request.output.logprobs = 1;
      break;
    }
    case MeasureKind::kGreedy:
      request.stopping.max_tokens = options_.max_new_tokens;
      break;
    case MeasureKind::kPrompt:
      request.stopping.max_tokens = 1;
      break;
  }
  return request;
}

absl::StatusOr<Measured> EngineMeasurer::Finish(const MeasureTask& task,
                                                const Flight& flight) const {
  PREFIXD_RETURN_IF_ERROR(flight.status);
  const RetentionReceipt& receipt = flight.finished.retention;
  if (!task.setting->full() && receipt.scope != RetentionScope::kExact) {
    return absl::InternalError("the engine kept everything");
  }
  Measured measured{.prompt_tokens = flight.finished.usage.prompt_tokens,
                    .token_ids = flight.token_ids,
                    .selected_from = receipt.selected_from,
                    .kept_tokens = receipt.kept_tokens,
                    .score_mass = receipt.score_mass};
  if (task.kind == MeasureKind::kForced) {
    PREFIXD_ASSIGN_OR_RETURN(const std::vector<int32_t> answer, AnswerIds(samples_[task.sample]));
    if (flight.token_ids != answer || flight.logprobs.size() != answer.size()) {
      return absl::InternalError(absl::StrCat(
          "the engine gave ", flight.token_ids.size(), " tokens and ", flight.logprobs.size(),
          " log-probs of an answer of ", answer.size(), " tokens that was to be fed to it"));
    }
    for (const LogprobEntry& entry : flight.logprobs) {
      measured.logprobs.push_back(entry.sampled.logprob);
      measured.most_likely.push_back(entry.top.empty() ? entry.sampled.token_id
                                                       : entry.top[0].token_id);
    }
  }
  measured.text = flight.text;
  if (flight.eos_token) measured.text += tokenizer_.TokenBytes(*flight.eos_token);
  return measured;
}

absl::Status EngineMeasurer::Named(const MeasureTask& task, const absl::Status& status) const {
  return absl::Status(
      status.code(), absl::StrCat("sample ", task.sample, " (\"", samples_[task.sample].id, "\"), ",
                                  SettingName(*task.setting), ": ", status.message()));
}

absl::Status EngineMeasurer::CheckSamples(bool with_answers) {
  const RetentionSetting full;
  for (size_t i = 0; i < samples_.size(); ++i) {
    const MeasureTask task{.sample = i, .setting = &full};
    absl::StatusOr<Input> prompt = Prompt(samples_[i]);
    if (!prompt.ok()) return Named(task, prompt.status());
    const absl::StatusOr<std::vector<int32_t>> answer = AnswerIds(samples_[i]);
    if (!answer.ok()) return Named(task, answer.status());
    if (with_answers && answer->empty()) {
      return Named(task, absl::InvalidArgumentError("the answer has no token"));
    }
    Request request;
    request.input = *std::move(prompt);
    std::promise<absl::StatusOr<TokenCounts>> counted;
    engine_.CountTokens(std::move(request), [&counted](absl::StatusOr<TokenCounts> counts) {
      counted.set_value(std::move(counts));
    });
    const absl::StatusOr<TokenCounts> counts = counted.get_future().get();
    if (!counts.ok()) return Named(task, counts.status());
    const size_t length =
        static_cast<size_t>(counts->prompt_tokens) + (with_answers ? answer->size() : size_t{1});
    const auto limit = static_cast<size_t>(engine_.model_info().context_length);
    if (length > limit) {
      return Named(task, absl::OutOfRangeError(
                             absl::StrCat(counts->prompt_tokens, " tokens of prompt and ",
                                          length - static_cast<size_t>(counts->prompt_tokens),
                                          " of answer, the model's context is ", limit)));
    }
  }
  return absl::OkStatus();
}

absl::Status EngineMeasurer::Run(absl::Span<const MeasureTask> tasks, Done done) {
  const auto ended = std::make_shared<EndedTasks>();
  std::map<size_t, std::shared_ptr<Flight>> flights;  // By index of their tasks.
  absl::Status status;
  size_t next = 0;
  while (true) {
    while (status.ok() && next < tasks.size() &&
           flights.size() < static_cast<size_t>(options_.in_flight)) {
      const MeasureTask& task = tasks[next];
      auto flight = std::make_shared<Flight>();
      flight->request_id = absl::StrCat("measure-", next_id_++);
      absl::StatusOr<Request> request = BuildRequest(task, flight->request_id);
      absl::Status taken = request.status();
      if (taken.ok()) {
        taken = engine_.Submit(*std::move(request), std::make_shared<Sink>(next, flight, ended));
      }
      if (!taken.ok()) {
        status = Named(task, taken);
        break;
      }
      flights.emplace(next++, std::move(flight));
    }
    if (!status.ok()) {
      for (const auto& [index, flight] : flights) {
        engine_.Cancel("", flight->request_id).IgnoreError();  // It may have ended.
      }
    }
    if (flights.empty()) return status;
    const size_t index = ended->Pop();
    const std::shared_ptr<Flight> flight = std::move(flights.at(index));
    flights.erase(index);
    if (!status.ok()) continue;
    absl::StatusOr<Measured> measured = Finish(tasks[index], *flight);
    status =
        measured.ok() ? done(index, *std::move(measured)) : Named(tasks[index], measured.status());
  }
}

}  // namespace prefixd
