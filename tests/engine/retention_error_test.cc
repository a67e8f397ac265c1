// What goes wrong under KV budgets: refusals on arrival, requests that cannot fit, and a backend
// that fails, which costs one request and no more.
#include <functional>

#include <gmock/gmock.h>

#include "tests/engine/retention_fixture.h"

namespace prefixd::testing {
namespace {

using ::testing::HasSubstr;

std::string Profile(double low, double high) { return absl::StrCat("[", low, ", ", high, "]"); }

class RetentionErrors : public RetentionLoopTest {
 protected:
  void SetUp() override {
    profiles_.Write("prefixkv_tiny_0.5.json", Profile(0.4, 0.6));
    profiles_.Write("prefixkv_tiny_0.8.json", Profile(0.7, 0.9));
    EngineOptions options;
    options.retention_profiles = profiles_.path();
    OpenTiny(options);
    Build();
  }

  Request Ask(const RetentionParams& retention, int salt = 1) const {
    return Tiny(0, "", 100, salt, retention);
  }
  void ExpectOutOfRange(const RetentionParams& retention, const std::string& message) {
    const absl::Status status = RunToFailure(Ask(retention));
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_EQ(ReasonOf(status), "PARAMETER_OUT_OF_RANGE");
    EXPECT_THAT(std::string(status.message()), HasSubstr(message));
  }

  const TemporaryDirectory profiles_;
};

TEST_F(RetentionErrors, NameTheFieldTheValueAndTheRange) {
  RetentionParams params = Exact("prefixkv", 0.5);
  params.policy = "prefix";
  ExpectOutOfRange(params, "retention.policy is \"prefix\", known are full, prefixkv, ");
  params = Exact("prefixkv", 0.5);
  params.profile = "huge";
  ExpectOutOfRange(params, "retention.profile is \"huge\", known are [tiny]");
  params = Exact("snapkv", 0.5);
  params.profile = "tiny";
  ExpectOutOfRange(params, "retention.profile is \"tiny\", policy snapkv takes none");
  for (const double budget : {0.0, 0.0009, -1.0, 1.001}) {
    ExpectOutOfRange(Exact("prefixkv", budget),
                     absl::StrCat("retention.budget is ", budget, ", the range is [0.001, 1]"));
  }
  params = Exact("prefixkv", 0.5);
  params.start_size = 1025;
  ExpectOutOfRange(params, "retention.start_size is 1025, the range is [0, 1024]");
  params = Exact("prefixkv", 0.5);
  params.protect = 0;
  ExpectOutOfRange(params, "retention.protect is 0, the range is [1, 1024]");
  params = Exact("prefixkv", 0.5);
  params.distance = -65537;
  ExpectOutOfRange(params, "retention.distance is -65537, the range is [-65536, 65536]");
  Request request = Tiny(20, PictureBytes("picture-01.png"), 20, 1, Shared("h2o", 0.5));
  EXPECT_EQ(RunToFailure(request).code(), absl::StatusCode::kInvalidArgument);
  // Where nothing is kept back the rest is checked all the same.
  params = {.scope = RetentionScope::kOff, .policy = "prefix"};
  ExpectOutOfRange(params, "retention.policy");
  // Of what was refused nothing ran.
  EXPECT_THAT(Stats().retention.requests, ::testing::Each(0u));
}

TEST_F(RetentionErrors, AProfileEndsAtItsHighestForgetRatio) {
  RetentionParams params = Exact("prefixkv", 0.2);
  params.profile = "tiny";
  EXPECT_EQ(Run(Ask(params)).finished->retention.kept_tokens, (std::vector<int32_t>{30, 10}));
  params.budget = 0.35;  // Half way between the files.
  EXPECT_EQ(Run(Ask(params)).finished->retention.kept_tokens, (std::vector<int32_t>{45, 25}));
  EXPECT_EQ(Run(Ask(params)).finished->retention.profile, "tiny");
  params.budget = 0.19;
  const absl::Status status = RunToFailure(Ask(params));
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr("retention.budget is 0.19, "));
  EXPECT_THAT(std::string(status.message()), HasSubstr("0.81"));
  EXPECT_THAT(std::string(status.message()), HasSubstr("0.8"));
}

TEST_F(RetentionErrors, ARequestThatCannotFitIsToldBothNumbers) {
  Build(/*num_pages=*/20);
  // 300 tokens are 38 pages before anything is dropped, and what is kept lies beside them.
  const absl::Status status = RunToFailure(Tiny(0, "", 300, 1, Exact("prefixkv", 0.1)));
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(ReasonOf(status), "KV_CACHE_FULL");
  EXPECT_THAT(std::string(status.message()), HasSubstr("the request needs 44 pages of KV cache"));
  EXPECT_THAT(std::string(status.message()), HasSubstr("it can have 20"));
  // A budget lets an output fit that would not otherwise: 100 + 200 tokens are 38 pages.
  EXPECT_EQ(ReasonOf(RunToFailure(Tiny(0, "", 100, 1, {}, 200))), "KV_CACHE_FULL");
  EXPECT_EQ(Run(Tiny(0, "", 100, 1, Exact("prefixkv", 0.2), 200)).choices[0].ids.size(), 200u);
}

// One request fails; the one beside it does not notice, and everything is given back.
TEST_F(RetentionErrors, AFailureOfTheBackendCostsOneRequest) {
  const Request victim = Ask(Exact("prefixkv", 0.5)), by = Ask(Exact("local", 0.5), 2);
  Request drops = Ask(Exact("h2o", 0.5));
  const ByteSink by_alone = RunAlone(by), again = RunAlone(victim);
  Request forks = drops;
  forks.output.num_choices = 2;
  const struct {
    const char* what;
    Request request;
    std::function<void()> arm;
  } cases[] = {
      {"first layer is not moved", victim, [&] { backend_->fail_gather = 1; }},
      {"second layer is not moved", victim, [&] { backend_->fail_gather = 2; }},
      {"no memory for scores", victim, [&] { backend_->fail_new_scores = 1; }},
      {"scores are not stored", victim, [&] { backend_->fail_scores = 1; }},
      {"scores are not selected by", victim, [&] { backend_->fail_scores = 2; }},
      {"scores of kept slots", drops, [&] { backend_->fail_new_scores = 2; }},
      {"scores of a fork", forks, [&] { backend_->fail_new_scores = 3; }},
      {"scores of a drop", drops, [&] { backend_->fail_scores = 8; }},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.what);
    loop_->Flush(-1);
    const auto beside = Submit(by);
    for (int i = 0; i < 2; ++i) loop_->Step();
    c.arm();
    const auto failed = Submit(c.request);
    RunToEnd();
    EXPECT_EQ(backend_->fail_gather + backend_->fail_new_scores + backend_->fail_scores, 0);
    EXPECT_EQ(failed->status.code(), absl::StatusCode::kInternal);
    EXPECT_EQ(ReasonOf(failed->status), "ENGINE_FAILED");
    EXPECT_EQ(failed->status.message(), "the KV budget of the request could not be carried out");
    ASSERT_TRUE(beside->finished.has_value()) << beside->status;
    EXPECT_EQ(beside->choices, by_alone.choices);
    EXPECT_EQ(Run(victim).choices, again.choices);
    loop_->Flush(-1);
    EXPECT_EQ(Stats().free_pages, num_pages_);
    EXPECT_EQ(Stats().retention.score_bytes, 0u);
  }
}

}  // namespace
}  // namespace prefixd::testing
