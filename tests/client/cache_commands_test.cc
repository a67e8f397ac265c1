// `prefixctl cache`: the real program against a server in this process.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "tests/client/fake_server.h"
#include "tests/client/run_prefixctl.h"

namespace prefixd::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class CacheCommandsTest : public ::testing::Test {
 protected:
  CacheCommandsTest() {
    v1::GetCacheStatsResponse stats;
    stats.set_total_pages(100);
    stats.set_free_pages(40);
    stats.set_active_pages(10);
    stats.set_cached_pages(50);
    stats.set_evictable_pages(30);
    stats.set_page_bytes(1024);
    stats.set_page_slots(16);
    stats.set_text_query_tokens(12);
    stats.set_text_hit_tokens(5);
    stats.mutable_misses()->set_diverged(7);
    v1::RetentionStats* const retention = stats.mutable_retention();
    retention->set_exact_requests(3);
    retention->set_selections(5);
    retention->set_selected_from(400);
    retention->add_kept_tokens(300);
    retention->add_kept_tokens(100);
    retention->set_score_mass(0.93);
    retention->set_snapshot_hits(1);
    retention->set_snapshot_misses(3);
    retention->set_default_budget(0.5);
    retention->mutable_guard()->set_agreement(1);
    v1::TenantCacheStats* const tenant = stats.add_tenants();
    tenant->set_tenant("acme");
    tenant->set_page_quota(80);
    tenant->set_prompt_tokens(200);
    tenant->set_cached_tokens(50);
    server_.SetCacheStats(stats);
  }
  std::vector<std::string> WithServer(std::vector<std::string> arguments) const {
    arguments.insert(arguments.end(), {"--server", server_.address()});
    return arguments;
  }
  RunResult Run(const std::vector<std::string>& arguments) const {
    return RunPrefixctl(WithServer(arguments));
  }

  FakeServer server_;
};

TEST_F(CacheCommandsTest, ShowsStatistics) {
  const RunResult run = Run({"cache", "stats"});
  EXPECT_EQ(run.exit_status, 0) << run.err;
  EXPECT_THAT(run.out, HasSubstr("  free              40 (40.0 %, 40.0 KiB)\n"));
  EXPECT_THAT(run.out, HasSubstr("text hits           41.7 % (5 of 12 tokens)\n"));
  EXPECT_THAT(run.out, HasSubstr("image hits          - (0 of 0 tokens)\n"));
  EXPECT_THAT(run.out, HasSubstr(", 7 diverged, "));
  EXPECT_THAT(run.out, HasSubstr("3 exact, 0 shared, 0 off; default budget 50.0 %\n"));
  EXPECT_THAT(run.out, HasSubstr("50.0 % of 400 tokens in 5 selections, by layer 25.0 % to 75.0 %; "
                                 "mass 93.0 %\n"));
  EXPECT_THAT(run.out, HasSubstr("25.0 % (1 of 4 lookups)"));
  EXPECT_THAT(run.out, HasSubstr("quality guard       agreement 100.0 %, drift 0.000; "));
  EXPECT_THAT(run.out, HasSubstr("TENANT  RUNNING"));
  EXPECT_THAT(run.out,
              HasSubstr("acme    0        0        0       0       80     0      0         "
                        "200     25.0 %  0\n"));
  EXPECT_EQ(Run({"cache"}).out, run.out);  // The default.
}

TEST_F(CacheCommandsTest, WritesStatisticsAsALineOfJson) {
  const RunResult run = Run({"cache", "stats", "--json"});
  const auto json = nlohmann::json::parse(run.out);
  EXPECT_EQ(json["evictable_pages"], 30);
  EXPECT_EQ(json["misses"]["diverged"], 7);
  EXPECT_EQ(json["image_bytes"], 0);
  EXPECT_EQ(json["tenants"][0]["tenant"], "acme");
}

TEST_F(CacheCommandsTest, FlushesEverythingOrOneTenant) {
  const RunResult run = Run({"cache", "flush"});
  EXPECT_EQ(run.exit_status, 0);
  EXPECT_EQ(run.out,
            "dropped 12 pages (3 columns), 2.0 KiB of image features, 0 B of decoded images\n");
  EXPECT_EQ(Run({"cache", "flush", "--tenant", "acme", "--json"}).out,
            "{\"pages\":12,\"columns\":3,\"feature_bytes\":2048,\"image_bytes\":0}\n");
  EXPECT_THAT(server_.flushes(), ElementsAre("*", "acme"));
}

TEST_F(CacheCommandsTest, AsksBeforeItFlushesOnATerminal) {
  Prefixctl refused = Prefixctl::OnTerminal(WithServer({"cache", "flush"}), 200);
  EXPECT_TRUE(refused.WaitFor("[y/N] "));
  refused.Type("\n");
  EXPECT_EQ(refused.Wait().exit_status, 1);
  EXPECT_THAT(server_.flushes(), IsEmpty());

  Prefixctl agreed = Prefixctl::OnTerminal(WithServer({"cache", "flush"}), 200);
  EXPECT_TRUE(agreed.WaitFor("[y/N] "));
  agreed.Type("y\n");
  EXPECT_EQ(agreed.Wait().exit_status, 0);
  EXPECT_EQ(Prefixctl::OnTerminal(WithServer({"cache", "flush", "--yes"}), 200).Wait().exit_status,
            0);
  EXPECT_THAT(server_.flushes(), ElementsAre("*", "*"));
}

TEST_F(CacheCommandsTest, KnowsNoOtherSubcommand) {
  const RunResult run = Run({"cache", "fluhs"});
  EXPECT_EQ(run.exit_status, 2);
  EXPECT_THAT(run.err, HasSubstr("did you mean \"flush\"?"));
}

}  // namespace
}  // namespace prefixd::testing
