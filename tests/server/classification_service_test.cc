// Classify, Score and class sets over a real channel around a fake classifier.
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

using Stub = v1::ClassificationService::Stub;

v1::ClassifyRequest Picture(const std::string& id) {
  v1::ClassifyRequest request;
  request.set_request_id(id);
  request.mutable_query()->mutable_image()->set_data("\x89PNG");
  request.mutable_names()->add_names("cat");
  request.mutable_names()->add_names("dog");
  return request;
}

v1::CreateClassSetRequest Pets(const std::string& id) {
  v1::CreateClassSetRequest request;
  request.set_class_set_id(id);
  request.add_names("cat");
  request.add_names("dog");
  return request;
}

class ClassificationServiceTest : public ::testing::Test {
 protected:
  template <typename Response, typename Request>
  using Method = grpc::Status (Stub::*)(grpc::ClientContext*, const Request&, Response*);

  template <typename Response, typename Request>
  grpc::Status Ask(Method<Response, Request> method, const Request& request, Response* response) {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(20));
    return (server_.classification.get()->*method)(&context, request, response);
  }
  grpc::Status Create(const v1::CreateClassSetRequest& request) {
    v1::CreateClassSetResponse response;
    return Ask(&Stub::CreateClassSet, request, &response);
  }
  grpc::Status Get(const std::string& name) {
    v1::GetClassSetRequest request;
    request.set_name(name);
    v1::GetClassSetResponse response;
    return Ask(&Stub::GetClassSet, request, &response);
  }
  grpc::Status Delete(const std::string& name) {
    v1::DeleteClassSetRequest request;
    request.set_name(name);
    v1::DeleteClassSetResponse response;
    return Ask(&Stub::DeleteClassSet, request, &response);
  }
  // Waits until no call holds a part of the budget: the last one is over.
  bool WaitNoCalls() {
    for (int i = 0; i < 2000 && server_.context.budget.calls() > 0; ++i) {
      absl::SleepFor(absl::Milliseconds(5));
    }
    return server_.context.budget.calls() == 0 && server_.context.budget.bytes() == 0;
  }

  RunningServer server_;
  FakeClassifier& classifier_ = *server_.engine.classifier();
};

// A call that waits for the engine.
template <typename Request, typename Response>
struct Waiting {
  Waiting(RunningServer* server,
          grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&, Response*),
          Request request, absl::Duration timeout = absl::Seconds(20)) {
    context.set_deadline(std::chrono::system_clock::now() + absl::ToChronoMilliseconds(timeout));
    thread = std::jthread([this, server, method, request = std::move(request)] {
      status = (server->classification.get()->*method)(&context, request, &response);
    });
  }
  grpc::Status Wait() {
    thread.join();
    return status;
  }
  grpc::ClientContext context;
  Response response;
  grpc::Status status;
  std::jthread thread;
};

struct WaitingClassify : Waiting<v1::ClassifyRequest, v1::ClassifyResponse> {
  explicit WaitingClassify(RunningServer* server, v1::ClassifyRequest request = Picture("a"),
                           absl::Duration timeout = absl::Seconds(20))
      : Waiting(server, &Stub::Classify, std::move(request), timeout) {}
};

