// The engine with its threads, on the demo model.
#include "engine/engine.h"

#include <sys/resource.h>

#include <atomic>
#include <condition_variable>
#include <future>
#include <mutex>
#include <random>
#include <thread>

#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/file.h"

namespace prefixd {
namespace {

// Counts what a request was told.
class Counter final : public EventSink {
 public:
  void OnEvent(Event event) override {
    std::lock_guard lock(mutex_);
    if (std::holds_alternative<StartedEvent>(event)) ++started_;
    if (auto* delta = std::get_if<DeltaEvent>(&event)) text_ += delta->text;
    if (auto* failed = std::get_if<FailedEvent>(&event)) status_ = failed->status;
    if (std::holds_alternative<FinishedEvent>(event) ||
        std::holds_alternative<FailedEvent>(event)) {
      ++ended_;
    }
    changed_.notify_all();
  }

  absl::Status Wait() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return ended_ > 0; });
    return status_;
  }
  void WaitStarted() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return started_ > 0; });
  }
  std::string text() {
    std::lock_guard lock(mutex_);
    return text_;
  }
  int ended() {
    std::lock_guard lock(mutex_);
    return ended_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::string text_;
  absl::Status status_;
  int started_ = 0, ended_ = 0;
};

class EngineTest : public ::testing::Test {
 protected:
  std::unique_ptr<Engine> Open(EngineOptions options = {}) {
    options.model_path = PREFIXD_SOURCE_DIR "/models/demo";
    options.backend = "cpu";
    options.kv_memory_bytes = 64 << 20;
    options.check_invariants = true;
    auto engine = Engine::Open(options, &clock_);
    EXPECT_TRUE(engine.ok()) << engine.status();
    return *std::move(engine);
  }

  std::unique_ptr<Engine> Serve(const EngineOptions& options = {}) {
    std::unique_ptr<Engine> engine = Open(options);
    EXPECT_TRUE(engine->LoadWeights([](uint64_t, uint64_t) { return true; }).ok());
    return engine;
  }

  Request Ask(const std::string& id, int32_t max_tokens, bool with_picture = false) {
    ChatMessage message;
    if (with_picture) message.parts.push_back(ImagePart{picture_});
    message.parts.push_back(TextPart{"Describe the image."});
    Request request;
    request.id = id;
    request.input = ChatInput{{message}};
    request.stopping.max_tokens = max_tokens;
    request.stopping.ignore_eos = !with_picture;
    return request;
  }

  const MonotonicClock clock_;
  const std::string picture_ =
      *ReadFile(PREFIXD_SOURCE_DIR "/models/demo/pictures/picture-15.png", 1 << 20);
};

std::string ReasonOf(const absl::Status& status) {
  const auto detail = GetErrorDetail(status);
  return detail ? detail->reason : "";
}

TEST_F(EngineTest, RefusesWorkUntilTheWeightsAreLoaded) {
  const auto engine = Open();
  const absl::Status status = engine->Submit(Ask("a", 1), std::make_shared<Counter>());
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(ReasonOf(status), "MODEL_NOT_READY");
}

TEST_F(EngineTest, GivingUpOnLoadingFailsTheEngine) {
  const auto engine = Open();
  const absl::Status status = engine->LoadWeights([](uint64_t, uint64_t) { return false; });
  EXPECT_EQ(status.code(), absl::StatusCode::kCancelled);
  EXPECT_EQ(engine->Stats()->state, EngineState::kFailed);
}

TEST_F(EngineTest, CountsTokensAsGenerateDoes) {
  const auto engine = Serve();
  std::mutex mutex;
  std::condition_variable changed;
  absl::StatusOr<TokenCounts> counts = absl::UnknownError("not yet");
  engine->CountTokens(Ask("a", 1, true), [&](absl::StatusOr<TokenCounts> result) {
    std::lock_guard lock(mutex);
    counts = std::move(result);
    changed.notify_all();
  });
  std::unique_lock lock(mutex);
  changed.wait(lock, [&] { return !absl::IsUnknown(counts.status()); });
  ASSERT_TRUE(counts.ok()) << counts.status();
  EXPECT_EQ(counts->image_tokens, 144);
  EXPECT_EQ(counts->num_images, 1);
  EXPECT_GT(counts->prompt_tokens, 150);
}

