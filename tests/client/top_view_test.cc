// What `top` shows, from samples alone.
#include "client/prefixctl/top_view.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "client/prefixctl/top_retention.h"

namespace prefixd::ctl {
namespace {

using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

// 100 pages: 40 free, 10 active, 50 cached, 30 of them evictable; a map of four cells.
TopSample Sample() {
  TopSample sample;
  sample.time = absl::FromUnixSeconds(100);
  sample.info.set_version("0.1.0");
  sample.info.set_listen("127.0.0.1:50051");
  sample.info.set_state(v1::SERVER_STATE_SERVING);
  sample.info.mutable_uptime()->set_seconds(3725);
  sample.info.mutable_engine()->set_prompt_tokens(5000);
  sample.info.mutable_engine()->set_generated_tokens(700);
  v1::GetCacheStatsResponse& cache = sample.cache;
  cache.set_free_pages(40);
  cache.set_active_pages(10);
  cache.set_cached_pages(50);
  cache.set_evictable_pages(30);
  cache.set_text_query_tokens(20000);
  cache.set_text_hit_tokens(5000);
  cache.set_image_query_tokens(1000);
  cache.set_image_hit_tokens(900);
  cache.set_feature_hits(1);
  cache.set_tower_runs(3);
  cache.set_preemptions(4);
  cache.set_prefixes(2);
  sample.map.set_pages_per_cell(25);
  sample.map.add_cells()->set_active(25);
  sample.map.add_cells()->set_cached(20);
  sample.map.mutable_cells(1)->set_pinned(5);
  sample.map.add_cells()->set_shared(25);
  sample.map.add_cells()->set_free(25);
  sample.requests.set_running(1);
  sample.requests.set_waiting(3);
  v1::RequestSummary* const request = sample.requests.add_requests();
  request->set_request_id("req-1");
  request->set_state(v1::REQUEST_STATE_DECODE);
  request->set_prompt_tokens(171);
  request->set_cached_tokens(144);
  request->set_generated_tokens(5);
  request->set_kv_pages(12);
  request->mutable_age()->set_seconds(3);
  return sample;
}

TopSample Earlier() {
  TopSample sample = Sample();
  sample.time = absl::FromUnixSeconds(98);
  sample.info.mutable_engine()->set_prompt_tokens(4000);
  sample.info.mutable_engine()->set_generated_tokens(650);
  sample.cache.set_text_query_tokens(19000);
  sample.cache.set_text_hit_tokens(4750);
  return sample;
}

TEST(TopView, ShowsAFrameInAscii) {
  const TopSample before = Earlier();
  EXPECT_THAT(
      RenderTop(Sample(), &before, {.columns = 90}),
      ElementsAre(
          "prefixd 0.1.0  127.0.0.1:50051  serving  up 1h2m5s",
          "requests  1 running   3 waiting   4 preemptions   2 pinned prefixes",
          "tokens/s  prompt 500.0   generated 25.0   cached 25.0 %",
          "hits      text 25.0 % of 20.0 k   image 90.0 % of 1000   features 25.0 %",
          "pages     [##%%%%++++++........] active 10.0 % pinned 20.0 % cached 30.0 % free 40.0 %",
          "map       a cell is 25 pages:  # active  @ shared  % pinned  + cached  . free", "#+@.",
          "", "REQUEST  STATE   TENANT  PRIO  PROMPT  CACHED  GENERATED  PAGES  PREEMPTED  AGE",
          "req-1    decode  -       0     171     144     5          12     0          3.0 s"));
}

// Four layers: everything, half, an eighth, nothing but a token.
v1::RetentionStats Retention() {
  v1::RetentionStats stats;
  stats.set_off_requests(9);
  stats.set_exact_requests(3);
  stats.set_shared_requests(4);
  stats.set_selections(5);
  stats.set_selected_from(16000);
  for (const uint64_t kept : {16000, 8000, 2000, 16}) stats.add_kept_tokens(kept);
  stats.set_score_mass(0.93);
  stats.set_snapshots(2);
  stats.set_default_budget(0.4);
  return stats;
}

TEST(TopView, ShowsTheCurveOfRetention) {
  TopSample sample = Sample();
  *sample.cache.mutable_retention() = Retention();
  std::vector<std::string> lines = RenderTop(sample, nullptr, {.columns = 90});
  // Levels 7, 4, 1 and 0 of 8.
  EXPECT_THAT(
      std::vector<std::string>(lines.begin() + 5, lines.begin() + 8),
      ElementsAre(
          "retention kept 40.6 % of 16.0 k   mass 93.0 %   exact 3   shared 4   snapshots 2",
          "layers    [#=._] min 0.1 %  mean 40.6 %  max 100.0 %",
          "guard     default budget 40.0 %"));
  lines = RenderTop(sample, nullptr, {.columns = 90, .utf8 = true});
  EXPECT_EQ(lines[6], "layers    [█▅▂▁] min 0.1 %  mean 40.6 %  max 100.0 %");
}

TEST(TopView, ShowsTheGuardAndItsRaises) {
  TopSample sample = Sample();
  v1::RetentionStats* const stats = sample.cache.mutable_retention();
  stats->set_default_budget(0.3);
  v1::GuardStats* const guard = stats->mutable_guard();
  guard->set_sampled(10);
  guard->set_replayed(8);
  guard->set_agreement(0.97);
  guard->set_logprob_drift(0.0312);
  guard->set_raises(2);
  const std::vector<std::string> lines = RenderTop(sample, nullptr, {.columns = 100});
  EXPECT_EQ(lines[5], "retention kept -   exact 0   shared 0   snapshots 0");
  EXPECT_EQ(
      lines[6],
      "guard     default budget 30.0 %   agreement 97.0 %   drift 0.031   replayed 8 of 10   2 "
      "raises");
}

TEST(TopView, SaysNothingOfRetentionThatNobodyUses) {
  TopSample sample = Sample();
  const std::vector<std::string> without = RenderTop(sample, nullptr, {});
  sample.cache.mutable_retention()->set_off_requests(100);
  sample.cache.mutable_retention()->set_default_budget(1);
  EXPECT_EQ(RenderTop(sample, nullptr, {}), without);
}

TEST(TopView, SqueezesManyLayersIntoTheCurve) {
  EXPECT_THAT(CurveColumns({1, 0, 0.5}, 10), ElementsAre(1, 0, 0.5));
  EXPECT_THAT(CurveColumns({1, 0, 0.5, 0.25}, 2), ElementsAre(0.5, 0.375));
  EXPECT_THAT(CurveColumns({1, 0, 0.5, 0.25, 0.75}, 2), ElementsAre(0.5, 0.5));
  EXPECT_TRUE(CurveColumns({}, 5).empty());
  TopSample sample = Sample();
  v1::RetentionStats* const stats = sample.cache.mutable_retention();
  *stats = Retention();
  stats->clear_kept_tokens();
  for (int i = 0; i < 10000; ++i) stats->add_kept_tokens(99999999);  // More than there were.
  const std::vector<std::string> lines = RenderTop(sample, nullptr, {.columns = 80});
  EXPECT_EQ(lines[6],
            "layers    [" + std::string(22, '#') + "] min 100.0 %  mean 100.0 %  max 100.0 %");
}

TEST(TopView, DrawsBlocksInUtf8) {
  const std::vector<std::string> lines = RenderTop(Sample(), nullptr, {.utf8 = true});
  EXPECT_EQ(lines[6], "█░▓·");
}

TEST(TopView, ColoursOnlyWhenAsked) {
  EXPECT_THAT(RenderTop(Sample(), nullptr, {}), Each(Not(HasSubstr("\033"))));
  const std::vector<std::string> lines = RenderTop(Sample(), nullptr, {.color = true});
  EXPECT_EQ(lines[6], "\033[0;32m#\033[0;34m+\033[0;36m@\033[0;2m.\033[0m");
}

TEST(TopView, KnowsNoRateWithoutALookBeforeOrAfterARestart) {
  EXPECT_EQ(RenderTop(Sample(), nullptr, {})[2], "tokens/s  prompt -   generated -   cached -");
  TopSample before = Sample();
  before.time = absl::FromUnixSeconds(99);
  before.info.mutable_engine()->set_prompt_tokens(9999);
  before.cache.set_text_query_tokens(99999);
  EXPECT_EQ(RenderTop(Sample(), &before, {})[2], "tokens/s  prompt -   generated 0.0   cached -");
}

TEST(TopView, StaysWithinTheScreen) {
  TopSample sample = Sample();
  *sample.cache.mutable_retention() = Retention();
  for (int i = 0; i < 500; ++i) {
    *sample.requests.add_requests() = sample.requests.requests(0);
    sample.map.add_cells()->set_free(25);
  }
  for (const int columns : {1, 9, 40, 200}) {
    for (const int rows : {1, 2, 5, 10, 24}) {
      const std::vector<std::string> lines =
          RenderTop(sample, nullptr, {.columns = columns, .rows = rows, .keys = true});
      EXPECT_LE(lines.size(), static_cast<size_t>(rows));
      for (const std::string& line : lines) EXPECT_LE(line.size(), static_cast<size_t>(columns));
      EXPECT_EQ(lines.back(),
                std::string("q quit  p pause").substr(0, static_cast<size_t>(columns)));
    }
  }
}

TEST(TopView, FillsTheScreenWithRequestsAndTellsTheKeysLast) {
  TopSample sample = Sample();
  for (int i = 0; i < 500; ++i) *sample.requests.add_requests() = sample.requests.requests(0);
  const std::vector<std::string> lines =
      RenderTop(sample, nullptr, {.columns = 100, .rows = 24, .keys = true, .paused = true});
  ASSERT_EQ(lines.size(), 24u);
  EXPECT_THAT(lines[0], HasSubstr("paused"));
  EXPECT_THAT(lines[22], HasSubstr("req-1"));
  EXPECT_EQ(lines[23], "q quit  p go on");
}

TEST(TopView, ShowsAnErrorAboveTheLastNumbers) {
  const std::vector<std::string> lines =
      RenderTop(Sample(), nullptr, {.error = "cannot reach 127.0.0.1:1"});
  EXPECT_EQ(lines[1], "cannot reach 127.0.0.1:1");
  EXPECT_THAT(lines[2], HasSubstr("1 running"));
}

TEST(TopView, LetsNothingDriveTheTerminal) {
  TopSample sample = Sample();
  sample.info.set_version("\033]0;title\007");
  sample.requests.mutable_requests(0)->set_request_id("\033[2Jid\n\xc3\xa4");
  const std::vector<std::string> lines = RenderTop(sample, nullptr, {});
  EXPECT_THAT(lines, Each(Not(HasSubstr("\033"))));
  EXPECT_THAT(lines[0], HasSubstr("?]0;title?"));
}

TEST(TopView, ShowsAServerWithoutAMapOrPages) {
  TopSample sample;
  sample.info.set_state(v1::SERVER_STATE_LOADING);
  EXPECT_THAT(absl::StrJoin(RenderTop(sample, nullptr, {}), "\n"),
              HasSubstr("pages     [          ] active - pinned - cached - free -"));
}

}  // namespace
}  // namespace prefixd::ctl
