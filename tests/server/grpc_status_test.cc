#include "server/grpc_status.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "engine/error_reasons.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"

namespace prefixd {
namespace {

google::rpc::Status Rich(const grpc::Status& status) {
  google::rpc::Status rich;
  EXPECT_TRUE(rich.ParseFromString(status.error_details()));
  return rich;
}

// Returns the one detail of a type; fails the test if there is none or more.
template <typename Detail>
Detail Get(const grpc::Status& status) {
  Detail detail;
  int count = 0;
  const google::rpc::Status rich = Rich(status);
  for (const auto& any : rich.details()) count += any.UnpackTo(&detail) ? 1 : 0;
  EXPECT_EQ(count, 1);
  return detail;
}

TEST(GrpcStatus, CarriesReasonMetadataAndRequestId) {
  const GrpcError error = ToGrpcError(MakeError(absl::StatusCode::kNotFound, reason::kModelNotFound,
                                                "model x is not served here", {{"model", "x"}}),
                                      "req-1");
  EXPECT_EQ(error.status.error_code(), grpc::StatusCode::NOT_FOUND);
  EXPECT_EQ(error.status.error_message(), "model x is not served here");
  EXPECT_EQ(error.reason, "MODEL_NOT_FOUND");
  EXPECT_FALSE(error.pushback_ms);
  EXPECT_EQ(Rich(error.status).code(), 5);
  EXPECT_EQ(Rich(error.status).message(), "model x is not served here");
  const auto info = Get<google::rpc::ErrorInfo>(error.status);
  EXPECT_EQ(info.reason(), "MODEL_NOT_FOUND");
  EXPECT_EQ(info.domain(), "prefixd");
  EXPECT_EQ(info.metadata().at("model"), "x");
  EXPECT_EQ(Get<google::rpc::RequestInfo>(error.status).request_id(), "req-1");
  const auto resource = Get<google::rpc::ResourceInfo>(error.status);
  EXPECT_EQ(resource.resource_type(), "model");
  EXPECT_EQ(resource.resource_name(), "x");
}

TEST(GrpcStatus, NamesWhatWasNotFound) {
  const struct {
    const char* reason;
    const char* key;
    const char* type;
  } cases[] = {{reason::kPrefixNotFound, "prefix", "prefix"},
               {reason::kImageNotCached, "sha256", "image"},
               {reason::kRequestNotFound, "request_id", "request"}};
  for (const auto& c : cases) {
    const GrpcError error =
        ToGrpcError(MakeError(absl::StatusCode::kNotFound, c.reason, "gone", {{c.key, "x"}}), "");
    const auto resource = Get<google::rpc::ResourceInfo>(error.status);
    EXPECT_EQ(resource.resource_type(), c.type);
    EXPECT_EQ(resource.resource_name(), "x");
  }
}

TEST(GrpcStatus, CarriesEveryViolation) {
  const ErrorDetail detail{.reason = reason::kParameterOutOfRange,
                           .field_violations = {{"sampling.top_p", "2 is outside (0, 1]"},
                                                {"output.n", "9 is outside [1, 8]"}}};
  const GrpcError error =
      ToGrpcError(MakeError(absl::StatusCode::kInvalidArgument, "bad", detail), "");
  const auto request = Get<google::rpc::BadRequest>(error.status);
  ASSERT_EQ(request.field_violations_size(), 2);
  EXPECT_EQ(request.field_violations(1).field(), "output.n");
  EXPECT_EQ(request.field_violations(1).description(), "9 is outside [1, 8]");
}

TEST(GrpcStatus, TurnsARetryHintIntoDetailAndPushback) {
  const ErrorDetail detail{.reason = reason::kQueueFull, .retry_after = absl::Milliseconds(1500)};
  const absl::Status full = MakeError(absl::StatusCode::kResourceExhausted, "full", detail);
  const GrpcError error = ToGrpcError(full, "r");
  EXPECT_EQ(error.pushback_ms, 1500);
  EXPECT_EQ(ToGrpcError(full, "r", 1.0).pushback_ms, 1800);
  EXPECT_EQ(ToGrpcError(full, "r", -1.0).pushback_ms, 1200);
  const auto retry = Get<google::rpc::RetryInfo>(error.status);
  EXPECT_EQ(retry.retry_delay().seconds(), 1);
  EXPECT_EQ(retry.retry_delay().nanos(), 500000000);
  EXPECT_EQ(Get<google::rpc::QuotaFailure>(error.status).violations(0).subject(), "server");
}

TEST(GrpcStatus, GivesNoPushbackForErrorsThatRetryingDoesNotMend) {
  const ErrorDetail detail{.reason = reason::kInputInvalid, .retry_after = absl::Seconds(1)};
  EXPECT_FALSE(
      ToGrpcError(MakeError(absl::StatusCode::kInvalidArgument, "bad", detail), "r").pushback_ms);
}

TEST(GrpcStatus, NamesThePreconditionThatFailed) {
  const GrpcError error =
      ToGrpcError(MakeError(absl::StatusCode::kFailedPrecondition, reason::kFeatureUnsupported,
                            "this model takes no images", {{"model", "m"}}),
                  "r");
  const auto failure = Get<google::rpc::PreconditionFailure>(error.status);
  EXPECT_EQ(failure.violations(0).type(), "FEATURE_UNSUPPORTED");
  EXPECT_EQ(failure.violations(0).subject(), "m");
}

TEST(GrpcStatus, GivesEveryCodeAReason) {
  for (int code = 1; code <= 16; ++code) {
    const GrpcError error = ToGrpcError(absl::Status(static_cast<absl::StatusCode>(code), "x"), "");
    EXPECT_EQ(static_cast<int>(error.status.error_code()), code);
    EXPECT_FALSE(Get<google::rpc::ErrorInfo>(error.status).reason().empty()) << code;
  }
  EXPECT_EQ(ToGrpcError(absl::DeadlineExceededError("x"), "").reason, "DEADLINE_EXCEEDED");
  EXPECT_EQ(ToGrpcError(absl::InternalError("x"), "").reason, "ENGINE_FAILED");
}

TEST(GrpcStatus, KeepsTheTextOfInternalErrorsToItself) {
  const GrpcError error = ToGrpcError(absl::InternalError("/secret/path 0xdead"), "r");
  EXPECT_EQ(error.status.error_message(),
            "the request failed inside the server; its log has the cause under the request's id");
  EXPECT_EQ(error.status.error_details().find("secret"), std::string::npos);
}

TEST(GrpcStatus, StaysBelowTheLimitOfMetadata) {
  ErrorDetail detail{.reason = reason::kInputInvalid, .retry_after = absl::Seconds(1)};
  for (int i = 0; i < 200; ++i) {
    detail.field_violations.push_back({absl::StrCat("field[", i, "]"), std::string(300, 'd')});
    detail.metadata.emplace_back(absl::StrCat("key", i), std::string(1000, 'v'));
  }
  const GrpcError error = ToGrpcError(
      MakeError(absl::StatusCode::kResourceExhausted, std::string(5000, 'm'), detail), "r");
  EXPECT_LE(error.status.error_details().size(), 3072u);
  EXPECT_LE(error.status.error_message().size(), 512u);
  EXPECT_EQ(Get<google::rpc::ErrorInfo>(error.status).reason(), "INPUT_INVALID");
  const auto request = Get<google::rpc::BadRequest>(error.status);
  ASSERT_GT(request.field_violations_size(), 1);
  EXPECT_EQ(request.field_violations(request.field_violations_size() - 1).field(), "...");
}

TEST(GrpcStatus, SendsPrintableTextOnly) {
  const GrpcError error = ToGrpcError(absl::InvalidArgumentError("a\nb\xff\x01 c"), "");
  EXPECT_EQ(error.status.error_message(), "a?b?? c");
}

}  // namespace
}  // namespace prefixd