TEST_F(ClassificationServiceTest, ClassifyAnswersWithTheRanking) {
  WaitingClassify call(&server_);
  const ClassifyRequest request = classifier_.WaitRequest();
  EXPECT_EQ(request.id, "a");
  EXPECT_EQ(request.tenant, "");
  EXPECT_EQ(std::get<ClassQuery>(request.context).image->bytes, "\x89PNG");
  // The caller's deadline, not the server's default.
  EXPECT_LE(request.deadline - server_.clock.Now(), absl::Seconds(25));
  EXPECT_EQ(server_.context.budget.calls(), 1);
  ClassifyResult result{.request_id = "a",
                        .model = "fake",
                        .top = {{.index = 1,
                                 .name = "dog",
                                 .score = -0.5,
                                 .log_prob = -1.5,
                                 .num_tokens = 3,
                                 .probability = 0.75},
                                {.index = 0, .name = "cat", .score = -0.25}},
                        .scores = {-2.5, -0.5},
                        .probabilities = {0.25, 0.75},
                        .shots = {"emu", "elk"},
                        .usage = {.prompt_tokens = 5, .cached_prompt_tokens = 4},
                        .cache = {.hit_tokens = 4, .computed_tokens = 1},
                        .scoring = {.candidates = 2,
                                    .computed_rows = 3,
                                    .saved_rows = 4,
                                    .pruned_nodes = 5,
                                    .passes = 6,
                                    .context_hits = 7,
                                    .contexts = 8},
                        .timings = {.queue = absl::Milliseconds(1),
                                    .prefill = absl::Milliseconds(20),
                                    .first_token = absl::Milliseconds(300),
                                    .total = absl::Milliseconds(4000)}};
  ASSERT_TRUE(classifier_.Send("a", std::move(result)));
  ASSERT_TRUE(call.Wait().ok());
  const v1::ClassifyResponse& response = call.response;
  EXPECT_EQ(response.request_id(), "a");
  EXPECT_EQ(response.model(), "fake");
  ASSERT_EQ(response.top_size(), 2);
  EXPECT_EQ(response.top(0).index(), 1);
  EXPECT_EQ(response.top(0).name(), "dog");
  EXPECT_EQ(response.top(0).score(), -0.5);
  EXPECT_EQ(response.top(0).log_prob(), -1.5);
  EXPECT_EQ(response.top(0).num_tokens(), 3);
  EXPECT_EQ(response.top(0).probability(), 0.75);
  EXPECT_FALSE(response.top(1).has_probability());
  EXPECT_THAT(response.scores(), ElementsAre(-2.5, -0.5));
  EXPECT_THAT(response.probabilities(), ElementsAre(0.25, 0.75));
  EXPECT_THAT(response.shots(), ElementsAre("emu", "elk"));
  EXPECT_EQ(response.usage().cached_prompt_tokens(), 4);
  EXPECT_EQ(response.cache().computed_tokens(), 1);
  EXPECT_EQ(response.scoring().candidates(), 2);
  EXPECT_EQ(response.scoring().computed_rows(), 3);
  EXPECT_EQ(response.scoring().saved_rows(), 4);
  EXPECT_EQ(response.scoring().pruned_nodes(), 5);
  EXPECT_EQ(response.scoring().passes(), 6);
  EXPECT_EQ(response.scoring().context_hits(), 7);
  EXPECT_EQ(response.scoring().contexts(), 8);
  EXPECT_EQ(response.timings().total().seconds(), 4);
  EXPECT_FALSE(response.timings().has_first_token());
  const auto& headers = call.context.GetServerInitialMetadata();
  ASSERT_EQ(headers.count("x-request-id"), 1u);
  EXPECT_EQ(headers.find("x-request-id")->second, "a");
  EXPECT_TRUE(WaitNoCalls());
}

TEST_F(ClassificationServiceTest, ClassifyTakesItsIdFromTheMetadata) {
  v1::ClassifyRequest request = Picture("");
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(20));
  context.AddMetadata("x-request-id", "m");
  std::jthread engine([&] {
    EXPECT_EQ(classifier_.WaitRequest().id, "m");
    classifier_.Send("m", FakeClassifier::Ranked("m"));
  });
  v1::ClassifyResponse response;
  ASSERT_TRUE(server_.classification->Classify(&context, request, &response).ok());
  EXPECT_EQ(response.request_id(), "m");
}

TEST_F(ClassificationServiceTest, ClassifyRefusesWithAllViolations) {
  v1::ClassifyRequest request = Picture("a b");
  request.set_temperature(0);
  v1::ClassifyResponse response;
  const grpc::Status status = Ask(&Stub::Classify, request, &response);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(Reason(status), "PARAMETER_OUT_OF_RANGE");
  EXPECT_EQ(GetDetail<google::rpc::BadRequest>(status).field_violations_size(), 2);
  EXPECT_FALSE(GetDetail<google::rpc::RequestInfo>(status).request_id().empty());
  EXPECT_EQ(classifier_.num_classified(), 0u);
  EXPECT_TRUE(WaitNoCalls());
}

