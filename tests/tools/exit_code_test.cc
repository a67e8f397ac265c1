#include "tools/exit_code.h"

#include <gtest/gtest.h>

namespace prefixd::tools {
namespace {

// The numbers are those of prefixctl (docs/client.md).
TEST(ToolsExitCode, AreThoseOfPrefixctl) {
  EXPECT_EQ(ExitCodeOf(absl::OkStatus()), 0);
  EXPECT_EQ(ExitCodeOf(absl::NotFoundError("x")), 1);
  EXPECT_EQ(ExitCodeOf(absl::FailedPreconditionError("x")), 1);
  EXPECT_EQ(ExitCodeOf(absl::InternalError("x")), 1);
  EXPECT_EQ(ExitCodeOf(absl::InvalidArgumentError("x")), 6);
  EXPECT_EQ(ExitCodeOf(absl::OutOfRangeError("x")), 6);
  EXPECT_EQ(ExitCodeOf(absl::ResourceExhaustedError("x")), 7);
  EXPECT_EQ(kExitUsage, 2);
}

}  // namespace
}  // namespace prefixd::tools
