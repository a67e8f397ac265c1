// A StepLoop over the fake backend and model, a clock moved by hand, and sinks that record events.
#ifndef PREFIXD_TESTS_ENGINE_STEP_LOOP_FIXTURE_H_
#define PREFIXD_TESTS_ENGINE_STEP_LOOP_FIXTURE_H_

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "engine/step_loop.h"
#include "tests/engine/fake_backend.h"

namespace prefixd::testing {

// Token i is the letter 'a' + i % 26; id 0 (end of sequence) is special.
class FakeTokenizer final : public Tokenizer {
 public:
  absl::StatusOr<std::vector<int32_t>> Encode(absl::Span<const TextSpan> spans,
                                              bool) const override {
    std::vector<int32_t> ids;
    for (const TextSpan& span : spans) {
      for (const char c : span.text) ids.push_back(1 + static_cast<uint8_t>(c) % 90);
    }
    return ids;
  }
  std::string Decode(absl::Span<const int32_t> ids, bool) const override {
    std::string text;
    for (const int32_t id : ids) text += IsSpecial(id) ? "" : TokenBytes(id);
    return text;
  }
  std::string TokenBytes(int32_t id) const override {
    return std::string(1, static_cast<char>('a' + id % 26));
  }
  bool IsSpecial(int32_t id) const override { return id == kFakeEos; }
  std::optional<int32_t> TokenToId(absl::string_view) const override { return std::nullopt; }
  int32_t vocab_size() const override { return kFakeVocab; }
  std::optional<int32_t> bos_token_id() const override { return std::nullopt; }
  std::optional<int32_t> eos_token_id() const override { return kFakeEos; }
  const std::string& chat_template() const override { return empty_; }
  bool strips_leading_space() const override { return false; }

 private:
  const std::string empty_;
};

// Everything that one request was told.
struct Recorder final : public EventSink {
  void OnEvent(Event event) override {
    EXPECT_FALSE(ended) << "an event after the terminal one";
    if (auto* delta = std::get_if<DeltaEvent>(&event)) {
      if (tokens.size() <= static_cast<size_t>(delta->choice)) {
        tokens.resize(delta->choice + 1);
        texts.resize(delta->choice + 1);
      }
      auto& ids = tokens[delta->choice];
      ids.insert(ids.end(), delta->token_ids.begin(), delta->token_ids.end());
      texts[delta->choice] += delta->text;
    } else if (auto* finish = std::get_if<ChoiceFinishedEvent>(&event)) {
      finishes.push_back(*finish);
    } else if (auto* started_event = std::get_if<StartedEvent>(&event)) {
      EXPECT_FALSE(started.has_value());
      started = *started_event;
    } else if (auto* done = std::get_if<FinishedEvent>(&event)) {
      ended = true;
      finished = *done;
    } else {
      ended = true;
      status = std::get<FailedEvent>(event).status;
    }
  }
  bool Writable() const override { return writable; }

  std::optional<StartedEvent> started;
  std::vector<std::vector<int32_t>> tokens;
  std::vector<std::string> texts;
  std::vector<ChoiceFinishedEvent> finishes;
  std::optional<FinishedEvent> finished;
  absl::Status status;
  bool ended = false;
  bool writable = true;
};

class StepLoopTest : public ::testing::Test {
 protected:
  static constexpr int kLayers = 3;

  void Build(StepLoopOptions options, int32_t num_pages, int32_t context_length = 512,
             Sharing sharing = Sharing::kCausal, bool cross_attended = false) {
    options.check_invariants = true;
    auto model =
        std::make_unique<FakeModel>(&backend_, kLayers, context_length, sharing, cross_attended);
    model_ = model.get();
    auto pool = backend_.CreateKvPool({.num_pages = num_pages, .num_kv_heads = 1, .head_dim = 2});
    auto loop = StepLoop::Create(
        options, &backend_, std::move(model), *std::move(pool), &tokenizer_, &clock_,
        {.on_scheduled = [this](const ActiveRequest&) { ++num_scheduled_; },
         .on_end = [this](const ActiveRequest&) { ++num_ended_; }});
    ASSERT_TRUE(loop.ok()) << loop.status();
    loop_ = *std::move(loop);
  }