TEST_F(ClassificationServiceTest, ClassifyPassesTheEnginesErrorOn) {
  WaitingClassify call(&server_);
  classifier_.WaitRequest();
  classifier_.Send("a",
                   MakeError(absl::StatusCode::kNotFound, reason::kClassSetNotFound,
                             "no class set named classSets/x", {{"class_set", "classSets/x"}}));
  const grpc::Status status = call.Wait();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::NOT_FOUND);
  EXPECT_EQ(Reason(status), "CLASS_SET_NOT_FOUND");
  EXPECT_EQ(GetDetail<google::rpc::ResourceInfo>(status).resource_type(), "class_set");
  EXPECT_EQ(GetDetail<google::rpc::ResourceInfo>(status).resource_name(), "classSets/x");
  EXPECT_EQ(GetDetail<google::rpc::RequestInfo>(status).request_id(), "a");
  EXPECT_TRUE(WaitNoCalls());
}

TEST_F(ClassificationServiceTest, ClassifyRefusesMoreThanItsBudgetOfBytes) {
  ASSERT_TRUE(server_.context.budget.Take(1u << 30));
  v1::ClassifyResponse response;
  EXPECT_EQ(Reason(Ask(&Stub::Classify, Picture("a"), &response)), "QUEUE_FULL");
  server_.context.budget.Give(1u << 30);
  EXPECT_EQ(classifier_.num_classified(), 0u);
}

TEST_F(ClassificationServiceTest, CancellingAClassifyReachesTheEngine) {
  classifier_.IgnoreCancels();  // The call does not wait for the engine's answer.
  WaitingClassify call(&server_);
  classifier_.WaitRequest();
  call.context.TryCancel();
  EXPECT_EQ(call.Wait().error_code(), grpc::StatusCode::CANCELLED);
  EXPECT_THAT(classifier_.WaitCancelled(), ElementsAre("a"));
  EXPECT_TRUE(WaitNoCalls());
  EXPECT_TRUE(classifier_.Send("a", FakeClassifier::Ranked("a")));  // Reaches nobody.
}

TEST_F(ClassificationServiceTest, ADeadlineThatPassesReachesTheEngine) {
  WaitingClassify call(&server_, Picture("a"), absl::Milliseconds(200));
  classifier_.WaitRequest();
  EXPECT_EQ(call.Wait().error_code(), grpc::StatusCode::DEADLINE_EXCEEDED);
  EXPECT_THAT(classifier_.WaitCancelled(), ElementsAre("a"));
  EXPECT_TRUE(WaitNoCalls());
}

TEST_F(ClassificationServiceTest, AnIdThatLivesIsRefusedAndGoesOn) {
  WaitingClassify first(&server_);
  classifier_.WaitRequest();
  v1::ClassifyResponse response;
  EXPECT_EQ(Reason(Ask(&Stub::Classify, Picture("a"), &response)), "REQUEST_EXISTS");
  EXPECT_TRUE(classifier_.Send("a", FakeClassifier::Ranked("a")));
  EXPECT_TRUE(first.Wait().ok());
}

TEST_F(ClassificationServiceTest, CancelsAndAnswersRace) {
  for (int i = 0; i < 50; ++i) {
    const std::string id = absl::StrCat("r", i);
    WaitingClassify call(&server_, Picture(id));
    classifier_.WaitRequest(static_cast<size_t>(i));
    std::jthread canceller([&] { call.context.TryCancel(); });
    classifier_.Send(id, FakeClassifier::Ranked(id));
    const grpc::Status status = call.Wait();
    EXPECT_TRUE(status.ok() || status.error_code() == grpc::StatusCode::CANCELLED);
  }
  EXPECT_TRUE(WaitNoCalls());
}

