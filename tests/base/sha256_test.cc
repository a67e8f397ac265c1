#include "base/sha256.h"

#include <gtest/gtest.h>

namespace prefixd {
namespace {

TEST(Sha256, MatchesThePublishedVector) {  // FIPS 180-2, appendix B.1.
  EXPECT_EQ(ToHex(Sha256Of("abc")),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

TEST(Sha256, PiecesHashLikeTheWhole) {
  EXPECT_EQ(Sha256().Update("ab").Update("c").Finish(), Sha256Of("abc"));
}

}  // namespace
}  // namespace prefixd
