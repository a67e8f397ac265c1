// Messages of PrefixService: ranges, defaults, and inputs that are only a beginning.
#include "server/convert_prefix.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "tests/server/convert_fixture.h"

namespace prefixd::testing {
namespace {

using ::testing::ElementsAre;

using PrefixChange = std::function<void(v1::CreatePrefixRequest*)>;

absl::StatusOr<PrefixSpec> ConvertPrefix(const PrefixChange& change) {
  v1::CreatePrefixRequest request;
  v1::ChatMessage* message = request.mutable_chat()->add_messages();
  message->set_role(v1::ROLE_USER);
  message->add_parts()->mutable_image()->set_data("\x89PNG...");
  change(&request);
  return ConvertCreatePrefixRequest(std::move(request), FakeModel(), FakeLimits());
}

// "CODE REASON", then "field: description" for each violation; "OK".
std::vector<std::string> Problems(const absl::Status& status) {
  if (status.ok()) return {"OK"};
  const ErrorDetail detail = GetErrorDetail(status).value_or(ErrorDetail{});
  std::vector<std::string> problems = {absl::StatusCodeToString(status.code()) + " " +
                                       detail.reason};
  for (const FieldViolation& violation : detail.field_violations) {
    problems.push_back(violation.field + ": " + violation.description);
  }
  return problems;
}

TEST(ConvertPrefix, HasDefaults) {
  const auto spec = ConvertPrefix([](auto*) {});
  ASSERT_TRUE(spec.ok()) << spec.status();
  EXPECT_EQ(spec->id, "");
  EXPECT_EQ(spec->ttl, absl::Minutes(10));
  EXPECT_EQ(spec->cache_salt, "");
  EXPECT_EQ(std::get<ChatInput>(spec->input).messages.size(), 1u);
}

TEST(ConvertPrefix, TakesEveryField) {
  const auto spec = ConvertPrefix([](v1::CreatePrefixRequest* r) {
    r->set_prefix_id("cat-1");
    r->set_model("fake");
    r->mutable_ttl()->set_seconds(90);
    r->mutable_ttl()->set_nanos(500'000'000);
    r->set_cache_salt("s");
    r->mutable_tokens()->add_ids(3);
  });
  ASSERT_TRUE(spec.ok()) << spec.status();
  EXPECT_EQ(spec->id, "cat-1");
  EXPECT_EQ(spec->ttl, absl::Milliseconds(90'500));
  EXPECT_EQ(spec->cache_salt, "s");
  EXPECT_THAT(std::get<TokenInput>(spec->input).ids, ElementsAre(3));
}

TEST(ConvertPrefix, MayEndWithAnyRole) {
  for (const v1::Role role : {v1::ROLE_SYSTEM, v1::ROLE_USER, v1::ROLE_ASSISTANT}) {
    EXPECT_THAT(Problems(ConvertPrefix([&](v1::CreatePrefixRequest* r) {
                           r->clear_chat();
                           v1::ChatMessage* message = r->mutable_chat()->add_messages();
                           message->set_role(role);
                           message->add_parts()->set_text("Be brief.");
                         }).status()),
                ElementsAre("OK"))
        << role;
  }
}

TEST(ConvertPrefix, ChecksItsInputAsARequestDoes) {
  const auto add = [](v1::CreatePrefixRequest* r, v1::Role role) {
    v1::ChatMessage* message = r->mutable_chat()->add_messages();
    message->set_role(role);
    message->add_parts()->set_text("x");
  };
  EXPECT_THAT(Problems(ConvertPrefix([&](auto* r) { add(r, v1::ROLE_SYSTEM); }).status()),
              ElementsAre("INVALID_ARGUMENT INPUT_INVALID",
                          "chat.messages[1].role: a system message must be the first"));
  EXPECT_THAT(Problems(ConvertPrefix([](auto* r) { r->clear_chat(); }).status()),
              ElementsAre("INVALID_ARGUMENT INPUT_INVALID",
                          "input: one of chat, prompt and tokens is required"));
  EXPECT_THAT(Problems(ConvertPrefix([](auto* r) { r->set_model("other"); }).status()),
              ElementsAre("NOT_FOUND MODEL_NOT_FOUND"));
}

TEST(ConvertPrefix, ListsAllViolationsAtOnce) {
  EXPECT_THAT(Problems(ConvertPrefix([](v1::CreatePrefixRequest* r) {
                         r->set_prefix_id("prefixes/a");
                         r->mutable_chat()->mutable_messages(0)->clear_parts();
                         r->mutable_ttl()->set_seconds(86401);
                         r->set_cache_salt(std::string(129, 's'));
                       }).status()),
              ElementsAre("INVALID_ARGUMENT PARAMETER_OUT_OF_RANGE",
                          "prefix_id: the id of a prefix has 1..63 characters of [a-z0-9-]",
                          "chat.messages[0].parts: at least one part is required",
                          "ttl: 86401 s and 0 ns is outside the range [1 s, 86400 s]",
                          "cache_salt: 129 bytes, the limit is 128"));
}

TEST(ConvertPrefix, BoundsIds) {
  EXPECT_TRUE(IsPrefixId("-"));
  EXPECT_TRUE(IsPrefixId("abc-019"));
  EXPECT_TRUE(IsPrefixId(std::string(63, 'z')));
  for (const std::string& id :
       {std::string(), std::string(64, 'z'), std::string("A"), std::string("a_b"),
        std::string("a.b"), std::string("a/b"), std::string("a\0", 2), std::string("\xc3\xa4")}) {
    EXPECT_FALSE(IsPrefixId(id)) << id;
  }
}

TEST(ConvertPrefix, BoundsTheTimeToLive) {
  const auto touch = [](int64_t seconds, int32_t nanos) {
    v1::TouchPrefixRequest request;
    request.set_name("prefixes/a");
    request.mutable_ttl()->set_seconds(seconds);
    request.mutable_ttl()->set_nanos(nanos);
    return ConvertTouchPrefixRequest(request);
  };
  EXPECT_EQ(**touch(1, 0), absl::Seconds(1));
  EXPECT_EQ(**touch(86400, 0), absl::Hours(24));
  const std::pair<int64_t, int32_t> outside[] = {{0, 0},
                                                 {0, 999'999'999},
                                                 {-1, 0},
                                                 {86400, 1},
                                                 {86401, 0},
                                                 {INT64_MAX, 0},
                                                 {INT64_MIN, 0},
                                                 {60, 1'000'000'000},
                                                 {60, -1'000'000'000},
                                                 {INT64_MAX, INT32_MAX},
                                                 {INT64_MIN, INT32_MIN}};
  for (const auto& [seconds, nanos] : outside) {
    EXPECT_EQ(Problems(touch(seconds, nanos).status())[0],
              "INVALID_ARGUMENT PARAMETER_OUT_OF_RANGE")
        << seconds << " " << nanos;
  }
}

TEST(ConvertPrefix, TouchesWithoutATimeToLive) {
  v1::TouchPrefixRequest request;
  EXPECT_THAT(Problems(ConvertTouchPrefixRequest(request).status()),
              ElementsAre("INVALID_ARGUMENT PARAMETER_OUT_OF_RANGE",
                          "name: the name of a prefix is prefixes/ and 1..63 characters of "
                          "[a-z0-9-]"));
  request.set_name("prefixes/a");
  const auto ttl = ConvertTouchPrefixRequest(request);
  ASSERT_TRUE(ttl.ok());
  EXPECT_EQ(*ttl, std::nullopt);
}

TEST(ConvertPrefix, WritesEveryField) {
  const PrefixInfo info{.name = "prefixes/a",
                        .prompt_tokens = 594,
                        .pinned_tokens = 592,
                        .images = 1,
                        .kv_bytes = 1000,
                        .image_bytes = 2000,
                        .requests = 3,
                        .ttl = absl::Minutes(10),
                        .age = absl::Milliseconds(1500),
                        .expires_in = absl::Milliseconds(8500)};
  v1::Prefix out;
  ToProto(info, "demo", absl::FromUnixSeconds(1'000'000), &out);
  EXPECT_EQ(out.name(), "prefixes/a");
  EXPECT_EQ(out.model(), "demo");
  EXPECT_EQ(out.prompt_tokens(), 594);
  EXPECT_EQ(out.pinned_tokens(), 592);
  EXPECT_EQ(out.images(), 1);
  EXPECT_EQ(out.kv_bytes(), 1000u);
  EXPECT_EQ(out.image_bytes(), 2000u);
  EXPECT_EQ(out.requests(), 3u);
  EXPECT_EQ(out.ttl().seconds(), 600);
  EXPECT_EQ(out.age().nanos(), 500'000'000);
  EXPECT_EQ(out.expires_in().seconds(), 8);
  EXPECT_EQ(out.expire_time().seconds(), 1'000'008);
  EXPECT_EQ(out.expire_time().nanos(), 500'000'000);
}

}  // namespace
}  // namespace prefixd::testing
