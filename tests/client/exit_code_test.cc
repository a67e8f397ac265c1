#include "client/prefixctl/exit_code.h"

#include <gtest/gtest.h>

#include "base/error.h"

namespace prefixd::ctl {
namespace {

TEST(ExitCode, FollowsTheStatus) {
  EXPECT_EQ(ExitCodeOf(absl::OkStatus()), 0);
  EXPECT_EQ(ExitCodeOf(absl::InternalError("")), 1);
  EXPECT_EQ(ExitCodeOf(absl::NotFoundError("")), 1);
  EXPECT_EQ(ExitCodeOf(absl::FailedPreconditionError("")), 1);
  EXPECT_EQ(ExitCodeOf(absl::CancelledError("")), 1);
  EXPECT_EQ(ExitCodeOf(absl::UnavailableError("")), 3);
  EXPECT_EQ(ExitCodeOf(absl::DeadlineExceededError("")), 5);
  EXPECT_EQ(ExitCodeOf(absl::InvalidArgumentError("")), 6);
  EXPECT_EQ(ExitCodeOf(absl::OutOfRangeError("")), 6);
  EXPECT_EQ(ExitCodeOf(absl::ResourceExhaustedError("")), 7);
}

TEST(ExitCode, TellsALoadingModelFromAMissingServer) {
  const auto unavailable = [](const char* reason) {
    return ExitCodeOf(MakeError(absl::StatusCode::kUnavailable, reason, "not now"));
  };
  EXPECT_EQ(unavailable("MODEL_NOT_READY"), 4);
  EXPECT_EQ(unavailable("DRAINING"), 3);
}

}  // namespace
}  // namespace prefixd::ctl