TEST_F(EngineTest, AFullQueueRefusesWithARetryHint) {
  const auto engine = Serve({.max_running = 1, .max_queue = 2});
  const auto running = std::make_shared<Counter>();
  ASSERT_TRUE(engine->Submit(Ask("running", 2000), running).ok());
  running->WaitStarted();
  ASSERT_TRUE(engine->Submit(Ask("first", 1), std::make_shared<Counter>()).ok());
  ASSERT_TRUE(engine->Submit(Ask("second", 1), std::make_shared<Counter>()).ok());
  const absl::Status full = engine->Submit(Ask("third", 1), std::make_shared<Counter>());
  EXPECT_EQ(full.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(ReasonOf(full), "QUEUE_FULL");
  EXPECT_TRUE(GetErrorDetail(full)->retry_after.has_value());
}

TEST_F(EngineTest, PixelsOfAllRequestsAreBounded) {
  // A picture becomes 3 x 96 x 96 floats, 110,592 bytes; nine fit into a mebibyte.
  const auto engine = Serve({.max_running = 1, .max_image_memory = 1 << 20});
  const auto running = std::make_shared<Counter>();
  ASSERT_TRUE(engine->Submit(Ask("running", 2000), running).ok());
  running->WaitStarted();
  for (int i = 0; i < 9; ++i) {
    ASSERT_TRUE(engine->Submit(Ask(absl::StrCat(i), 1, true), std::make_shared<Counter>()).ok());
  }
  const absl::Status full = engine->Submit(Ask("ten", 1, true), std::make_shared<Counter>());
  EXPECT_EQ(full.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(ReasonOf(full), "QUEUE_FULL");
  ASSERT_TRUE(engine->Cancel("", "0").ok());
  ASSERT_TRUE(engine->Cancel("", "running").ok());
  EXPECT_EQ(running->Wait().code(), absl::StatusCode::kCancelled);
  EXPECT_EQ(engine->WaitDrained(absl::Seconds(10)), 0);
  EXPECT_TRUE(engine->Submit(Ask("ten", 1, true), std::make_shared<Counter>()).ok());
}

TEST_F(EngineTest, ALiveIdIsTakenAndFreeAgainAfterwards) {
  const auto engine = Serve();
  const auto first = std::make_shared<Counter>();
  ASSERT_TRUE(engine->Submit(Ask("same", 2000), first).ok());
  EXPECT_EQ(engine->Submit(Ask("same", 1), std::make_shared<Counter>()).code(),
            absl::StatusCode::kAlreadyExists);
  ASSERT_TRUE(engine->Cancel("", "same").ok());
  EXPECT_EQ(first->Wait().code(), absl::StatusCode::kCancelled);
  EXPECT_EQ(engine->Cancel("", "same").code(), absl::StatusCode::kNotFound);
  const auto again = std::make_shared<Counter>();
  ASSERT_TRUE(engine->Submit(Ask("same", 1), again).ok());
  EXPECT_TRUE(again->Wait().ok());
}

TEST_F(EngineTest, DestroyingItEndsEveryRequestOnce) {
  std::vector<std::shared_ptr<Counter>> sinks;
  {
    const auto engine = Serve({.max_running = 2});
    for (int i = 0; i < 12; ++i) {
      sinks.push_back(std::make_shared<Counter>());
      ASSERT_TRUE(engine->Submit(Ask(absl::StrCat(i), 2000, i % 2 == 0), sinks.back()).ok());
    }
    sinks[0]->WaitStarted();
  }
  for (const auto& sink : sinks) EXPECT_EQ(sink->ended(), 1);
}

TEST_F(EngineTest, DrainingLetsRequestsFinishAndTakesNoMore) {
  const auto engine = Serve();
  const auto sink = std::make_shared<Counter>();
  ASSERT_TRUE(engine->Submit(Ask("a", 200), sink).ok());
  engine->Drain();
  EXPECT_EQ(ReasonOf(engine->Submit(Ask("b", 1), std::make_shared<Counter>())), "DRAINING");
  EXPECT_EQ(engine->WaitDrained(absl::Seconds(60)), 0);
  EXPECT_TRUE(sink->Wait().ok());
}

TEST_F(EngineTest, AnOverdueDrainCutsWhatIsLeft) {
  const auto engine = Serve();
  const auto sink = std::make_shared<Counter>();
  ASSERT_TRUE(engine->Submit(Ask("a", 2000), sink).ok());
  sink->WaitStarted();
  engine->Drain();
  EXPECT_EQ(engine->WaitDrained(absl::Milliseconds(1)), 1);
  EXPECT_EQ(ReasonOf(sink->Wait()), "DRAINING");
}

TEST_F(EngineTest, ManyCallersWithRandomCancelsAllHearTheirEnd) {
  const auto engine = Serve({.max_running = 8});
  std::atomic<int> finished{0}, cancelled{0};
  {
    std::vector<std::jthread> callers;
    for (int caller = 0; caller < 6; ++caller) {
      callers.emplace_back([&, caller] {
        std::mt19937 random(static_cast<uint32_t>(caller));
        for (int i = 0; i < 10; ++i) {
          const std::string id = absl::StrCat(caller, "-", i);
          const auto sink = std::make_shared<Counter>();
          ASSERT_TRUE(
              engine->Submit(Ask(id, 1 + static_cast<int>(random() % 30), i % 3 == 0), sink).ok());
          if (random() % 2 == 0) {
            std::this_thread::sleep_for(std::chrono::microseconds(random() % 3000));
            (void)engine->Cancel("", id);  // NOT_FOUND if it has ended.
          }
          const absl::Status status = sink->Wait();
          EXPECT_TRUE(status.ok() || status.code() == absl::StatusCode::kCancelled) << status;
          ++(status.ok() ? finished : cancelled);
          (void)engine->Stats();
        }
      });
    }
  }
  EXPECT_EQ(finished + cancelled, 60);
  EXPECT_EQ(engine->WaitDrained(absl::Seconds(10)), 0);
  const auto stats = engine->Stats();
  EXPECT_EQ(stats->waiting, 0);
}

// Stops reading when its first event has come.
class StalledReader final : public EventSink {
 public:
  void OnEvent(Event) override { writable_ = false; }
  bool Writable() const override { return writable_; }

 private:
  std::atomic<bool> writable_{true};
};

absl::Duration CpuTime() {
  rusage usage;
  getrusage(RUSAGE_SELF, &usage);
  return absl::DurationFromTimeval(usage.ru_utime) + absl::DurationFromTimeval(usage.ru_stime);
}

TEST_F(EngineTest, SleepsWhenNothingMovesAndWakesForEveryTimer) {
  // A request whose reader stalled holds all pages, so the next one waits.
  const auto engine = Serve({.max_output_tokens = 1900, .admission = "reserve"});
  std::promise<absl::StatusOr<PrefixInfo>> created;
  PrefixSpec spec{.id = "short", .input = Ask("", 1, true).input, .ttl = absl::Seconds(1)};
  engine->CreatePrefix(spec, [&](auto info) { created.set_value(std::move(info)); });
  const absl::StatusOr<PrefixInfo> prefix = created.get_future().get();
  ASSERT_TRUE(prefix.ok()) << prefix.status();
  const absl::Time expires = clock_.Now() + prefix->expires_in;
  const auto stalled = std::make_shared<StalledReader>();
  Request large = Ask("stalled", 1900);
  large.output.num_choices = 8;
  ASSERT_TRUE(engine->Submit(large, stalled).ok());
  // Prompts are prepared by several threads: the next one must not come first.
  for (int i = 0; stalled->Writable(); ++i) {
    ASSERT_LT(i, 10'000);
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  const auto waiting = std::make_shared<Counter>();
  Request second = Ask("waiting", 1900);
  second.output.num_choices = 8;
  second.deadline = clock_.Now() + absl::Milliseconds(1500);
  ASSERT_TRUE(engine->Submit(second, waiting).ok());

  std::this_thread::sleep_for(std::chrono::milliseconds(200));
  ASSERT_EQ(engine->Stats()->waiting, 1);
  ASSERT_GT(engine->Stats()->cache.pinned_pages, 0);
  const absl::Duration before = CpuTime();
  const absl::Status status = waiting->Wait();
  const absl::Time ended = clock_.Now();
  EXPECT_EQ(status.code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_LE(ended - second.deadline, absl::Milliseconds(500));
  EXPECT_GE(ended - second.deadline, absl::ZeroDuration());
  // The prefix was let go before, at its own time.
  EXPECT_GT(ended, expires);
  EXPECT_EQ(engine->Stats()->cache.pinned_pages, 0);
  EXPECT_EQ(engine->GetPrefix("", "prefixes/short").status().code(), absl::StatusCode::kNotFound);
  std::this_thread::sleep_for(std::chrono::milliseconds(800));
  EXPECT_LE(CpuTime() - before, absl::Milliseconds(20));  // Of 2 s.
}

}  // namespace
}  // namespace prefixd
