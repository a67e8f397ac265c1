#include "client/prefixctl/message_json.h"

#include <gtest/gtest.h>

#include "prefixd/v1/admin_service.pb.h"

namespace prefixd::ctl {
namespace {

TEST(MessageJson, WritesNumbersAsNumbersAndDefaultsToo) {
  v1::FlushCacheResponse response;
  response.set_columns(-3);
  response.set_feature_bytes(18446744073709551615u);
  EXPECT_EQ(MessageLine(response),
            R"({"pages":0,"columns":-3,"feature_bytes":18446744073709551615,"image_bytes":0})");
}

TEST(MessageJson, WritesMessagesInsideAndLists) {
  v1::GetPageMapResponse map;
  map.set_pages_per_cell(2);
  map.add_cells()->set_shared(2);
  EXPECT_EQ(MessageLine(map),
            R"({"pages_per_cell":2,"cells":[{"free":0,"active":0,"shared":2,"cached":0,)"
            R"("pinned":0}]})");
}

TEST(MessageJson, EscapesText) {
  v1::TenantCacheStats stats;
  stats.set_tenant("a\"\n");
  EXPECT_EQ(MessageLine(stats).substr(0, 18), R"({"tenant":"a\"\n",)");
}

}  // namespace
}  // namespace prefixd::ctl
