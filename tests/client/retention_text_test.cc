// What prefixctl says about retention.
#include "client/prefixctl/retention_text.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace prefixd::ctl {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

TEST(RetentionSummary, TellsWhatWasKept) {
  v1::RetentionReceipt receipt;
  EXPECT_EQ(RetentionSummary(receipt), "");
  receipt.set_scope(v1::RETENTION_SCOPE_OFF);
  EXPECT_EQ(RetentionSummary(receipt), "");
  receipt.set_scope(v1::RETENTION_SCOPE_EXACT);
  receipt.set_policy("prefixkv");
  receipt.set_budget(0.2);
  EXPECT_EQ(RetentionSummary(receipt), "retention exact prefixkv 20 %: nothing was selected");
  receipt.set_selected_from(640);
  for (const int kept : {449, 60, 9, 6}) receipt.add_kept_tokens(kept);  // 524 / 4 = 131.
  receipt.set_score_mass(0.93);
  EXPECT_EQ(RetentionSummary(receipt),
            "retention exact prefixkv 20 %: kept 131 of 640 tokens (min 6, max 449 a layer), mass "
            "93 %");
}

TEST(RetentionSummary, TellsWhatElseHappened) {
  v1::RetentionReceipt receipt;
  receipt.set_scope(v1::RETENTION_SCOPE_SHARED);
  receipt.set_policy("prefixkv");
  receipt.set_profile("llava-v1.5-7b");
  receipt.set_budget(0.125);
  receipt.set_selected_from(10);
  receipt.add_kept_tokens(3);
  receipt.set_score_mass(1);
  receipt.set_snapshot_hit(true);
  receipt.set_decode_drops(12);
  receipt.set_saved_kv_bytes(3 << 19);
  EXPECT_EQ(RetentionSummary(receipt),
            "retention shared prefixkv/llava-v1.5-7b 12.5 %: kept 3 of 10 tokens (min 3, max 3 a "
            "layer), mass 100 %; the compressed prefix was there; 12 slots taken over; 1.5 MiB "
            "saved");
  receipt.set_scope(static_cast<v1::RetentionScope>(9));
  EXPECT_EQ(RetentionSummary(receipt).substr(0, 27), "retention scope_9 prefixkv/");
}

TEST(DescribeRetention, TellsDefaultsInOneLine) {
  v1::RetentionParams params;
  params.set_scope(v1::RETENTION_SCOPE_OFF);
  params.set_budget(0.3);
  params.set_policy("prefixkv");
  params.set_start_size(1);
  params.set_protect(2);
  params.set_distance(-25);
  EXPECT_EQ(DescribeRetention(params),
            "off, budget 30 %, prefixkv, start 1, protect 2, distance -25");
  params.set_profile("p");
  EXPECT_EQ(DescribeRetention(params),
            "off, budget 30 %, prefixkv/p, start 1, protect 2, distance -25");
}

TEST(KeptShares, AreThoseOfEachLayer) {
  v1::RetentionStats stats;
  EXPECT_THAT(KeptSharesOf(stats).layers, IsEmpty());
  stats.add_kept_tokens(0);
  EXPECT_THAT(KeptSharesOf(stats).layers, IsEmpty());
  stats.clear_kept_tokens();
  stats.set_selected_from(400);
  for (const uint64_t kept : {300, 100, 20}) stats.add_kept_tokens(kept);
  const KeptShares shares = KeptSharesOf(stats);
  EXPECT_THAT(shares.layers, ElementsAre(0.75, 0.25, 0.05));
  EXPECT_DOUBLE_EQ(shares.least, 0.05);
  EXPECT_DOUBLE_EQ(shares.mean, 0.35);
  EXPECT_DOUBLE_EQ(shares.most, 0.75);
}

}  // namespace
}  // namespace prefixd::ctl
