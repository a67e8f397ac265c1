// What the measurer asks of an engine, and what it makes of the events; on the demo model, greedy
// answers of the real one.
#include "tools/engine_measurer.h"

#include <future>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "base/json.h"
#include "tests/server/fake_engine.h"

namespace prefixd {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr char kModel[] = PREFIXD_SOURCE_DIR "/models/demo";

class EngineMeasurerTest : public ::testing::Test {
 protected:
  EngineMeasurerTest() : tokenizer_(Tokenizer::Load(kModel).value()) {
    for (int i = 0; i < 5; ++i) {
      samples_.push_back({.id = absl::StrCat("s", i),
                          .image = absl::StrCat(kModel, "/pictures/picture-0", i + 1, ".png"),
                          .question = "What is in this image?",
                          .answer = "The image shows a red ring."});
    }
    const TextSpan answer{.text = samples_[0].answer};
    answer_ids_ = tokenizer_->Encode(absl::MakeConstSpan(&answer, 1), false).value();
  }

  // Runs in a thread; events are sent by the test.
  void Start(std::vector<MeasureTask> tasks, EngineMeasurerOptions options = {}) {
    tasks_ = std::move(tasks);
    measurer_.emplace(&engine_, tokenizer_.get(), samples_, options);
    run_ = std::async(std::launch::async, [this] {
      return measurer_->Run(tasks_, [this](size_t task, Measured measured) {
        results_.emplace_back(task, std::move(measured));
        return absl::OkStatus();
      });
    });
  }

  // Everything that the engine says of a forced answer.
  void SendForced(const std::string& id, RetentionReceipt receipt = {}) {
    for (size_t i = 0; i < answer_ids_.size(); ++i) {
      engine_.Send(id, DeltaEvent{.token_ids = {answer_ids_[i]}, .logprobs = {Entry(i)}});
    }
    FinishedEvent finished;
    finished.usage.prompt_tokens = 160;
    finished.retention = std::move(receipt);
    engine_.Send(id, finished);
  }
  LogprobEntry Entry(size_t i) const {
    LogprobEntry entry;
    entry.sampled = {.token_id = answer_ids_[i], .logprob = -0.5f, .rank = 2};
    entry.top = {{.token_id = static_cast<int32_t>(i), .logprob = -0.25f, .rank = 1}};
    return entry;
  }

