// AdminService about the cache: statistics, flush, the map of pages.
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/server/server_fixture.h"

namespace prefixd::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

TEST(CacheAdmin, TellsEverythingThatTheEngineCounts) {
  RunningServer server;
  server.engine.EditStats([](EngineStats* stats) {
    stats->preemptions = 41;
    stats->recomputed_tokens = 42;
    stats->cache = {.free_pages = 1,
                    .active_pages = 2,
                    .cached_pages = 3,
                    .evictable_pages = 4,
                    .pinned_pages = 5,
                    .columns = 6,
                    .prefixes = 7,
                    .text_query_tokens = 8,
                    .text_hit_tokens = 9,
                    .image_query_tokens = 10,
                    .image_hit_tokens = 11,
                    .computed_tokens = 12,
                    .published_columns = 13,
                    .evicted_columns = 14,
                    .evicted_pages_lru = 15,
                    .evicted_pages_preempt = 16,
                    .collisions = 17,
                    .misses = {18, 19, 20, 21, 22},
                    .feature_hits = 23,
                    .tower_runs = 24,
                    .feature_bytes = 25,
                    .feature_entries = 26,
                    .image_hits = 27,
                    .image_misses = 28,
                    .image_bytes = 29,
                    .image_entries = 30};
    stats->retention = {.requests = {51, 52, 53},
                        .selected_from = 400,
                        .kept_tokens = {300, 100},
                        .score_mass = 3,
                        .selections = 4,
                        .decode_drops = 54,
                        .saved_kv_bytes = 55,
                        .snapshot_hits = 56,
                        .snapshot_misses = 57,
                        .snapshots_made = 58,
                        .snapshots_evicted = 59,
                        .snapshots = 60,
                        .snapshot_pages = 61,
                        .score_bytes = 62,
                        .guard_sampled = 63,
                        .guard_replayed = 64,
                        .guard_dropped = 65,
                        .guard_agreement = 0.75,
                        .guard_logprob_drift = 0.125,
                        .guard_raises = 66,
                        .default_budget = 0.5};
    stats->tenants = {{.name = "a",
                       .waiting = 1,
                       .running = 2,
                       .active_pages = 3,
                       .cached_pages = 4,
                       .page_quota = 5,
                       .page_floor = 6,
                       .prefixes = 7,
                       .prompt_tokens = 8,
                       .cached_tokens = 9,
                       .generated_tokens = 10},
                      {.name = "b"}};
  });
  grpc::ClientContext context;
  v1::GetCacheStatsResponse response;
  ASSERT_TRUE(server.admin->GetCacheStats(&context, {}, &response).ok());
  EXPECT_EQ(response.ShortDebugString(),
            "total_pages: 10 free_pages: 7 reserved_pages: 1 page_bytes: 256 page_slots: 16 "
            "total_bytes: 2560 used_bytes: 768 active_pages: 2 cached_pages: 3 evictable_pages: 4 "
            "pinned_pages: 5 columns: 6 prefixes: 7 text_query_tokens: 8 text_hit_tokens: 9 "
            "image_query_tokens: 10 image_hit_tokens: 11 computed_tokens: 12 "
            "published_columns: 13 evicted_columns: 14 evicted_pages_lru: 15 "
            "evicted_pages_preempt: 16 collisions: 17 misses { none: 18 bypassed: 19 "
            "not_cached: 20 evicted: 21 diverged: 22 } feature_hits: 23 tower_runs: 24 "
            "feature_bytes: 25 feature_entries: 26 image_hits: 27 image_misses: 28 "
            "image_bytes: 29 image_entries: 30 preemptions: 41 recomputed_tokens: 42 "
            "tenants { tenant: \"a\" waiting: 1 running: 2 active_pages: 3 cached_pages: 4 "
            "page_quota: 5 page_floor: 6 prefixes: 7 prompt_tokens: 8 cached_tokens: 9 "
            "generated_tokens: 10 } tenants { tenant: \"b\" } "
            "retention { off_requests: 51 exact_requests: 52 shared_requests: 53 selections: 4 "
            "selected_from: 400 kept_tokens: 300 kept_tokens: 100 score_mass: 0.75 "
            "decode_drops: 54 saved_kv_bytes: 55 snapshot_hits: 56 snapshot_misses: 57 "
            "snapshots_made: 58 snapshots_evicted: 59 snapshots: 60 snapshot_pages: 61 "
            "score_bytes: 62 default_budget: 0.5 guard { sampled: 63 replayed: 64 dropped: 65 "
            "agreement: 0.75 logprob_drift: 0.125 raises: 66 } }");
}

