#include "engine/watchdog.h"

#include <chrono>
#include <future>
#include <memory>
#include <utility>
#include <variant>
#include <vector>

#include <gtest/gtest.h>

#include "absl/time/clock.h"
#include "engine/threaded_engine.h"
#include "tests/backend/forwarding_backend.h"

namespace prefixd {
namespace {

using testing::ForwardingBackend;

TEST(Watchdog, NoticesAStepThatHangs) {
  std::promise<absl::Duration> taken;
  Watchdog watchdog(absl::Milliseconds(20),
                    [&](absl::Duration elapsed) { taken.set_value(elapsed); });
  EXPECT_FALSE(watchdog.hung());
  watchdog.BeginStep();
  std::future<absl::Duration> elapsed = taken.get_future();
  ASSERT_EQ(elapsed.wait_for(std::chrono::seconds(60)), std::future_status::ready);
  EXPECT_TRUE(watchdog.hung());
  EXPECT_GE(elapsed.get(), absl::Milliseconds(20));
}

TEST(Watchdog, AnIdleEngineDoesNotHang) {
  Watchdog watchdog(absl::Milliseconds(1), [](absl::Duration) { FAIL(); });
  watchdog.BeginStep();
  watchdog.EndStep();
  absl::SleepFor(absl::Milliseconds(50));
  EXPECT_FALSE(watchdog.hung());
}

TEST(Watchdog, StepsThatAreUsuallyLongMayBeLong) {
  Watchdog watchdog(absl::Milliseconds(200), [](absl::Duration) {});
  watchdog.BeginStep();
  absl::SleepFor(absl::Milliseconds(120));  // In a bucket that ends at 250 ms or above.
  watchdog.EndStep();
  ASSERT_FALSE(watchdog.hung());
  watchdog.BeginStep();
  absl::SleepFor(absl::Milliseconds(400));  // Twice the least time, not ten times the usual.
  EXPECT_FALSE(watchdog.hung());
  watchdog.EndStep();
}

// Answers no draw until it is released.
class HangingBackend final : public ForwardingBackend {
 public:
  using ForwardingBackend::ForwardingBackend;
  absl::Status TakeDraws(uint64_t ticket, std::vector<DrawnToken>* drawn) override {
    released_.wait();
    return real().TakeDraws(ticket, drawn);
  }
  void Release() { release_.set_value(); }

 private:
  std::promise<void> release_;
  std::shared_future<void> released_ = release_.get_future();
};

class LastStatus final : public EventSink {
 public:
  void OnEvent(Event event) override {
    if (std::holds_alternative<FailedEvent>(event) ||
        std::holds_alternative<FinishedEvent>(event)) {
      ended.set_value();
    }
  }
  bool Writable() const override { return true; }
  std::promise<void> ended;
};

TEST(Watchdog, AnEngineWhoseDeviceHangsHasFailed) {
  EngineOptions options;
  options.model_path = PREFIXD_SOURCE_DIR "/models/demo";
  options.backend = "cpu";
  options.step_timeout = absl::Milliseconds(300);
  auto parts = OpenEngineParts(options);
  ASSERT_TRUE(parts.ok()) << parts.status();
  auto hanging = std::make_unique<HangingBackend>(std::move(parts->backend));
  HangingBackend* const backend = hanging.get();
  parts->backend = std::move(hanging);
  MonotonicClock clock;
  ThreadedEngine engine(*std::move(parts), &clock);
  ASSERT_TRUE(engine.LoadWeights([](uint64_t, uint64_t) { return true; }).ok());
  EXPECT_FALSE(engine.Hung());

  Request request;
  request.id = "hangs";
  request.input = TokenInput{.ids = {5, 6, 7}};
  request.stopping.max_tokens = 3;
  const auto sink = std::make_shared<LastStatus>();
  ASSERT_TRUE(engine.Submit(std::move(request), sink).ok());
  const absl::Time limit = absl::Now() + absl::Seconds(60);
  while (!engine.Hung() && absl::Now() < limit) absl::SleepFor(absl::Milliseconds(10));
  EXPECT_TRUE(engine.Hung());
  EXPECT_EQ(engine.Stats()->state, EngineState::kFailed);
  backend->Release();  // Else its thread could not be joined.
  sink->ended.get_future().wait();
}

}  // namespace
}  // namespace prefixd