  testing::FakeEngine engine_;
  const std::unique_ptr<const Tokenizer> tokenizer_;
  std::vector<Sample> samples_;
  std::vector<int32_t> answer_ids_;
  std::vector<MeasureTask> tasks_;
  std::optional<EngineMeasurer> measurer_;
  std::future<absl::Status> run_;
  std::vector<std::pair<size_t, Measured>> results_;
  const RetentionSetting full_;
  const RetentionSetting tenth_ = {.policy = "prefixkv", .profile = "cats", .budget = 0.1};
};

TEST_F(EngineMeasurerTest, ForcesTheAnswerWithoutBosAndEos) {
  Start({{.sample = 0, .kind = MeasureKind::kForced, .setting = &tenth_}});
  const Request request = engine_.WaitRequest(0);
  EXPECT_EQ(request.forced_output, answer_ids_);
  EXPECT_NE(request.forced_output.front(), tokenizer_->bos_token_id());
  EXPECT_NE(request.forced_output.back(), tokenizer_->eos_token_id());
  EXPECT_EQ(request.output.logprobs, 1);
  EXPECT_EQ(request.sampling.temperature, 0.0f);
  EXPECT_EQ(request.retention.scope, RetentionScope::kExact);
  EXPECT_EQ(request.retention.policy, "prefixkv");
  EXPECT_EQ(request.retention.profile, "cats");
  EXPECT_EQ(request.retention.budget, 0.1);
  const auto* chat = std::get_if<ChatInput>(&request.input);
  ASSERT_NE(chat, nullptr);
  ASSERT_EQ(chat->messages.size(), 1u);
  ASSERT_EQ(chat->messages[0].parts.size(), 2u);
  EXPECT_EQ(std::get<ImagePart>(chat->messages[0].parts[0]).bytes.substr(1, 3), "PNG");
  EXPECT_EQ(std::get<TextPart>(chat->messages[0].parts[1]).text, "What is in this image?");

  SendForced(request.id, {.scope = RetentionScope::kExact,
                          .selected_from = 160,
                          .kept_tokens = {16, 17},
                          .score_mass = 0.75});
  ASSERT_EQ(run_.get(), absl::OkStatus());
  ASSERT_EQ(results_.size(), 1u);
  const Measured& measured = results_[0].second;
  EXPECT_EQ(measured.prompt_tokens, 160);
  EXPECT_EQ(measured.token_ids, answer_ids_);
  EXPECT_EQ(measured.logprobs, std::vector<double>(answer_ids_.size(), -0.5));
  EXPECT_EQ(measured.most_likely.size(), answer_ids_.size());
  EXPECT_EQ(measured.most_likely[1], 1);
  EXPECT_EQ(measured.selected_from, 160);
  EXPECT_THAT(measured.kept_tokens, ElementsAre(16, 17));
  EXPECT_EQ(measured.score_mass, 0.75);
}

TEST_F(EngineMeasurerTest, AGreedyAnswerEndsWithItsEndToken) {
  Start({{.sample = 0, .kind = MeasureKind::kGreedy, .setting = &full_}}, {.max_new_tokens = 77});
  const Request request = engine_.WaitRequest(0);
  EXPECT_EQ(request.stopping.max_tokens, 77);
  EXPECT_THAT(request.forced_output, ElementsAre());
  EXPECT_EQ(request.retention.scope, RetentionScope::kOff);
  engine_.Send(request.id, DeltaEvent{.text = "A ", .token_ids = {40}});
  engine_.Send(request.id, DeltaEvent{.text = "cat.", .token_ids = {41, 42}});
  const int32_t eos = tokenizer_->eos_token_id().value();
  engine_.Send(request.id, ChoiceFinishedEvent{.reason = FinishReason::kEos, .stop_token = eos});
  engine_.Send(request.id, FinishedEvent{});
  ASSERT_EQ(run_.get(), absl::OkStatus());
  EXPECT_EQ(results_[0].second.text, "A cat.</s>");
  EXPECT_THAT(results_[0].second.token_ids, ElementsAre(40, 41, 42));
}

TEST_F(EngineMeasurerTest, KeepsSoManyRequestsInFlight) {
  std::vector<MeasureTask> tasks;
  for (size_t i = 0; i < 5; ++i) {
    tasks.push_back({.sample = i, .kind = MeasureKind::kForced, .setting = &full_});
  }
  Start(tasks, {.in_flight = 2, .bypass_prefix_cache = true});
  std::vector<std::string> ids;
  for (size_t i = 0; i < 5; ++i) {
    const Request request = engine_.WaitRequest(i);
    EXPECT_TRUE(request.bypass_prefix_cache);
    ids.push_back(request.id);
    EXPECT_LE(engine_.num_live(), 2u);
    if (i > 0) SendForced(ids[i]);  // Not in the order of the tasks.
  }
  SendForced(ids[0]);
  ASSERT_EQ(run_.get(), absl::OkStatus());
  ASSERT_EQ(results_.size(), 5u);
  EXPECT_EQ(results_.back().first, 0u);
}

TEST_F(EngineMeasurerTest, AFailureNamesTheSampleAndCancelsTheRest) {
  Start({{.sample = 3, .kind = MeasureKind::kGreedy, .setting = &tenth_},
         {.sample = 1, .kind = MeasureKind::kGreedy, .setting = &full_}});
  const std::string first = engine_.WaitRequest(0).id;
  engine_.WaitRequest(1);
  engine_.Send(first, FailedEvent{absl::ResourceExhaustedError("no room")});
  const absl::Status status = run_.get();
  EXPECT_TRUE(absl::IsResourceExhausted(status));
  EXPECT_EQ(status.message(), "sample 3 (\"s3\"), prefixkv@cats at 10 %: no room");
  EXPECT_EQ(engine_.num_live(), 0u);
  EXPECT_EQ(results_.size(), 0u);
}

TEST_F(EngineMeasurerTest, ARefusalEndsTheRun) {
  engine_.SetSubmitStatus(absl::UnavailableError("draining"));
  Start({{.sample = 0, .kind = MeasureKind::kGreedy, .setting = &full_}});
  EXPECT_TRUE(absl::IsUnavailable(run_.get()));
}

TEST_F(EngineMeasurerTest, DoesNotBelieveAnEngineThatDidSomethingElse) {
  Start({{.sample = 0, .kind = MeasureKind::kForced, .setting = &full_}});
  const std::string id = engine_.WaitRequest(0).id;
  engine_.Send(id, DeltaEvent{.token_ids = {1}, .logprobs = {Entry(0)}});
  engine_.Send(id, FinishedEvent{});
  EXPECT_THAT(std::string(run_.get().message()), HasSubstr("gave 1 tokens and 1 log-probs"));

  Start({{.sample = 0, .kind = MeasureKind::kForced, .setting = &tenth_}});
  SendForced(engine_.WaitRequest(1).id);
  EXPECT_THAT(std::string(run_.get().message()), HasSubstr("the engine kept everything"));
}

TEST_F(EngineMeasurerTest, ChecksThatSamplesFitTheContext) {
  EngineMeasurer measurer(&engine_, tokenizer_.get(), samples_, {});
  const auto length = static_cast<int32_t>(answer_ids_.size());
  engine_.SetCountResult(TokenCounts{.prompt_tokens = 100 - length});  // The context is 100.
  EXPECT_EQ(measurer.CheckSamples(true), absl::OkStatus());
  engine_.SetCountResult(TokenCounts{.prompt_tokens = 101 - length});
  const absl::Status status = measurer.CheckSamples(true);
  EXPECT_TRUE(absl::IsOutOfRange(status));
  EXPECT_THAT(std::string(status.message()), HasSubstr("sample 0 (\"s0\")"));
  EXPECT_THAT(std::string(status.message()), HasSubstr("the model's context is 100"));
  EXPECT_EQ(measurer.CheckSamples(false), absl::OkStatus()) << "one token fits";
}

// --- The demo model

class DemoMeasurerTest : public ::testing::Test {
 protected:
  DemoMeasurerTest() : tokenizer_(Tokenizer::Load(kModel).value()) {
    EngineOptions options{.model_path = kModel, .kv_memory_bytes = 64 << 20};
    engine_ = Engine::Open(options, &clock_).value();
    EXPECT_TRUE(engine_->LoadWeights([](uint64_t, uint64_t) { return true; }).ok());
    samples_ = {{.id = "15",
                 .image = absl::StrCat(kModel, "/pictures/picture-15.png"),
                 .question = "What is in this image?",
                 .answer = "The image shows three objects."}};
  }