TEST_F(ClassificationServiceTest, ScoreAnswersWithTokens) {
  v1::ScoreRequest request;
  request.set_request_id("s");
  request.mutable_prompt()->add_parts()->set_text("two and two is");
  request.add_continuations()->set_text(" four");
  request.set_echo(true);
  Waiting call(&server_, &Stub::Score, request);
  EXPECT_TRUE(classifier_.WaitScore().echo);
  ScoreResult result{
      .request_id = "s",
      .model = "fake",
      .continuations = {{.log_prob = -1.25,
                         .tokens = {{.token_id = 3, .token = "\xe2", .log_prob = -1.0f},
                                    {.token_id = 4, .token = "r", .log_prob = -0.25f}}}},
      .prompt = {{.token_id = 9, .token = "two"}},
      .usage = {.prompt_tokens = 4},
      .scoring = {.candidates = 1, .computed_rows = 2}};
  ASSERT_TRUE(classifier_.SendScore("s", std::move(result)));
  ASSERT_TRUE(call.Wait().ok());
  EXPECT_EQ(call.response.request_id(), "s");
  EXPECT_EQ(call.response.model(), "fake");
  ASSERT_EQ(call.response.continuations_size(), 1);
  EXPECT_EQ(call.response.continuations(0).log_prob(), -1.25);
  ASSERT_EQ(call.response.continuations(0).tokens_size(), 2);
  EXPECT_EQ(call.response.continuations(0).tokens(0).token_id(), 3);
  EXPECT_EQ(call.response.continuations(0).tokens(0).token(), "\xe2");
  EXPECT_EQ(call.response.continuations(0).tokens(1).log_prob(), -0.25f);
  ASSERT_EQ(call.response.prompt_size(), 1);
  EXPECT_EQ(call.response.prompt(0).token(), "two");
  EXPECT_FALSE(call.response.prompt(0).has_log_prob());
  EXPECT_EQ(call.response.usage().prompt_tokens(), 4);
  EXPECT_EQ(call.response.scoring().computed_rows(), 2);
}

TEST_F(ClassificationServiceTest, CancellingAScoreReachesTheEngine) {
  v1::ScoreRequest request;
  request.set_request_id("s");
  request.mutable_prompt()->add_parts()->set_text("x");
  request.set_echo(true);
  Waiting call(&server_, &Stub::Score, request);
  classifier_.WaitScore();
  call.context.TryCancel();
  EXPECT_EQ(call.Wait().error_code(), grpc::StatusCode::CANCELLED);
  EXPECT_THAT(classifier_.WaitCancelled(), ElementsAre("s"));
}

