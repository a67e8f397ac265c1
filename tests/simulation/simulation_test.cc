// The simulation's own parts: what prints, replays and shrinks can be trusted.
#include <algorithm>
#include <filesystem>

#include <gtest/gtest.h>

#include "base/file.h"
#include "base/planted_bug.h"
#include "tests/simulation/budget.h"
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
        "durations of=1;request id=1 promt=1", "durations of=1;request id=x prompt=1",
        "durations of=1;request id=1 prompt=1 retention=4",
        "durations of=1;request id=1 prompt=1 policy=11",
        "durations of=1;request id=1 prompt=1 budget=0"}) {
    EXPECT_FALSE(Parse(text).ok()) << text;
  }
}

std::vector<ChainHash> TenChains() { return {11, 12, 13, 14, 15, 16, 17, 18, 19, 20}; }

std::vector<int32_t> Seen(const KeptLists& kept, int layer, int32_t row) {
  std::vector<int32_t> positions;
  for (int32_t position = 0; position <= row; ++position) {
    if (kept.Sees(layer, row, position)) positions.push_back(position);
  }
  return positions;
}

// Half of the tokens: of ten prompt tokens five, then every other new one. The window begins after
// the first token.
TEST(KeptLists, LocalIsAWindow) {
  const RequestSpec spec{.retention = kExact, .policy = 1, .budget = 500};
  KeptLists kept(RecipeOf(spec), 1, TenChains(), 0);
  EXPECT_EQ(kept.kept_tokens(), std::vector<int32_t>({5}));
  kept.BeginDrops(/*shared=*/false);
  for (ChainHash chain = 21; chain <= 24; ++chain) {
    kept.Add(chain);
    kept.Drop();
  }
  EXPECT_EQ(Seen(kept, 0, 10), std::vector<int32_t>({0, 6, 7, 8, 9, 10}));
  EXPECT_EQ(Seen(kept, 0, 11), std::vector<int32_t>({0, 6, 7, 8, 9, 10, 11}));
  EXPECT_EQ(Seen(kept, 0, 12), std::vector<int32_t>({0, 7, 8, 9, 10, 11, 12}));
  EXPECT_EQ(kept.NumSeen(0, 13), 8);
  EXPECT_EQ(kept.DropsBefore(13), 1);
}

// What follows a shared prefix does not count, and what is dropped is at a fixed place.
TEST(KeptLists, ASuffixDoesNotCount) {
  const RequestSpec spec{.retention = kShared, .policy = 1, .budget = 500, .start_size = 2};
  KeptLists kept(RecipeOf(spec), 1, TenChains(), 0);
  for (ChainHash chain = 21; chain <= 23; ++chain) kept.Add(chain);
  kept.BeginDrops(/*shared=*/true);
  EXPECT_EQ(Seen(kept, 0, 12), std::vector<int32_t>({0, 1, 7, 8, 9, 10, 11, 12}));
  for (ChainHash chain = 24; chain <= 27; ++chain) {
    kept.Add(chain);
    kept.Drop();
  }
  EXPECT_EQ(Seen(kept, 0, 14), std::vector<int32_t>({0, 1, 7, 8, 9, 10, 11, 12, 13, 14}));
  EXPECT_EQ(Seen(kept, 0, 16), std::vector<int32_t>({0, 1, 8, 9, 10, 11, 12, 13, 14, 15, 16}));
}

// Kept are the protected, and of each layer as many as hold one share of its scores.
TEST(KeptLists, PrefixKvMeetsTheTotal) {
  const RequestSpec spec{.retention = kExact, .budget = 400};
  const KeptLists kept(RecipeOf(spec), 3, TenChains(), 0);
  int32_t total = 0;
  for (int layer = 0; layer < 3; ++layer) {
    total += kept.kept_tokens()[layer];
    EXPECT_TRUE(kept.Sees(layer, 10, 0)) << layer;
    EXPECT_TRUE(kept.Sees(layer, 10, 9)) << layer;
  }
  EXPECT_EQ(total, 12);
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
  EXPECT_GE(count, 7);
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
