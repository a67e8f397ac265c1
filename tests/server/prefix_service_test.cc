// PrefixService over a real channel around a fake engine.
#include <thread>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "tests/server/server_fixture.h"

namespace prefixd::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

v1::CreatePrefixRequest Picture(const std::string& id) {
  v1::CreatePrefixRequest request;
  request.set_prefix_id(id);
  v1::ChatMessage* message = request.mutable_chat()->add_messages();
  message->set_role(v1::ROLE_USER);
  message->add_parts()->mutable_image()->set_data("\x89PNG");
  return request;
}

class PrefixServiceTest : public ::testing::Test {
 protected:
  template <typename Response, typename Request>
  using Method = grpc::Status (v1::PrefixService::Stub::*)(grpc::ClientContext*, const Request&,
                                                           Response*);

  template <typename Response, typename Request>
  grpc::Status Ask(Method<Response, Request> method, const Request& request, Response* response) {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(20));
    return (server_.prefixes.get()->*method)(&context, request, response);
  }
  grpc::Status Create(const v1::CreatePrefixRequest& request) {
    v1::CreatePrefixResponse response;
    return Ask(&v1::PrefixService::Stub::CreatePrefix, request, &response);
  }
  grpc::Status Get(const std::string& name) {
    v1::GetPrefixRequest request;
    request.set_name(name);
    v1::GetPrefixResponse response;
    return Ask(&v1::PrefixService::Stub::GetPrefix, request, &response);
  }
  grpc::Status Touch(const std::string& name) {
    v1::TouchPrefixRequest request;
    request.set_name(name);
    v1::TouchPrefixResponse response;
    return Ask(&v1::PrefixService::Stub::TouchPrefix, request, &response);
  }
  grpc::Status Release(const std::string& name) {
    v1::ReleasePrefixRequest request;
    request.set_name(name);
    v1::ReleasePrefixResponse response;
    return Ask(&v1::PrefixService::Stub::ReleasePrefix, request, &response);
  }
  // Waits until no call holds a part of the budget: the last one is over.
  bool WaitNoCalls() {
    for (int i = 0; i < 2000 && server_.context.budget.calls() > 0; ++i) {
      absl::SleepFor(absl::Milliseconds(5));
    }
    return server_.context.budget.calls() == 0;
  }

  RunningServer server_;
};

TEST_F(PrefixServiceTest, CreatesAPrefix) {
  v1::CreatePrefixRequest request = Picture("cat");
  request.mutable_ttl()->set_seconds(60);
  request.set_cache_salt("s");
  v1::CreatePrefixResponse response;
  ASSERT_TRUE(Ask(&v1::PrefixService::Stub::CreatePrefix, request, &response).ok());
  EXPECT_EQ(response.prefix().name(), "prefixes/cat");
  EXPECT_EQ(response.prefix().model(), "fake");
  EXPECT_EQ(response.prefix().prompt_tokens(), 40);
  EXPECT_EQ(response.prefix().pinned_tokens(), 32);
  EXPECT_EQ(response.prefix().ttl().seconds(), 60);
  EXPECT_EQ(response.prefix().expires_in().seconds(), 60);
  const PrefixSpec spec = server_.engine.created().at(0);
  EXPECT_EQ(spec.id, "cat");
  EXPECT_EQ(spec.tenant, "");
  EXPECT_EQ(spec.cache_salt, "s");
  EXPECT_EQ(spec.ttl, absl::Minutes(1));
  // The caller's deadline, not the server's default.
  EXPECT_LE(spec.deadline - server_.clock.Now(), absl::Seconds(25));
  const ChatInput& chat = std::get<ChatInput>(spec.input);
  EXPECT_EQ(std::get<ImagePart>(chat.messages.at(0).parts.at(0)).bytes, "\x89PNG");
  EXPECT_TRUE(WaitNoCalls());
}

