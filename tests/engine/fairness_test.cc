// What tenants get of the engine beside each other: rows for their weights, their cached pages, and
// their places. In virtual time, so the bars are exact; bench/fairness.sh asks the same in real
// time.
#include <map>
#include <numeric>

#include <gtest/gtest.h>

#include "tests/engine/tenant_load.h"

namespace prefixd::testing {
namespace {

constexpr absl::Duration kRun = absl::Seconds(2);

// Jain's index of what tenants got: 1 if all got the same, 1/n if one got everything.
double JainIndex(const std::vector<double>& shares) {
  const double sum = std::accumulate(shares.begin(), shares.end(), 0.0);
  double squares = 0;
  for (const double share : shares) squares += share * share;
  return sum * sum / (static_cast<double>(shares.size()) * squares);
}

class FairnessTest : public TenantLoadTest {
 protected:
  // 40 % of what the engine computes: eight prefixes of six columns, each request with words of its
  // own, due within a quarter of a second.
  Load Steady(int32_t tenant) {
    return {.tenant = tenant, .period = absl::Milliseconds(5), .make = [this, tenant](int32_t i) {
              std::vector<int32_t> prompt = PromptOf(96, i % 8);
              const std::vector<int32_t> words = Fresh(16);
              prompt.insert(prompt.end(), words.begin(), words.end());
              auto request = Of(tenant, std::move(prompt), 8);
              request->request.deadline = clock_.Now() + absl::Milliseconds(250);
              return request;
            }};
  }
  // Keeps `backlog` requests unfinished, none of which shares anything.
  Load Flood(int32_t tenant, int32_t backlog, int32_t prompt_tokens, int32_t max_tokens) {
    return {.tenant = tenant, .backlog = backlog, .make = [=, this](int32_t) {
              return Of(tenant, Fresh(prompt_tokens), max_tokens);
            }};
  }

  // B alone, then B beside `flood` of A, in two loops that start empty.
  void ExpectUndisturbed(const Load& flood) {
    BuildTenants(std::vector<TenantOptions>(2), kPages);
    const Served alone = RunLoads({Steady(1)}, kRun)[0];
    BuildTenants(std::vector<TenantOptions>(2), kPages);
    const std::vector<Served> both = RunLoads({flood, Steady(1)}, kRun);
    const Served& beside = both[1];
    std::printf(
        "B alone: %d of %d in time, hit rate %.3f, first token p99 %s; beside: %d of %d, %.3f, %s; "
        "A finished %d of %d\n",
        alone.finished, alone.sent, alone.hit_rate(),
        absl::FormatDuration(alone.first_token_p99).c_str(), beside.finished, beside.sent,
        beside.hit_rate(), absl::FormatDuration(beside.first_token_p99).c_str(), both[0].finished,
        both[0].sent);
    ASSERT_GT(alone.finished, 0.95 * alone.sent);
    ASSERT_GT(alone.hit_rate(), 0.7);
    EXPECT_GE(static_cast<double>(beside.tokens), 0.95 * static_cast<double>(alone.tokens));
    EXPECT_GE(beside.hit_rate(), 0.9 * alone.hit_rate());
    EXPECT_GT(both[0].finished, 0);
    EXPECT_GT(Stats().cache.evicted_columns, 100u);  // The flood was one.
  }

  std::vector<double> RowsOf(const std::vector<Load>& loads) {
    RunLoads(loads, kRun);
    return Rows();
  }

