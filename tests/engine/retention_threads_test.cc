// KV budgets and the quality guard behind the engine's public door, with its threads: named
// prefixes as what is shared, and an engine that sleeps when the guard has nothing to do.
#include <sys/resource.h>

#include <condition_variable>
#include <future>
#include <mutex>
#include <thread>

#include "engine/engine.h"
#include "tests/engine/retention_fixture.h"

namespace prefixd::testing {
namespace {

class WaitingSink final : public EventSink {
 public:
  void OnEvent(Event event) override {
    std::lock_guard lock(mutex_);
    bytes_.OnEvent(std::move(event));
    changed_.notify_all();
  }
  ByteSink Wait() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return bytes_.ended; });
    return bytes_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  ByteSink bytes_;
};

absl::Duration CpuTime() {
  rusage usage;
  getrusage(RUSAGE_SELF, &usage);
  return absl::DurationFromTimeval(usage.ru_utime) + absl::DurationFromTimeval(usage.ru_stime);
}

class RetentionThreads : public ::testing::Test {
 protected:
  void Serve(EngineOptions options) {
    options.model_path = PREFIXD_SOURCE_DIR "/models/demo";
    options.backend = "cpu";
    options.kv_memory_bytes = 64 << 20;
    options.check_invariants = true;
    auto engine = Engine::Open(options, &clock_);
    ASSERT_TRUE(engine.ok()) << engine.status();
    engine_ = *std::move(engine);
    ASSERT_TRUE(engine_->LoadWeights([](uint64_t, uint64_t) { return true; }).ok());
  }

  ByteSink Run(Request request) {
    request.id = absl::StrCat("request-", next_id_++);
    const auto sink = std::make_shared<WaitingSink>();
    const absl::Status taken = engine_->Submit(std::move(request), sink);
    EXPECT_TRUE(taken.ok()) << taken;
    ByteSink bytes = sink->Wait();
    EXPECT_TRUE(bytes.finished.has_value()) << bytes.status;
    if (!bytes.finished) bytes.finished.emplace();
    return bytes;
  }

  // After what the engine thread still has to do.
  RetentionStats StatsWhen(const std::function<bool(const RetentionStats&)>& done) {
    for (int i = 0; i < 1000 && !done(engine_->Stats()->retention); ++i) {
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    return engine_->Stats()->retention;
  }

  const MonotonicClock clock_;
  std::unique_ptr<Engine> engine_;
  int next_id_ = 0;
};

// Many examples before a question: the first image is inside of what is shared.
TEST_F(RetentionThreads, ANamedPrefixIsWhatIsShared) {
  Serve({});
  TokenInput prefix;
  for (int i = 0; i < 100; ++i) prefix.ids.push_back(300 + (i * 37) % 200);
  std::promise<absl::StatusOr<PrefixInfo>> created;
  engine_->CreatePrefix({.id = "examples", .input = prefix},
                        [&](auto info) { created.set_value(std::move(info)); });
  const absl::StatusOr<PrefixInfo> info = created.get_future().get();
  ASSERT_TRUE(info.ok()) << info.status();

  const auto ask = [&](int salt, bool bypass = false) {
    Request request;
    TokenInput question;
    for (int i = 0; i < 30; ++i) question.ids.push_back(300 + (i * 13 + salt * 7) % 200);
    question.ids.push_back(566);  // The placeholder.
    question.images.push_back({.bytes = PictureBytes("picture-02.png")});
    question.ids.push_back(301);
    request.input = question;
    request.prefix = "prefixes/examples";
    request.retention = Shared("prefixkv", 0.4);
    request.stopping = {.max_tokens = 12, .ignore_eos = true};
    request.output.token_ids = true;
    request.output.logprobs = 1;
    request.bypass_prefix_cache = bypass;
    return request;
  };
  const ByteSink alone = Run(ask(2, /*bypass=*/true));
  const ByteSink first = Run(ask(1)), second = Run(ask(2));
  EXPECT_FALSE(first.finished->retention.snapshot_hit);
  EXPECT_TRUE(second.finished->retention.snapshot_hit);
  EXPECT_EQ(second.finished->cache.hit_tokens, info->prompt_tokens);
  EXPECT_EQ(second.finished->retention.selected_from, info->prompt_tokens);
  EXPECT_EQ(second.choices, alone.choices);
  EXPECT_EQ(second.finished->retention.kept_tokens, alone.finished->retention.kept_tokens);

  // Released, its pages go; the snapshot stays, for whoever brings the same tokens.
  ASSERT_TRUE(engine_->ReleasePrefix("", "prefixes/examples").ok());
  std::promise<FlushResult> flushed;
  engine_->FlushCache(std::nullopt, [&](FlushResult result) { flushed.set_value(result); });
  flushed.get_future().wait();
  const RetentionStats stats = StatsWhen([](const RetentionStats& s) { return s.snapshots == 0; });
  EXPECT_EQ(stats.snapshots, 0);
  EXPECT_EQ(stats.snapshot_hits, 1u);
}

TEST_F(RetentionThreads, TheGuardRaisesAndThenSleeps) {
  EngineOptions options;
  options.retention = "exact";
  options.retention_budget = 0.1;
  options.retention_policy = "random";
  options.guard_sample_rate = 1.0;
  Serve(options);
  EXPECT_EQ(engine_->model_info().retention_defaults.budget, 0.1);
  int requests = 0;
  RetentionStats stats;
  while (stats.guard_raises == 0 && requests < 100) {
    ChatMessage message;
    message.parts.emplace_back(ImagePart{.bytes = PictureBytes("picture-02.png")});
    message.parts.emplace_back(TextPart{"What is in the picture?"});
    Request request;
    request.input = ChatInput{{message}};
    request.sampling.seed = static_cast<uint64_t>(requests);
    request.stopping.max_tokens = 24;
    EXPECT_EQ(Run(request).finished->retention.budget, 0.1);
    ++requests;
    stats = StatsWhen([&](const RetentionStats& s) {
      return s.guard_replayed == static_cast<uint64_t>(requests);
    });
  }
  EXPECT_EQ(stats.guard_raises, 1u);
  EXPECT_EQ(stats.guard_sampled, static_cast<uint64_t>(requests));
  EXPECT_DOUBLE_EQ(stats.default_budget, 0.2);
  const uint64_t steps = engine_->Stats()->steps;
  const absl::Duration before = CpuTime();
  std::this_thread::sleep_for(std::chrono::milliseconds(500));
  EXPECT_LT(CpuTime() - before, absl::Milliseconds(25));  // Of 500.
  EXPECT_EQ(engine_->Stats()->steps, steps);
}

}  // namespace
}  // namespace prefixd::testing
