#include "base/error.h"

#include <gtest/gtest.h>

namespace prefixd {
namespace {

TEST(Error, CarriesReasonMetadataViolationsAndRetryHint) {
  ErrorDetail detail{.reason = "QUEUE_FULL",
                     .metadata = {{"limit", "4"}, {"odd:key", "7:x"}},
                     .field_violations = {{"messages[1]", "too long: 9, limit 4"}},
                     .retry_after = absl::Milliseconds(250)};
  const absl::Status status = MakeError(absl::StatusCode::kResourceExhausted, "full", detail);

  const std::optional<ErrorDetail> read = GetErrorDetail(status);
  ASSERT_TRUE(read.has_value());
  EXPECT_EQ(read->reason, "QUEUE_FULL");
  EXPECT_EQ(read->metadata, detail.metadata);
  ASSERT_EQ(read->field_violations.size(), 1u);
  EXPECT_EQ(read->field_violations[0].field, "messages[1]");
  EXPECT_EQ(read->retry_after, absl::Milliseconds(250));
}

TEST(Error, AStatusWithoutPayloadHasNoDetail) {
  EXPECT_FALSE(GetErrorDetail(absl::InternalError("x")).has_value());
}

}  // namespace
}  // namespace prefixd