TEST_F(ClassificationServiceTest, ServesASetUntilItIsDeleted) {
  // 60 s after the set of the fake was made.
  server_.context.wall_start = absl::FromUnixSeconds(1'700'000'060);
  v1::CreateClassSetRequest request = Pets("pets");
  request.set_label_prefix(" ");
  request.mutable_prompt()->set_question("Which pet?");
  v1::CreateClassSetResponse created;
  ASSERT_TRUE(Ask(&Stub::CreateClassSet, request, &created).ok());
  const v1::ClassSet& set = created.class_set();
  EXPECT_EQ(set.name(), "classSets/pets");
  EXPECT_EQ(set.num_names(), 2);
  EXPECT_EQ(set.num_tokens(), 70);
  EXPECT_EQ(set.internal_nodes(), 30);
  EXPECT_EQ(set.stored_bytes(), 500u);
  EXPECT_EQ(set.label_prefix(), " ");
  EXPECT_EQ(set.prompt().question(), "Which pet?");
  EXPECT_EQ(set.prompt().separator(), "\n");
  EXPECT_EQ(set.names_size(), 0);
  EXPECT_EQ(set.create_time().seconds(), 1'700'000'000);
  EXPECT_GE(set.age().seconds(), 60);
  EXPECT_LT(set.age().seconds(), 90);
  EXPECT_EQ(set.requests(), 9u);
  EXPECT_EQ(classifier_.created().at(0).id, "pets");

  v1::GetClassSetRequest get;
  get.set_name("classSets/pets");
  v1::GetClassSetResponse got;
  ASSERT_TRUE(Ask(&Stub::GetClassSet, get, &got).ok());
  EXPECT_THAT(got.class_set().names(), ElementsAre("cat", "dog"));

  EXPECT_TRUE(Delete("classSets/pets").ok());
  EXPECT_EQ(Reason(Get("classSets/pets")), "CLASS_SET_NOT_FOUND");
  EXPECT_EQ(Reason(Delete("classSets/pets")), "CLASS_SET_NOT_FOUND");
  EXPECT_TRUE(WaitNoCalls());
}

TEST_F(ClassificationServiceTest, ListsInPages) {
  for (const char* id : {"b", "a", "c"}) ASSERT_TRUE(Create(Pets(id)).ok());
  v1::ListClassSetsRequest request;
  request.set_page_size(2);
  v1::ListClassSetsResponse page;
  ASSERT_TRUE(Ask(&Stub::ListClassSets, request, &page).ok());
  ASSERT_EQ(page.class_sets_size(), 2);
  EXPECT_EQ(page.class_sets(0).name(), "classSets/a");
  EXPECT_EQ(page.class_sets(0).names_size(), 0);
  EXPECT_EQ(page.class_sets(1).name(), "classSets/b");
  request.set_page_token(page.next_page_token());
  ASSERT_TRUE(Ask(&Stub::ListClassSets, request, &page).ok());
  ASSERT_EQ(page.class_sets_size(), 1);
  EXPECT_EQ(page.class_sets(0).name(), "classSets/c");
  EXPECT_EQ(page.next_page_token(), "");
  request.set_page_size(1001);
  EXPECT_EQ(Reason(Ask(&Stub::ListClassSets, request, &page)), "PARAMETER_OUT_OF_RANGE");
  request.set_page_size(0);
  request.set_page_token("x");
  EXPECT_EQ(Reason(Ask(&Stub::ListClassSets, request, &page)), "PARAMETER_OUT_OF_RANGE");
}

TEST_F(ClassificationServiceTest, RefusesMalformedNamesOfSets) {
  for (const grpc::Status& status : {Get("pets"), Delete("classSets/A"), Create(Pets("A"))}) {
    EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
    EXPECT_EQ(Reason(status), "PARAMETER_OUT_OF_RANGE");
  }
  EXPECT_TRUE(classifier_.created().empty());
}

TEST_F(ClassificationServiceTest, CreatePassesTheEnginesRefusalsOn) {
  ASSERT_TRUE(Create(Pets("pets")).ok());
  const grpc::Status twice = Create(Pets("pets"));
  EXPECT_EQ(twice.error_code(), grpc::StatusCode::ALREADY_EXISTS);
  EXPECT_EQ(Reason(twice), "CLASS_SET_EXISTS");
  classifier_.SetCreateStatus(MakeError(absl::StatusCode::kResourceExhausted, reason::kTenantQuota,
                                        "1001 class sets, the limit is 1000", {{"limit", "1000"}}));
  const grpc::Status full = Create(Pets("more"));
  EXPECT_EQ(full.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_EQ(Reason(full), "TENANT_QUOTA");
  EXPECT_TRUE(WaitNoCalls());
}

TEST_F(ClassificationServiceTest, CreateWantsTheBytesOfPictures) {
  v1::CreateClassSetRequest request = Pets("pets");
  v1::Demonstration* demonstration = request.add_demonstrations();
  demonstration->set_label("cat");
  demonstration->mutable_image()->set_image_sha256(std::string(32, 'x'));
  const grpc::Status status = Create(request);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::NOT_FOUND);
  EXPECT_EQ(Reason(status), "IMAGE_NOT_CACHED");
  EXPECT_EQ(GetDetail<google::rpc::ErrorInfo>(status).metadata().at("image_index"), "0");
}

TEST_F(ClassificationServiceTest, ACancelledCreateEndsBeforeTheEngineAnswers) {
  classifier_.HoldCreates();
  Waiting call(&server_, &Stub::CreateClassSet, Pets("pets"));
  const std::function<void()> answer = classifier_.TakeHeldCreate();
  ASSERT_TRUE(answer);
  call.context.TryCancel();
  EXPECT_EQ(call.Wait().error_code(), grpc::StatusCode::CANCELLED);
  EXPECT_TRUE(WaitNoCalls());
  answer();  // Reaches nobody.
}

// --- Tenants ----------------------------------------------------------------------------------

std::shared_ptr<const TokenTable> Tokens() {
  auto tokens = std::make_shared<TokenTable>();
  tokens->Add(Sha256Of("alpha-token"), {.tenant = "alpha", .max_priority = 5});
  tokens->Add(Sha256Of("beta-token"), {.tenant = "beta", .max_priority = 5});
  return tokens;
}

ServerOptions OptionsWithTenants() {
  ServerOptions options = FakeOptions();
  options.tenants_file = "t.yaml";  // Read by the daemon, not here.
  options.engine.tenants = {{.name = "alpha"}, {.name = "beta"}};
  return options;
}

template <typename Request, typename Response>
grpc::Status AskAs(RunningServer* server, const std::string& tenant,
                   grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&, Response*),
                   const Request& request, Response* response) {
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(20));
  if (!tenant.empty()) {
    context.AddMetadata("authorization", absl::StrCat("Bearer ", tenant, "-token"));
  }
  return (server->classification.get()->*method)(&context, request, response);
}