TEST_F(PrefixServiceTest, ServesAPrefixUntilItIsReleased) {
  ASSERT_TRUE(Create(Picture("cat")).ok());
  v1::TouchPrefixRequest touch;
  touch.set_name("prefixes/cat");
  touch.mutable_ttl()->set_seconds(120);
  v1::TouchPrefixResponse touched;
  ASSERT_TRUE(Ask(&v1::PrefixService::Stub::TouchPrefix, touch, &touched).ok());
  EXPECT_EQ(touched.prefix().expires_in().seconds(), 120);
  touch.clear_ttl();
  ASSERT_TRUE(Ask(&v1::PrefixService::Stub::TouchPrefix, touch, &touched).ok());
  EXPECT_EQ(touched.prefix().ttl().seconds(), 120);

  v1::GetPrefixRequest get;
  get.set_name("prefixes/cat");
  v1::GetPrefixResponse got;
  ASSERT_TRUE(Ask(&v1::PrefixService::Stub::GetPrefix, get, &got).ok());
  EXPECT_EQ(got.prefix().ttl().seconds(), 120);
  EXPECT_TRUE(Release("prefixes/cat").ok());
  EXPECT_EQ(Reason(Get("prefixes/cat")), "PREFIX_NOT_FOUND");
  EXPECT_EQ(Reason(Release("prefixes/cat")), "PREFIX_NOT_FOUND");
}

TEST_F(PrefixServiceTest, ListsInPages) {
  for (const char* id : {"c", "a", "b"}) ASSERT_TRUE(Create(Picture(id)).ok());
  std::vector<std::string> names;
  v1::ListPrefixesRequest request;
  request.set_page_size(2);
  for (int page = 0; page < 2; ++page) {
    v1::ListPrefixesResponse response;
    ASSERT_TRUE(Ask(&v1::PrefixService::Stub::ListPrefixes, request, &response).ok());
    for (const v1::Prefix& prefix : response.prefixes()) names.push_back(prefix.name());
    request.set_page_token(response.next_page_token());
  }
  EXPECT_THAT(names, ElementsAre("prefixes/a", "prefixes/b", "prefixes/c"));
  EXPECT_EQ(request.page_token(), "");
  request.set_page_size(1001);
  v1::ListPrefixesResponse response;
  EXPECT_EQ(Ask(&v1::PrefixService::Stub::ListPrefixes, request, &response).error_code(),
            grpc::StatusCode::INVALID_ARGUMENT);
}

// The name of another tenant's prefix says nothing: status, text and details are those of a name
// that never was.
TEST_F(PrefixServiceTest, KeepsPrefixesOfOtherTenantsSecret) {
  PrefixSpec foreign;
  foreign.tenant = "other";
  foreign.id = "secret";
  server_.engine.CreatePrefix(foreign, [](const auto& info) { ASSERT_TRUE(info.ok()); });
  const auto anonymous = [](const grpc::Status& status, const std::string& id) {
    std::string text =
        absl::StrCat(status.error_code(), " ", status.error_message(), " ",
                     GetDetail<google::rpc::ErrorInfo>(status).ShortDebugString(),
                     GetDetail<google::rpc::ResourceInfo>(status).ShortDebugString());
    for (size_t at; (at = text.find(id)) != std::string::npos;) text.replace(at, id.size(), "ID");
    return text;
  };
  EXPECT_EQ(anonymous(Get("prefixes/secret"), "secret"),
            anonymous(Get("prefixes/nobody"), "nobody"));
  EXPECT_EQ(anonymous(Touch("prefixes/secret"), "secret"),
            anonymous(Touch("prefixes/nobody"), "nobody"));
  EXPECT_EQ(anonymous(Release("prefixes/secret"), "secret"),
            anonymous(Release("prefixes/nobody"), "nobody"));
  EXPECT_TRUE(server_.engine.GetPrefix("other", "prefixes/secret").ok());
  v1::ListPrefixesResponse list;
  ASSERT_TRUE(Ask(&v1::PrefixService::Stub::ListPrefixes, v1::ListPrefixesRequest(), &list).ok());
  EXPECT_EQ(list.prefixes_size(), 0);
  // A tenant may take the same id for its own.
  EXPECT_TRUE(Create(Picture("secret")).ok());
}

