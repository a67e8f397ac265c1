#include "server/failure_limit.h"

#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"

namespace prefixd {
namespace {

const absl::Time kNow = absl::FromUnixSeconds(1'000'000);

TEST(PeerKey, IsTheAddressButTheConnectionOnLoopback) {
  EXPECT_EQ(PeerKey("ipv4:10.0.0.7:41234"), "ipv4:10.0.0.7");
  EXPECT_EQ(PeerKey("ipv6:%5Bfd00::7%5D:41234"), "ipv6:%5Bfd00::7%5D");
  EXPECT_EQ(PeerKey("ipv4:127.0.0.1:41234"), "ipv4:127.0.0.1:41234");
  EXPECT_EQ(PeerKey("ipv6:%5B::1%5D:41234"), "ipv6:%5B::1%5D:41234");
}

TEST(FailureLimit, RefusesAPeerForTheRestOfTheSecond) {
  FailureLimit limit;
  for (int i = 0; i < 9; ++i) EXPECT_FALSE(limit.Count("a", kNow));
  EXPECT_FALSE(limit.Exceeded("a", kNow));
  EXPECT_TRUE(limit.Count("a", kNow + absl::Milliseconds(500)));
  EXPECT_TRUE(limit.Exceeded("a", kNow + absl::Milliseconds(999)));
  EXPECT_FALSE(limit.Exceeded("b", kNow + absl::Milliseconds(999)));
  EXPECT_FALSE(limit.Exceeded("a", kNow + absl::Seconds(1)));
}

TEST(FailureLimit, SlowFailuresNeverAddUp) {
  FailureLimit limit;
  for (int i = 0; i < 100; ++i) {
    EXPECT_FALSE(limit.Count("a", kNow + absl::Milliseconds(200) * i));
  }
}

TEST(FailureLimit, AFullTableLocksNobodyOutAndIsSwept) {
  FailureLimit limit;
  for (size_t i = 0; i < FailureLimit::kMaxPeers; ++i) limit.Count(absl::StrCat(i), kNow);
  for (int i = 0; i < 20; ++i) limit.Count("late", kNow);
  EXPECT_FALSE(limit.Exceeded("late", kNow));
  const absl::Time later = kNow + absl::Seconds(2);
  for (int i = 0; i < 10; ++i) limit.Count("late", later);
  EXPECT_TRUE(limit.Exceeded("late", later));
}

}  // namespace
}  // namespace prefixd