  std::vector<Measured> Run(const std::vector<MeasureTask>& tasks) {
    EngineMeasurer measurer(engine_.get(), tokenizer_.get(), samples_, {});
    EXPECT_EQ(measurer.CheckSamples(true), absl::OkStatus());
    std::vector<Measured> results(tasks.size());
    EXPECT_EQ(measurer.Run(tasks,
                           [&](size_t task, Measured measured) {
                             results[task] = std::move(measured);
                             return absl::OkStatus();
                           }),
              absl::OkStatus());
    return results;
  }

  const MonotonicClock clock_;
  const std::unique_ptr<const Tokenizer> tokenizer_;
  std::unique_ptr<Engine> engine_;
  std::vector<Sample> samples_;
  const RetentionSetting full_;
};

TEST_F(DemoMeasurerTest, AnswersGreedily) {
  const std::vector<Measured> results =
      Run({{.sample = 0, .kind = MeasureKind::kGreedy, .setting = &full_},
           {.sample = 0, .kind = MeasureKind::kGreedy, .setting = &full_}});
  EXPECT_THAT(results[0].text, HasSubstr("The image shows"));
  EXPECT_THAT(results[0].text, ::testing::EndsWith(".</s>"));
  EXPECT_EQ(results[0].text, results[1].text);
  EXPECT_EQ(results[0].token_ids, results[1].token_ids);
}

// Teacher forcing along the model's own answer: every token is its first choice.
TEST_F(DemoMeasurerTest, ForcingItsOwnAnswerIsNoSurprise) {
  const Measured greedy = Run({{.sample = 0, .kind = MeasureKind::kGreedy, .setting = &full_}})[0];
  samples_[0].answer = greedy.text.substr(0, greedy.text.size() - 4);  // Without "</s>".
  const Measured forced = Run({{.sample = 0, .kind = MeasureKind::kForced, .setting = &full_}})[0];
  EXPECT_EQ(forced.most_likely, forced.token_ids);
  EXPECT_EQ(forced.token_ids,
            std::vector<int32_t>(greedy.token_ids.begin(), greedy.token_ids.end() - 1));
}

// tests/golden/make/evaluation.py: transformers, float32.
TEST_F(DemoMeasurerTest, ForcedAnswersHaveTheLogprobsOfTransformers) {
  samples_ = LoadDataset({.path = absl::StrCat(kModel, "/calibration/calibration.json")})->samples;
  const auto golden =
      ReadJsonFile(PREFIXD_SOURCE_DIR "/tests/golden/evaluation.json", 1 << 20).value();
  ASSERT_EQ(golden["answers"].size(), samples_.size());
  std::vector<MeasureTask> tasks;
  for (size_t i = 0; i < samples_.size(); ++i) {
    tasks.push_back({.sample = i, .kind = MeasureKind::kForced, .setting = &full_});
  }
  const std::vector<Measured> results = Run(tasks);
  for (size_t i = 0; i < results.size(); ++i) {
    EXPECT_EQ(results[i].token_ids, golden["answers"][i]["ids"].get<std::vector<int32_t>>());
    EXPECT_THAT(results[i].logprobs,
                ::testing::Pointwise(::testing::DoubleNear(1e-3),
                                     golden["answers"][i]["logprobs"].get<std::vector<double>>()));
  }
}

}  // namespace
}  // namespace prefixd