TEST_F(PrefixServiceTest, SaysWhatWasNotFound) {
  const grpc::Status status = Get("prefixes/nobody");
  EXPECT_EQ(status.error_code(), grpc::StatusCode::NOT_FOUND);
  EXPECT_EQ(status.error_message(), "no prefix named prefixes/nobody (it may have expired)");
  EXPECT_EQ(Reason(status), "PREFIX_NOT_FOUND");
  const auto resource = GetDetail<google::rpc::ResourceInfo>(status);
  EXPECT_EQ(resource.resource_type(), "prefix");
  EXPECT_EQ(resource.resource_name(), "prefixes/nobody");
}

TEST_F(PrefixServiceTest, RefusesMalformedNames) {
  for (const std::string& name :
       {std::string(), std::string("cat"), std::string("prefixes/"), std::string("prefixes/../a"),
        std::string("prefixes/A"), "prefixes/" + std::string(64, 'a'), std::string(1 << 20, 'a')}) {
    for (const grpc::Status& status : {Get(name), Touch(name), Release(name)}) {
      EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT) << name.substr(0, 80);
      EXPECT_EQ(GetDetail<google::rpc::BadRequest>(status).field_violations(0).field(), "name");
    }
  }
}

TEST_F(PrefixServiceTest, RefusesBadRequestsBeforeTheEngineSeesThem) {
  v1::CreatePrefixRequest request = Picture("Cat");
  request.mutable_ttl()->set_seconds(0);
  const grpc::Status status = Create(request);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  const auto bad = GetDetail<google::rpc::BadRequest>(status);
  ASSERT_EQ(bad.field_violations_size(), 2);
  EXPECT_EQ(bad.field_violations(0).field(), "prefix_id");
  EXPECT_EQ(bad.field_violations(1).field(), "ttl");
  EXPECT_FALSE(GetDetail<google::rpc::RequestInfo>(status).request_id().empty());
  EXPECT_TRUE(server_.engine.created().empty());
  EXPECT_TRUE(WaitNoCalls());
}

