// What a request may say about retention, and what its receipt says.
#include "server/convert_retention.h"

#include <limits>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "tests/server/convert_fixture.h"

namespace prefixd::testing {
namespace {

using ::testing::ElementsAre;

constexpr char kRange[] = "INVALID_ARGUMENT PARAMETER_OUT_OF_RANGE";

// The violations of a valid request with `edit` applied to its retention.
std::vector<std::string> RetentionProblems(const std::function<void(v1::RetentionParams*)>& edit) {
  return Problems([&](v1::GenerateRequest* r) { edit(r->mutable_retention()); });
}

TEST(ConvertRetention, LeavesUnsetWhatIsNotSet) {
  for (const bool empty_message : {false, true}) {
    const auto request = Convert([&](v1::GenerateRequest* r) {
      if (empty_message) r->mutable_retention();
    });
    ASSERT_TRUE(request.ok()) << request.status();
    const RetentionParams& retention = request->retention;
    EXPECT_FALSE(retention.scope || retention.budget || retention.policy || retention.profile ||
                 retention.start_size || retention.protect || retention.distance ||
                 retention.reference_positions);
  }
}

TEST(ConvertRetention, TakesEveryParameter) {
  const auto request = Convert([](v1::GenerateRequest* r) {
    v1::RetentionParams* const retention = r->mutable_retention();
    retention->set_scope(v1::RETENTION_SCOPE_SHARED);
    retention->set_budget(0.25);
    retention->set_policy("h2o");
    retention->set_profile("llava-v1.5-7b");
    retention->set_start_size(1024);
    retention->set_protect(1024);
    retention->set_distance(-65536);
    retention->set_reference_positions(true);
  });
  ASSERT_TRUE(request.ok()) << request.status();
  EXPECT_EQ(request->retention.scope, RetentionScope::kShared);
  EXPECT_EQ(request->retention.budget, 0.25);
  EXPECT_EQ(request->retention.policy, "h2o");
  EXPECT_EQ(request->retention.profile, "llava-v1.5-7b");
  EXPECT_EQ(request->retention.start_size, 1024);
  EXPECT_EQ(request->retention.protect, 1024);
  EXPECT_EQ(request->retention.distance, -65536);
  EXPECT_TRUE(request->retention.reference_positions);
}

TEST(ConvertRetention, TakesTheEndsOfRangesAndNoProfile) {
  const auto request = Convert([](v1::GenerateRequest* r) {
    v1::RetentionParams* const retention = r->mutable_retention();
    retention->set_budget(0.001);
    retention->set_profile("");  // Not the tenant's: the prompt's own scores.
    retention->set_start_size(0);
    retention->set_protect(1);
    retention->set_distance(65536);
  });
  ASSERT_TRUE(request.ok()) << request.status();
  EXPECT_EQ(request->retention.scope, std::nullopt);
  EXPECT_EQ(request->retention.budget, 0.001);
  EXPECT_EQ(request->retention.profile, "");
  EXPECT_EQ(request->retention.start_size, 0);
  EXPECT_EQ(request->retention.protect, 1);
  EXPECT_EQ(request->retention.distance, 65536);
  EXPECT_THAT(RetentionProblems([](auto* r) { r->set_budget(1); }), ElementsAre("OK"));
}

TEST(ConvertRetention, KnowsEveryScope) {
  const auto scope = [](v1::RetentionScope value) {
    return Convert([=](auto* r) { r->mutable_retention()->set_scope(value); })->retention.scope;
  };
  EXPECT_EQ(scope(v1::RETENTION_SCOPE_UNSPECIFIED), std::nullopt);
  EXPECT_EQ(scope(v1::RETENTION_SCOPE_OFF), RetentionScope::kOff);
  EXPECT_EQ(scope(v1::RETENTION_SCOPE_EXACT), RetentionScope::kExact);
  EXPECT_EQ(scope(v1::RETENTION_SCOPE_SHARED), RetentionScope::kShared);
  for (const int value : {4, -1, std::numeric_limits<int>::max()}) {
    EXPECT_THAT(
        RetentionProblems([=](auto* r) { r->set_scope(static_cast<v1::RetentionScope>(value)); }),
        ElementsAre(kRange,
                    absl::StrCat("retention.scope: ", value, " is outside the range [0, 3]")));
  }
}

TEST(ConvertRetention, NamesFieldValueAndRange) {
  constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  const struct {
    double budget;
    const char* shown;
  } budgets[] = {{kNan, "nan"},      {0, "0"},           {-0.0, "-0"},
                 {-0.1, "-0.1"},     {1.1, "1.1"},       {1e-9, "1e-09"},
                 {0.0009, "0.0009"}, {kInfinity, "inf"}, {-kInfinity, "-inf"}};
  for (const auto& c : budgets) {
    EXPECT_THAT(RetentionProblems([&](auto* r) { r->set_budget(c.budget); }),
                ElementsAre(kRange, absl::StrCat("retention.budget: ", c.shown,
                                                 " is outside the range [0.001, 1]")));
  }
  const struct {
    std::function<void(v1::RetentionParams*)> edit;
    const char* problem;
  } cases[] = {
      {[](auto* r) { r->set_start_size(-1); },
       "retention.start_size: -1 is outside the range [0, 1024]"},
      {[](auto* r) { r->set_start_size(1025); },
       "retention.start_size: 1025 is outside the range [0, 1024]"},
      {[](auto* r) { r->set_protect(0); }, "retention.protect: 0 is outside the range [1, 1024]"},
      {[](auto* r) { r->set_protect(1025); },
       "retention.protect: 1025 is outside the range [1, 1024]"},
      {[](auto* r) { r->set_distance(-65537); },
       "retention.distance: -65537 is outside the range [-65536, 65536]"},
      {[](auto* r) { r->set_distance(65537); },
       "retention.distance: 65537 is outside the range [-65536, 65536]"},
  };
  for (const auto& c : cases)
    EXPECT_THAT(RetentionProblems(c.edit), ElementsAre(kRange, c.problem));
}

TEST(ConvertRetention, ListsTheNamesThatAreKnown) {
  EXPECT_THAT(
      RetentionProblems([](auto* r) { r->set_policy("prefix-kv"); }),
      ElementsAre(kRange, "retention.policy: `prefix-kv` is not known; known: prefixkv, h2o"));
  EXPECT_THAT(
      RetentionProblems([](auto* r) { r->set_profile("llava-v1.5-13b"); }),
      ElementsAre(kRange,
                  "retention.profile: `llava-v1.5-13b` is not known; known: demo, llava-v1.5-7b"));
  EngineModelInfo model = FakeModel();
  model.profiles.clear();
  EXPECT_THAT(Problems([](auto* r) { r->mutable_retention()->set_profile("p"); }, model),
              ElementsAre(kRange, "retention.profile: `p` is not known; there is none"));
  for (int i = 0; i < 500; ++i) model.profiles.push_back(absl::StrCat("profile", i));
  const std::string many =
      Problems([](auto* r) { r->mutable_retention()->set_profile("p"); }, model)[1];
  EXPECT_TRUE(absl::EndsWith(many, "profile10, profile11 and 488 more")) << many;
}

TEST(ConvertRetention, RepeatsNothingThatIsNoName) {
  for (const std::string& name :
       {std::string("../p.json"), std::string("a/b"), std::string("a\0b", 3), std::string("a b"),
        std::string("\xc3\xa4"), std::string(65, 'a'), std::string(1 << 20, 'a')}) {
    EXPECT_THAT(RetentionProblems([&](auto* r) { r->set_policy(name); }),
                ElementsAre(kRange,
                            "retention.policy: a name has 1..64 characters of [a-z0-9-]; known: "
                            "prefixkv, h2o"));
    EXPECT_THAT(RetentionProblems([&](auto* r) { r->set_profile(name); }),
                ElementsAre(kRange,
                            "retention.profile: a name has 1..64 characters of [A-Za-z0-9._-]; "
                            "known: demo, llava-v1.5-7b"));
  }
  EXPECT_EQ(RetentionProblems([](auto* r) { r->set_policy(""); })[0], kRange);
  for (const char* dots : {".", ".."}) {
    EXPECT_TRUE(absl::StrContains(RetentionProblems([&](auto* r) { r->set_profile(dots); })[1],
                                  "1..64 characters"));
  }
}

TEST(ConvertRetention, ListsAllViolationsAtOnce) {
  EXPECT_THAT(RetentionProblems([](v1::RetentionParams* r) {
                r->set_scope(static_cast<v1::RetentionScope>(9));
                r->set_budget(2);
                r->set_policy("x");
                r->set_profile("y");
                r->set_start_size(-5);
                r->set_protect(0);
                r->set_distance(1 << 30);
              }),
              ElementsAre(kRange, "retention.scope: 9 is outside the range [0, 3]",
                          "retention.budget: 2 is outside the range [0.001, 1]",
                          "retention.policy: `x` is not known; known: prefixkv, h2o",
                          "retention.profile: `y` is not known; known: demo, llava-v1.5-7b",
                          "retention.start_size: -5 is outside the range [0, 1024]",
                          "retention.protect: 0 is outside the range [1, 1024]",
                          "retention.distance: 1073741824 is outside the range [-65536, 65536]"));
}

TEST(RetentionToProto, TellsEverythingInAReceipt) {
  v1::RetentionReceipt out;
  ToProto(RetentionReceipt{.scope = RetentionScope::kShared,
                           .policy = "prefixkv",
                           .profile = "demo",
                           .budget = 0.25,
                           .selected_from = 640,
                           .kept_tokens = {449, 6},
                           .score_mass = 0.5,
                           .snapshot_hit = true,
                           .decode_drops = 7,
                           .saved_kv_bytes = 8},
          &out);
  EXPECT_EQ(out.ShortDebugString(),
            "scope: RETENTION_SCOPE_SHARED policy: \"prefixkv\" profile: \"demo\" budget: 0.25 "
            "selected_from: 640 kept_tokens: 449 kept_tokens: 6 score_mass: 0.5 snapshot_hit: true "
            "decode_drops: 7 saved_kv_bytes: 8");
  v1::RetentionReceipt off;
  ToProto(RetentionReceipt{}, &off);
  EXPECT_EQ(off.scope(), v1::RETENTION_SCOPE_OFF);
}

TEST(RetentionToProto, TellsTheDefaultsOfAModelInFull) {
  v1::RetentionParams out;
  ToProto(FakeModel().retention_defaults, &out);
  EXPECT_EQ(out.ShortDebugString(),
            "scope: RETENTION_SCOPE_OFF budget: 0.5 policy: \"prefixkv\" profile: \"\" "
            "start_size: 1 protect: 1 distance: -25");
}

}  // namespace
}  // namespace prefixd::testing