  static constexpr int32_t kPages = 600;
};

TEST_F(FairnessTest, AFloodOfUniquePromptsCostsASteadyTenantNothing) {
  ExpectUndisturbed(Flood(0, 200, 400, 1));
}

TEST_F(FairnessTest, AFloodOfLongAnswersCostsASteadyTenantNothing) {
  ExpectUndisturbed(Flood(0, 200, 16, 200));
}

TEST_F(FairnessTest, BackloggedTenantsOfEqualWeightGetTheSame) {
  BuildTenants(std::vector<TenantOptions>(2), kPages);
  EXPECT_GE(JainIndex(RowsOf({Flood(0, 40, 200, 8), Flood(1, 40, 60, 24)})), 0.95);
}

TEST_F(FairnessTest, BackloggedTenantsShareByWeight) {
  BuildTenants({{.weight = 1}, {.weight = 3}}, kPages);
  const std::vector<double> rows = RowsOf({Flood(0, 40, 100, 10), Flood(1, 40, 100, 10)});
  EXPECT_GE(JainIndex({rows[0], rows[1] / 3}), 0.95);
}

TEST_F(FairnessTest, TenTimesTheRequestsBringNoMore) {
  BuildTenants(std::vector<TenantOptions>(2), kPages);
  EXPECT_GE(JainIndex(RowsOf({Flood(0, 300, 100, 10), Flood(1, 30, 100, 10)})), 0.95);
}

TEST_F(FairnessTest, WhoeverWorkedAloneIsLevelWithOneThatWasIdle) {
  BuildTenants(std::vector<TenantOptions>(2), kPages);
  RunLoads({Flood(1, 40, 100, 10)}, kRun);
  clock_.Advance(absl::Seconds(10));
  RunLoads({Flood(0, 40, 100, 10)}, absl::Milliseconds(100));  // It comes while nobody is there.
  const std::vector<double> before = Rows();
  RunLoads({Flood(0, 40, 100, 10), Flood(1, 40, 100, 10)}, kRun);
  const std::vector<double> after = Rows();
  EXPECT_GE(JainIndex({after[0] - before[0], after[1] - before[1]}), 0.95);
}

class SavingTest : public FairnessTest {
 protected:
  void AfterStep() override {
    FairnessTest::AfterStep();
    if (mark_ > clock_.Now()) at_mark_ = Rows();
  }
  absl::Time mark_;
  std::vector<double> at_mark_;
};

TEST_F(SavingTest, WhoeverAsksForLessThanItsShareSavesNothingUp) {
  BuildTenants(std::vector<TenantOptions>(2), kPages);
  Load late = Flood(1, 40, 100, 10);
  late.after = 2 * kRun;
  mark_ = clock_.Now() + late.after;
  RunLoads({Flood(0, 40, 100, 10), Steady(1), late}, 3 * kRun);
  const std::vector<double> end = Rows();
  EXPECT_GE(JainIndex({end[0] - at_mark_[0], end[1] - at_mark_[1]}), 0.95);
}

TEST_F(FairnessTest, CachedPagesBelowTheFloorOutliveAFlood) {
  BuildTenants({{.page_share = 0.7}, {.page_share = 0.7, .page_floor = 0.25}}, kPages);
  for (int32_t i = 0; i < 16; ++i) Submit(Of(1, PromptOf(96, i), 1));
  RunToEnd();
  ASSERT_GT(Stats().tenants[1].cached_pages, Stats().tenants[1].page_floor);
  RunLoads({Flood(0, 40, 400, 1)}, kRun);
  EXPECT_GE(Stats().tenants[1].cached_pages, Stats().tenants[1].page_floor);
  // They are of use: the prefixes that were used last are there in whole.
  const auto again = Submit(Of(1, PromptOf(96, 15), 1));
  RunToEnd();
  EXPECT_EQ(again->finished->cache.hit_tokens, 95);
}

// Every request that is running moves on within 64 steps, in whatever company.
class ProgressTest : public FairnessTest {
 protected:
  void AfterStep() override {
    FairnessTest::AfterStep();
    const EngineStats stats = Stats();
    std::map<std::string, Mark> marks;
    for (const RequestInfo& request : stats.requests) {
      if (request.state == "queued") continue;
      Mark mark{.computed = request.computed_tokens,
                .generated = request.generated_tokens,
                .step = stats.steps};
      const auto old = marks_.find(request.id);
      const bool moved = old == marks_.end() || mark.computed != old->second.computed ||
                         mark.generated != old->second.generated;
      if (!moved) mark.step = old->second.step;
      longest_wait_ = std::max(longest_wait_, stats.steps - mark.step);
      marks.emplace(request.id, mark);
    }
    marks_ = std::move(marks);
  }

  struct Mark {
    int32_t computed = 0, generated = 0;
    uint64_t step = 0;
  };
  std::map<std::string, Mark> marks_;
  uint64_t longest_wait_ = 0;
};

TEST_F(ProgressTest, LongPromptsAndShortOnesAllMoveWithin64Steps) {
  BuildTenants({{.page_share = 1.0}, {}}, 6000, {.max_batch_tokens = 80, .max_running = 64});
  RunLoads({Flood(0, 60, 400, 4), Flood(1, 4, 4, 100)}, kRun);
  std::printf("longest wait: %d steps\n", static_cast<int>(longest_wait_));
  EXPECT_LE(longest_wait_, 64u);
}

TEST_F(ProgressTest, ArrivalsThatAreAlwaysServedFirstStarveNobody) {
  // One tenant: a stream of short prompts of higher priority beside long ones.
  BuildTenants({{.page_share = 1.0}}, 6000);
  Load urgent = Flood(0, 20, 60, 2);
  urgent.make = [this](int32_t) {
    auto request = Of(0, Fresh(60), 2);
    request->request.priority = 5;
    return request;
  };
  RunLoads({Flood(0, 40, 400, 30), urgent}, kRun);
  std::printf("longest wait: %d steps\n", static_cast<int>(longest_wait_));
  EXPECT_LE(longest_wait_, 64u);
}

TEST_F(ProgressTest, APoolThatIsTooSmallForAllStarvesNobody) {
  BuildTenants(std::vector<TenantOptions>(2), 240);
  RunLoads({Flood(0, 40, 200, 40), Flood(1, 40, 100, 60)}, kRun);
  std::printf("longest wait: %d steps, %d preemptions\n", static_cast<int>(longest_wait_),
              static_cast<int>(Stats().preemptions));
  EXPECT_GT(Stats().preemptions, 0u);
  EXPECT_LE(longest_wait_, 64u);
}

}  // namespace
}  // namespace prefixd::testing
