#include "client/prefixctl/table.h"

#include <gtest/gtest.h>

namespace prefixd::ctl {
namespace {

TEST(Table, AlignsColumnsAndTrailsNothing) {
  EXPECT_EQ(FormatTable({{"NAME", "STATE"}, {"a", "serving"}, {"longer-name", "x"}}),
            "NAME         STATE\n"
            "a            serving\n"
            "longer-name  x\n");
  EXPECT_EQ(FormatTable({}), "");
}

}  // namespace
}  // namespace prefixd::ctl
