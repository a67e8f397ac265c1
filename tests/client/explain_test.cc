#include "client/prefixctl/explain.h"

#include <gtest/gtest.h>

#include "base/error.h"

namespace prefixd::ctl {
namespace {

TEST(Explain, SaysHowToStartAServerThatIsNotThere) {
  const Explanation explanation = Explain(
      absl::UnavailableError("failed to connect to all addresses; last error: UNKNOWN: "
                             "ipv4:127.0.0.1:1: Failed to connect to remote host: Connection "
                             "refused"),
      "127.0.0.1:1");
  EXPECT_EQ(explanation.message, "cannot reach prefixd at 127.0.0.1:1: Connection refused");
  EXPECT_EQ(explanation.next_step,
            "start it with `prefixd --model DIR`, or name another with --server HOST:PORT or "
            "PREFIXD_SERVER; `prefixctl doctor` looks closer");
}

TEST(Explain, NamesTheFlagBehindAField) {
  const Explanation explanation =
      Explain(MakeError(absl::StatusCode::kInvalidArgument, "bad parameters",
                        {.reason = "PARAMETER_OUT_OF_RANGE",
                         .field_violations = {{"sampling.top_p", "7 is not in (0, 1]"},
                                              {"chat.messages", "empty"}}}),
              "s:1");
  EXPECT_EQ(explanation.message,
            "bad parameters\n  --top-p: 7 is not in (0, 1]\n  chat.messages: empty");
}

TEST(Explain, NamesTheFlagsOfPrefixes) {
  EXPECT_EQ(Explain(MakeError(absl::StatusCode::kInvalidArgument, "bad",
                              {.field_violations = {{"prefix_id", "a"},
                                                    {"prefix", "b"},
                                                    {"ttl", "c"},
                                                    {"cache_salt", "d"}}}),
                    "s:1")
                .message,
            "bad\n  --id: a\n  --prefix: b\n  --ttl: c\n  --cache-salt: d");
}

TEST(Explain, NamesTheFlagsOfRetention) {
  EXPECT_EQ(Explain(MakeError(absl::StatusCode::kInvalidArgument, "bad",
                              {.field_violations = {{"retention.scope", "a"},
                                                    {"retention.budget", "b"},
                                                    {"retention.policy", "c"},
                                                    {"retention.profile", "d"},
                                                    {"retention.protect", "e"}}}),
                    "s:1")
                .message,
            "bad\n  --retention: a\n  --budget: b\n  --policy: c\n  --profile: d\n  "
            "retention.protect: e");
}

TEST(Explain, SaysOneViolationOnce) {
  const auto explain = [](const std::string& message, const FieldViolation& violation) {
    return Explain(MakeError(absl::StatusCode::kInvalidArgument, message,
                             {.field_violations = {violation}}),
                   "s:1")
        .message;
  };
  EXPECT_EQ(explain("sampling.top_p: 7 is too much", {"sampling.top_p", "7 is too much"}),
            "--top-p: 7 is too much");
  EXPECT_EQ(explain("image 0: not a picture", {"image", "not a picture"}),
            "image 0: not a picture");
}

TEST(Explain, SaysWhenToTryAgain) {
  const Explanation explanation =
      Explain(MakeError(absl::StatusCode::kResourceExhausted, "256 requests wait",
                        {.reason = "QUEUE_FULL", .retry_after = absl::Milliseconds(1500)}),
              "s:1");
  EXPECT_EQ(explanation.next_step,
            "too many requests wait; `prefixctl ps` lists them; try again in 1.5s");
}

TEST(Explain, HasNoNextStepForWhatItDoesNotKnow) {
  const Explanation explanation = Explain(absl::InternalError(""), "s:1");
  EXPECT_EQ(explanation.message, "INTERNAL");
  EXPECT_EQ(explanation.next_step, "");
}

TEST(LoadProgress, CountsBytes) {
  v1::GetServerInfoResponse info;
  EXPECT_EQ(LoadProgress(info), "starting");
  info.set_load_bytes_done(4'030'000);
  info.set_load_bytes_total(6'500'000);
  EXPECT_EQ(LoadProgress(info), "62 % (4.0 of 6.5 MB)");
}

}  // namespace
}  // namespace prefixd::ctl
