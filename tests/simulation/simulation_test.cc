// The simulation's own parts: what prints, replays and shrinks can be trusted.
#include <algorithm>
#include <filesystem>

#include <gtest/gtest.h>

#include "base/file.h"
#include "base/planted_bug.h"
#include "tests/simulation/choices.h"
#include "tests/simulation/isolate.h"
#include "tests/simulation/play.h"
#include "tests/simulation/shrink.h"
#include "tests/simulation/workload.h"

namespace prefixd::simulation {
namespace {

constexpr int64_t kEvents = 2000;

class WithBug {
 public:
  explicit WithBug(PlantedBug bug) { planted_bug = bug; }
  ~WithBug() { planted_bug = PlantedBug::kNone; }
};

TEST(Choices, SubstreamsDoNotDisturbEachOther) {
  Choices alone(7, Component::kWorkload), other(7, Component::kFaults),
      beside(7, Component::kWorkload);
  for (int i = 0; i < 100; ++i) {
    (void)other.Between(0, 9);
    EXPECT_EQ(alone.Between(0, 1'000'000), beside.Between(0, 1'000'000));
  }
}

TEST(Choices, StayInTheirRange) {
  Choices draw(1, Component::kConfig);
  bool low = false, high = false;
  for (int i = 0; i < 1000; ++i) {
    const int64_t value = draw.Between(-2, 2);
    EXPECT_GE(value, -2);
    EXPECT_LE(value, 2);
    low |= value == -2;
    high |= value == 2;
    const int64_t logarithmic = draw.Logarithmic(3, 40);
    EXPECT_GE(logarithmic, 3);
    EXPECT_LE(logarithmic, 40);
  }
  EXPECT_TRUE(low && high);
}

TEST(Scenario, ReadsBackWhatItPrints) {
  for (uint64_t seed = 1; seed <= 50; ++seed) {
    const Scenario scenario = DrawScenario(seed);
    const std::string text = Print(scenario);
    const absl::StatusOr<Scenario> read = Parse(text);
    ASSERT_TRUE(read.ok()) << read.status() << "\n" << text;
    EXPECT_EQ(Print(*read), text);
  }
}

TEST(Scenario, RefusesNonsense) {
  for (const char* text :
       {"config pages=0;durations of=1", "config;durations of=", "durations of=0", "bogus line",
        "durations of=1;request id=1 prompt=0", "durations of=1;request id=1 prompt=99",
        "durations of=1;request id=1 prompt=", "durations of=1;action kind=dance",
        "durations of=1;request id=1 promt=1", "durations of=1;request id=x prompt=1"}) {
    EXPECT_FALSE(Parse(text).ok()) << text;
  }
}

TEST(Play, IsAFunctionOfTheScenario) {
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    const Scenario scenario = DrawScenario(seed);
    Report first, second;
    Play(scenario, kEvents, &first);
    Play(scenario, kEvents, &second);
    EXPECT_EQ(first.trace(), second.trace()) << seed;
    EXPECT_FALSE(first.failed()) << seed << ": " << first.message();
  }
}

TEST(Play, ACrashIsAFinding) {
  const WithBug bug(PlantedBug::kPromiseOnePageShort);
  const absl::StatusOr<Scenario> scenario = Parse(
      "config;durations of=1000;request id=1 max_tokens=2 "
      "prompt=1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1");
  ASSERT_TRUE(scenario.ok());
  const Report report = RunIsolated(*scenario, kEvents, 10);
  EXPECT_EQ(report.rule(), "crash");
  EXPECT_NE(report.message().find("check failed"), absl::string_view::npos) << report.message();
}

TEST(Play, AnEndlessRunIsAFinding) {
  const Report report = RunIsolated(1, [](Report*) {
    for (volatile bool forever = true; forever;) {
    }
  });
  EXPECT_EQ(report.rule(), "time");
}

// Scenarios that failed once.
TEST(Traces, StayFixed) {
  int count = 0;
  const std::string folder = PREFIXD_SOURCE_DIR "/tests/simulation/traces";
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    const absl::StatusOr<std::string> text = ReadFile(entry.path().string(), 1 << 20);
    ASSERT_TRUE(text.ok()) << text.status();
    const absl::StatusOr<Scenario> scenario = Parse(*text);
    ASSERT_TRUE(scenario.ok()) << entry.path() << ": " << scenario.status();
    const Report report = RunIsolated(*scenario, kEvents, 10);
    EXPECT_FALSE(report.failed()) << entry.path() << ": " << report.rule() << ": "
                                  << report.message();
    ++count;
  }
  EXPECT_GE(count, 4);
}

TEST(Shrink, KeepsOnlyWhatMatters) {
  Scenario scenario = DrawScenario(3);
  scenario.requests[5].choices = 3;
  const auto fails = [](const Scenario& candidate) {
    return std::any_of(candidate.requests.begin(), candidate.requests.end(),
                       [](const RequestSpec& request) { return request.choices >= 3; });
  };
  const Scenario small = Shrink(scenario, 5000, fails);
  ASSERT_EQ(small.requests.size(), 1u);
  EXPECT_EQ(small.requests[0].choices, 3);
  EXPECT_EQ(small.requests[0].prompt, std::vector<int64_t>{1});
  EXPECT_EQ(small.requests[0].at, 0);
  EXPECT_TRUE(small.actions.empty());
}

TEST(Shrink, AForgottenCancelTakesOneRequest) {
  const WithBug bug(PlantedBug::kLostCancelInFinalStep);
  const SeedResults found = RunSeeds({.first = 1, .count = 2000, .jobs = 1});
  ASSERT_TRUE(found.failure.has_value());
  const Scenario small =
      Shrink(DrawScenario(found.failure->seed), 2000,
             [](const Scenario& candidate) { return RunIsolated(candidate, kEvents, 5).failed(); });
  EXPECT_EQ(small.requests.size(), 1u) << Print(small);
  EXPECT_LE(small.actions.size(), 1u) << Print(small);
}

}  // namespace
}  // namespace prefixd::simulation