TEST(ClassificationTenants, ANameOfAnotherTenantIsOneThatNeverWas) {
  RunningServer server(OptionsWithTenants(), Tokens());
  v1::CreateClassSetResponse created;
  ASSERT_TRUE(AskAs(&server, "alpha", &Stub::CreateClassSet, Pets("pets"), &created).ok());
  ASSERT_TRUE(AskAs(&server, "alpha", &Stub::CreateClassSet, Pets("other"), &created).ok());
  ASSERT_TRUE(AskAs(&server, "beta", &Stub::CreateClassSet, Pets("other"), &created).ok());
  const auto get = [&](const std::string& tenant) {
    v1::GetClassSetRequest request;
    request.set_name("classSets/pets");
    v1::GetClassSetResponse response;
    return AskAs(&server, tenant, &Stub::GetClassSet, request, &response);
  };
  const auto forget = [&](const std::string& tenant) {
    v1::DeleteClassSetRequest request;
    request.set_name("classSets/pets");
    v1::DeleteClassSetResponse response;
    return AskAs(&server, tenant, &Stub::DeleteClassSet, request, &response);
  };
  EXPECT_TRUE(get("alpha").ok());
  const grpc::Status foreign_get = get("beta");
  const grpc::Status foreign_delete = forget("beta");
  v1::ListClassSetsResponse list;
  ASSERT_TRUE(AskAs(&server, "beta", &Stub::ListClassSets, v1::ListClassSetsRequest(), &list).ok());
  EXPECT_EQ(list.class_sets_size(), 1);
  ASSERT_TRUE(forget("alpha").ok());
  // Now it is nobody's: the same words.
  for (const grpc::Status& status :
       {foreign_get, foreign_delete, get("alpha"), get("beta"), forget("beta"), forget("alpha")}) {
    EXPECT_EQ(status.error_code(), grpc::StatusCode::NOT_FOUND);
    EXPECT_EQ(status.error_message(), "no class set named classSets/pets");
    EXPECT_EQ(Reason(status), "CLASS_SET_NOT_FOUND");
    EXPECT_EQ(GetDetail<google::rpc::ErrorInfo>(status).metadata_size(), 1);
  }
}

TEST(ClassificationTenants, RequestsHaveTheCallersTenantAndClass) {
  RunningServer server(OptionsWithTenants(), Tokens());
  FakeClassifier& classifier = *server.engine.classifier();
  std::jthread engine([&] {
    const ClassifyRequest request = classifier.WaitRequest();
    EXPECT_EQ(request.tenant, "alpha");
    EXPECT_EQ(request.priority, 5);
    classifier.Send("alpha/a", FakeClassifier::Ranked("a"));
  });
  v1::ClassifyRequest request = Picture("a");
  request.set_priority(50);
  v1::ClassifyResponse response;
  EXPECT_TRUE(AskAs(&server, "alpha", &Stub::Classify, request, &response).ok());
  const grpc::Status nobody = AskAs(&server, "", &Stub::Classify, request, &response);
  EXPECT_EQ(nobody.error_code(), grpc::StatusCode::UNAUTHENTICATED);
  EXPECT_EQ(classifier.num_classified(), 1u);
}

// The engine may answer when its caller and the server are gone.
TEST(Classification, TheEngineMayAnswerAfterTheServerIsGone) {
  FakeClassifier::ClassifyDone late;
  {
    RunningServer server;
    FakeClassifier& classifier = *server.engine.classifier();
    classifier.IgnoreCancels();
    WaitingClassify call(&server);
    classifier.WaitRequest();
    server.server->Shutdown(absl::ZeroDuration());
    EXPECT_FALSE(call.Wait().ok());
    late = classifier.TakeDone("a");
    ASSERT_TRUE(late);
  }
  late(FakeClassifier::Ranked("a"));
}

}  // namespace
}  // namespace prefixd::testing