  static std::shared_ptr<const std::vector<float>> Pixels(float id) {
    return std::make_shared<const std::vector<float>>(std::vector<float>{id});
  }

  // A greedy request over `prompt`; token ids are reported.
  std::unique_ptr<ActiveRequest> MakeRequest(std::vector<int32_t> prompt, int32_t max_tokens) {
    auto request = std::make_unique<ActiveRequest>();
    request->request.id = std::to_string(next_id_++);
    request->request.stopping.max_tokens = max_tokens;
    request->request.output.token_ids = true;
    request->prompt.token_ids = std::move(prompt);
    request->handle = std::make_shared<RequestHandle>();
    request->submitted = clock_.Now();
    return request;
  }

  // Lets the request take part in sharing, in the namespace of its tenant and salt.
  static void Share(ActiveRequest* request) {
    ShareUnder(RootKey({.tenant = request->request.tenant, .salt = request->request.cache_salt}),
               &request->prompt);
  }

  // Appends an image whose pixels are `id` to the prompt.
  static void AppendImage(int32_t id, ActiveRequest* request) {
    PromptImage image{.row_begin = request->prompt_rows(), .num_rows = kFakeImageRows};
    image.media_id[0] = static_cast<uint8_t>(id);
    image.pixels = Pixels(static_cast<float>(id));
    request->prompt.images.push_back(std::move(image));
    request->prompt.token_ids.insert(request->prompt.token_ids.end(), kFakeImageRows,
                                     kFakeImageToken);
  }

  // What the rows of a prompt hold, as LonelyRun takes it.
  static std::vector<int32_t> SeenBy(const Prompt& prompt) {
    std::vector<int32_t> seen = prompt.token_ids;
    for (const PromptImage& image : prompt.images) {
      for (int32_t r = 0; r < image.num_rows; ++r) {
        seen[image.row_begin + r] = 1000 + 10 * static_cast<int32_t>((*image.pixels)[0]) + r;
      }
    }
    return seen;
  }

  std::shared_ptr<Recorder> Submit(std::unique_ptr<ActiveRequest> request) {
    auto sink = std::make_shared<Recorder>();
    request->sink = sink;
    loop_->Accept(std::move(request));
    return sink;
  }

  // Steps until nothing is left to do; the bound turns a hang into a failure.
  void RunToEnd(int max_steps = 10000) {
    int steps = 0;
    while (loop_->Step()) {
      clock_.Advance(absl::Milliseconds(1));
      ASSERT_LT(++steps, max_steps);
    }
  }

  // After what ends running ahead: the step in flight is taken before anything else happens.
  void TakeStepInFlight() {
    if (InFlight() > 1) {
      ASSERT_TRUE(loop_->Step());
    }
  }

  EngineStats Stats() const {
    EngineStats stats;
    loop_->FillStats(&stats);
    return stats;
  }

  // Distinct, never the end of sequence.
  static std::vector<int32_t> PromptOf(int32_t length, int32_t salt) {
    std::vector<int32_t> ids;
    for (int32_t i = 0; i < length; ++i) ids.push_back(1 + (i * 7 + salt * 13) % 94);
    return ids;
  }

  // Every test also runs with steps launched ahead (the test step_loop_ahead_test).
  static int InFlight() { return std::getenv("PREFIXD_TEST_IN_FLIGHT") != nullptr ? 2 : 1; }

  FakeBackend backend_{InFlight()};
  FakeTokenizer tokenizer_;
  ManualClock clock_;
  FakeModel* model_ = nullptr;
  std::unique_ptr<StepLoop> loop_;
  int num_scheduled_ = 0, num_ended_ = 0;
  int next_id_ = 1;
};

}  // namespace prefixd::testing

#endif  // PREFIXD_TESTS_ENGINE_STEP_LOOP_FIXTURE_H_