TEST(CacheAdmin, FlushesEverythingOrOneTenant) {
  RunningServer server;
  server.engine.EditStats([](EngineStats* stats) { stats->tenants = {{.name = "a"}}; });
  v1::FlushCacheRequest request;
  v1::FlushCacheResponse response;
  {
    grpc::ClientContext context;
    ASSERT_TRUE(server.admin->FlushCache(&context, request, &response).ok());
  }
  EXPECT_EQ(response.ShortDebugString(), "pages: 3 columns: 1 feature_bytes: 5 image_bytes: 7");
  request.set_tenant("a");
  {
    grpc::ClientContext context;
    ASSERT_TRUE(server.admin->FlushCache(&context, request, &response).ok());
  }
  EXPECT_THAT(server.engine.flushed(), ElementsAre(std::nullopt, std::optional<std::string>("a")));
}

TEST(CacheAdmin, FlushesNothingForATenantThatIsNotKnown) {
  RunningServer server;
  server.engine.EditStats([](EngineStats* stats) { stats->tenants = {{.name = "a"}}; });
  for (const char* tenant : {"b", ""}) {
    v1::FlushCacheRequest request;
    request.set_tenant(tenant);
    grpc::ClientContext context;
    v1::FlushCacheResponse response;
    const grpc::Status status = server.admin->FlushCache(&context, request, &response);
    EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
    EXPECT_EQ(Reason(status), "PARAMETER_OUT_OF_RANGE");
    EXPECT_EQ(GetDetail<google::rpc::BadRequest>(status).field_violations(0).field(), "tenant");
  }
  EXPECT_THAT(server.engine.flushed(), IsEmpty());
}

TEST(CacheAdmin, MapsPagesWithinTheLimit) {
  RunningServer server;
  v1::GetPageMapRequest request;
  v1::GetPageMapResponse response;
  {
    grpc::ClientContext context;
    ASSERT_TRUE(server.admin->GetPageMap(&context, request, &response).ok());
  }
  EXPECT_EQ(response.pages_per_cell(), 5);
  ASSERT_EQ(response.cells_size(), 2);
  EXPECT_EQ(response.cells(0).ShortDebugString(),
            "free: 1 active: 1 shared: 1 cached: 1 pinned: 1");
  request.set_max_cells(1);
  {
    grpc::ClientContext context;
    ASSERT_TRUE(server.admin->GetPageMap(&context, request, &response).ok());
  }
  EXPECT_EQ(response.cells_size(), 1);
  request.set_max_cells(4096);
  {
    grpc::ClientContext context;
    EXPECT_TRUE(server.admin->GetPageMap(&context, request, &response).ok());
  }
  for (const int32_t cells : {-1, 4097}) {
    request.set_max_cells(cells);
    grpc::ClientContext context;
    const grpc::Status status = server.admin->GetPageMap(&context, request, &response);
    EXPECT_EQ(Reason(status), "PARAMETER_OUT_OF_RANGE") << cells;
  }
}

TEST(CacheAdmin, ListsRequestsWithTenantPriorityAndCache) {
  RunningServer server;
  server.engine.AddListed({.id = "a",
                           .tenant = "t",
                           .state = "decode",
                           .cached_tokens = 4,
                           .priority = -5,
                           .preemptions = 6});
  grpc::ClientContext context;
  v1::ListRequestsResponse response;
  ASSERT_TRUE(server.admin->ListRequests(&context, {}, &response).ok());
  ASSERT_EQ(response.requests_size(), 1);
  EXPECT_EQ(response.requests(0).tenant(), "t");
  EXPECT_EQ(response.requests(0).priority(), -5);
  EXPECT_EQ(response.requests(0).cached_tokens(), 4);
  EXPECT_EQ(response.requests(0).preemptions(), 6);
}

}  // namespace
}  // namespace prefixd::testing