TEST_F(PrefixServiceTest, PassesTheEnginesRefusalsOn) {
  ASSERT_TRUE(Create(Picture("cat")).ok());
  const grpc::Status twice = Create(Picture("cat"));
  EXPECT_EQ(twice.error_code(), grpc::StatusCode::ALREADY_EXISTS);
  EXPECT_EQ(Reason(twice), "PREFIX_EXISTS");
  server_.engine.SetCreateStatus(MakeError(absl::StatusCode::kResourceExhausted,
                                           reason::kTenantQuota, "1001 prefixes, the limit is 1000",
                                           {{"limit", "1000"}}));
  const grpc::Status full = Create(Picture("dog"));
  EXPECT_EQ(full.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_EQ(Reason(full), "TENANT_QUOTA");
  EXPECT_EQ(GetDetail<google::rpc::ErrorInfo>(full).metadata().at("limit"), "1000");
  server_.engine.SetCreateStatus(MakeError(absl::StatusCode::kNotFound, reason::kImageNotCached,
                                           "image 0 is not cached",
                                           {{"image_index", "0"}, {"sha256", "00ff"}}));
  EXPECT_EQ(Reason(Create(Picture("dog"))), "IMAGE_NOT_CACHED");
  EXPECT_TRUE(WaitNoCalls());
}

TEST_F(PrefixServiceTest, RefusesMoreThanItsBudgetOfBytes) {
  ASSERT_TRUE(server_.context.budget.Take(1u << 30));
  const grpc::Status status = Create(Picture("cat"));
  EXPECT_EQ(Reason(status), "QUEUE_FULL");
  server_.context.budget.Give(1u << 30);
  EXPECT_TRUE(server_.engine.created().empty());
}

// A call that waits for the engine.
struct Waiting {
  explicit Waiting(RunningServer* server, absl::Duration timeout = absl::Seconds(20)) {
    context.set_deadline(std::chrono::system_clock::now() + absl::ToChronoMilliseconds(timeout));
    thread = std::jthread([this, server] {
      status = server->prefixes->CreatePrefix(&context, Picture("cat"), &response);
    });
  }
  grpc::Status Wait() {
    thread.join();
    return status;
  }
  grpc::ClientContext context;
  v1::CreatePrefixResponse response;
  grpc::Status status;
  std::jthread thread;
};

TEST_F(PrefixServiceTest, AnswersWhenThePrefixIsThere) {
  server_.engine.HoldCreates();
  Waiting call(&server_);
  const std::function<void()> answer = server_.engine.TakeHeldCreate();
  ASSERT_TRUE(answer);
  EXPECT_EQ(server_.context.budget.calls(), 1);
  answer();
  EXPECT_TRUE(call.Wait().ok());
  EXPECT_EQ(call.response.prefix().name(), "prefixes/cat");
  EXPECT_TRUE(WaitNoCalls());
}

TEST_F(PrefixServiceTest, ACancelledCallEndsBeforeTheEngineAnswers) {
  server_.engine.HoldCreates();
  Waiting call(&server_);
  const std::function<void()> answer = server_.engine.TakeHeldCreate();
  ASSERT_TRUE(answer);
  call.context.TryCancel();
  EXPECT_EQ(call.Wait().error_code(), grpc::StatusCode::CANCELLED);
  EXPECT_TRUE(WaitNoCalls());
  answer();  // Reaches nobody.
  EXPECT_TRUE(Get("prefixes/nobody").error_code() == grpc::StatusCode::NOT_FOUND);
}

TEST_F(PrefixServiceTest, ACallOutOfTimeEndsBeforeTheEngineAnswers) {
  server_.engine.HoldCreates();
  Waiting call(&server_, absl::Milliseconds(100));
  const std::function<void()> answer = server_.engine.TakeHeldCreate();
  ASSERT_TRUE(answer);
  EXPECT_EQ(call.Wait().error_code(), grpc::StatusCode::DEADLINE_EXCEEDED);
  EXPECT_TRUE(WaitNoCalls());
  answer();
}

TEST(PrefixService, TheEngineMayAnswerAfterTheServerIsGone) {
  std::function<void()> answer;
  {
    RunningServer server;
    server.engine.HoldCreates();
    Waiting call(&server);
    answer = server.engine.TakeHeldCreate();
    ASSERT_TRUE(answer);
    server.server->Shutdown(absl::ZeroDuration());
    EXPECT_FALSE(call.Wait().ok());
  }
  answer();
}

TEST_F(PrefixServiceTest, CancelsAndAnswersRace) {
  server_.engine.HoldCreates();
  for (int i = 0; i < 50; ++i) {
    Waiting call(&server_);
    const std::function<void()> answer = server_.engine.TakeHeldCreate();
    ASSERT_TRUE(answer);
    std::jthread canceller([&] { call.context.TryCancel(); });
    answer();
    const grpc::Status status = call.Wait();
    EXPECT_TRUE(status.ok() || status.error_code() == grpc::StatusCode::CANCELLED);
  }
  EXPECT_TRUE(WaitNoCalls());
}

TEST_F(PrefixServiceTest, CarriesAPrefixIntoARequest) {
  v1::GenerateRequest request = Hello("a");
  request.set_prefix("prefixes/gone");
  Call call(&server_, request);
  EXPECT_EQ(server_.engine.WaitRequest().prefix, "prefixes/gone");
  server_.engine.Send(
      "a", FailedEvent{MakeError(absl::StatusCode::kNotFound, reason::kPrefixNotFound,
                                 "there is no such prefix", {{"prefix", "prefixes/gone"}})});
  const grpc::Status status = call.reader->Finish();
  EXPECT_EQ(Reason(status), "PREFIX_NOT_FOUND");
  EXPECT_THAT(GetDetail<google::rpc::ResourceInfo>(status).resource_name(),
              HasSubstr("prefixes/gone"));
}

}  // namespace
}  // namespace prefixd::testing
