#include "client/prefixctl/quantity.h"

#include <gtest/gtest.h>

namespace prefixd::ctl {
namespace {

TEST(Quantity, FormatsBytesInPowersOf1024) {
  EXPECT_EQ(FormatBytes(0), "0 B");
  EXPECT_EQ(FormatBytes(1023), "1023 B");
  EXPECT_EQ(FormatBytes(1536), "1.5 KiB");
  EXPECT_EQ(FormatBytes(302 << 20), "302.0 MiB");
  EXPECT_EQ(FormatBytes(uint64_t{3} << 60), "3145728.0 TiB");
}

TEST(Quantity, FormatsCountsInPowersOf1000) {
  EXPECT_EQ(FormatCount(9999), "9999");
  EXPECT_EQ(FormatCount(12345), "12.3 k");
  EXPECT_EQ(FormatCount(1500000), "1.5 M");
}

TEST(Quantity, KnowsNoShareOfNothing) {
  EXPECT_EQ(FormatShare(0, 0), "-");
  EXPECT_EQ(FormatShare(5, 12), "41.7 %");
}

}  // namespace
}  // namespace prefixd::ctl
