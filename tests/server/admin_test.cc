// ModelService, AdminService, health and reflection.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/support/byte_buffer.h>

#include "server/admin_service.h"
#include "tests/server/server_fixture.h"

namespace prefixd::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

// Sends `request`, serialised, to a method without generated code and returns the answer's bytes.
grpc::Status CallRaw(RunningServer* server, const std::string& method, const std::string& request,
                     std::string* response) {
  grpc::GenericStub stub(server->channel);
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(10));
  grpc::CompletionQueue queue;
  const grpc::Slice slice(request);
  const grpc::ByteBuffer send(&slice, 1);
  auto call = stub.PrepareUnaryCall(&context, method, send, &queue);
  call->StartCall();
  grpc::ByteBuffer received;
  grpc::Status status;
  call->Finish(&received, &status, nullptr);
  void* tag = nullptr;
  bool ok = false;
  queue.Next(&tag, &ok);
  std::vector<grpc::Slice> slices;
  response->clear();
  if (received.Dump(&slices).ok()) {
    for (const grpc::Slice& part : slices) {
      response->append(reinterpret_cast<const char*>(part.begin()), part.size());
    }
  }
  return status;
}

// "SERVING", "NOT_SERVING" or "NOT_FOUND" for a service name.
std::string Health(RunningServer* server, const std::string& name) {
  std::string request;
  if (!name.empty()) {
    request = {'\x0a', static_cast<char>(name.size())};  // Field 1.
    request += name;
  }
  std::string response;
  const grpc::Status status = CallRaw(server, "/grpc.health.v1.Health/Check", request, &response);
  if (status.error_code() == grpc::StatusCode::NOT_FOUND) return "NOT_FOUND";
  EXPECT_TRUE(status.ok()) << status.error_message();
  return response == std::string("\x08\x01") ? "SERVING" : "NOT_SERVING";
}

constexpr const char* kLive[] = {"", "live", "liveness"};
constexpr const char* kReady[] = {"ready",
                                  "readiness",
                                  "prefixd.v1.GenerationService",
                                  "prefixd.v1.ModelService",
                                  "prefixd.v1.AdminService",
                                  "model/fake"};

TEST(Health, IsLiveAtOnceAndReadyWhenTold) {
  RunningServer server;
  for (const char* name : kLive) EXPECT_EQ(Health(&server, name), "SERVING") << name;
  for (const char* name : kReady) EXPECT_EQ(Health(&server, name), "NOT_SERVING") << name;
  server.server->SetReady(true);
  for (const char* name : kReady) EXPECT_EQ(Health(&server, name), "SERVING") << name;
  server.server->SetReady(false);
  for (const char* name : kLive) EXPECT_EQ(Health(&server, name), "SERVING") << name;
  for (const char* name : kReady) EXPECT_EQ(Health(&server, name), "NOT_SERVING") << name;
  EXPECT_EQ(Health(&server, "no.such.Service"), "NOT_FOUND");
}

TEST(Reflection, ListsTheServices) {
  RunningServer server;
  std::string response;
  // ServerReflectionRequest { list_services: "*" }, field 7.
  const grpc::Status status =
      CallRaw(&server, "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
              std::string("\x3a\x01*"), &response);
  EXPECT_TRUE(status.ok()) << status.error_message();
  for (const char* name : {"prefixd.v1.GenerationService", "prefixd.v1.ModelService",
                           "prefixd.v1.AdminService", "grpc.health.v1.Health"}) {
    EXPECT_THAT(response, HasSubstr(name));
  }
}

TEST(ModelService, DescribesTheModel) {
  RunningServer server;
  grpc::ClientContext context;
  v1::GetModelResponse response;
  ASSERT_TRUE(server.models->GetModel(&context, v1::GetModelRequest(), &response).ok());
  const v1::Model& model = response.model();
  EXPECT_EQ(model.name(), "fake");
  EXPECT_EQ(model.state(), v1::MODEL_STATE_SERVING);
  EXPECT_EQ(model.family(), "llava");
  EXPECT_EQ(model.weights_dtype(), "bf16");
  EXPECT_EQ(model.digest(), "d1ge57");
  EXPECT_EQ(model.num_parameters(), 1234u);
  EXPECT_EQ(model.image_token_id(), 7);
  EXPECT_THAT(model.eos_token_ids(), ElementsAre(2));
  EXPECT_TRUE(model.capabilities().chat());
  EXPECT_TRUE(model.capabilities().images());
  EXPECT_EQ(model.limits().context_length(), 100);
  EXPECT_EQ(model.limits().max_output_tokens(), 64);
  EXPECT_EQ(model.limits().max_images(), 2);
  EXPECT_EQ(model.limits().max_choices(), 8);
  EXPECT_EQ(model.limits().max_request_bytes(), 33554432u);
  EXPECT_EQ(model.limits().default_deadline().seconds(), 120);
  EXPECT_EQ(model.sampling_defaults().temperature(), 0.5f);
  EXPECT_TRUE(model.sampling_defaults().has_min_p());
  EXPECT_FALSE(model.sampling_defaults().has_seed());
  EXPECT_THAT(model.retention_policies(), ElementsAre("prefixkv", "h2o"));
  EXPECT_THAT(model.retention_profiles(), ElementsAre("demo", "llava-v1.5-7b"));
  EXPECT_EQ(model.retention_defaults().scope(), v1::RETENTION_SCOPE_OFF);
  EXPECT_EQ(model.retention_defaults().budget(), 0.5);
  EXPECT_TRUE(model.retention_defaults().has_profile());
  EXPECT_EQ(model.retention_defaults().distance(), -25);
}

TEST(ModelService, KnowsNoOtherModel) {
  RunningServer server;
  v1::GetModelRequest request;
  request.set_name("other");
  {
    grpc::ClientContext context;
    v1::GetModelResponse response;
    const grpc::Status status = server.models->GetModel(&context, request, &response);
    EXPECT_EQ(status.error_code(), grpc::StatusCode::NOT_FOUND);
    EXPECT_EQ(Reason(status), "MODEL_NOT_FOUND");
    EXPECT_EQ(GetDetail<google::rpc::ResourceInfo>(status).resource_name(), "other");
  }
  request.set_name("../x");
  grpc::ClientContext context;
  v1::GetModelResponse response;
  EXPECT_EQ(server.models->GetModel(&context, request, &response).error_code(),
            grpc::StatusCode::INVALID_ARGUMENT);
}

TEST(ModelService, ListsPages) {
  RunningServer server;
  {
    grpc::ClientContext context;
    v1::ListModelsResponse response;
    ASSERT_TRUE(server.models->ListModels(&context, v1::ListModelsRequest(), &response).ok());
    ASSERT_EQ(response.models_size(), 1);
    EXPECT_EQ(response.models(0).name(), "fake");
    EXPECT_EQ(response.next_page_token(), "");
  }
  grpc::ClientContext context;
  v1::ListModelsRequest request;
  request.set_page_size(-1);
  request.set_page_token("x");
  v1::ListModelsResponse response;
  const grpc::Status status = server.models->ListModels(&context, request, &response);
  EXPECT_EQ(GetDetail<google::rpc::BadRequest>(status).field_violations_size(), 2);
}

TEST(AdminService, TellsWhatRuns) {
  RunningServer server;
  grpc::ClientContext context;
  v1::GetServerInfoResponse response;
  ASSERT_TRUE(server.admin->GetServerInfo(&context, v1::GetServerInfoRequest(), &response).ok());
  EXPECT_EQ(response.version(), PREFIXD_VERSION);
  EXPECT_EQ(response.schema_revision(), kSchemaRevision);
  EXPECT_EQ(response.state(), v1::SERVER_STATE_SERVING);
  EXPECT_EQ(response.listen(), "127.0.0.1:" + std::to_string(server.server->port()));
  EXPECT_EQ(response.engine().level(), "avx512");
  EXPECT_EQ(response.engine().device(), "Fake Card");
  EXPECT_EQ(response.engine().threads(), 2);
  EXPECT_EQ(response.limits().max_queue(), 1024);
  EXPECT_EQ(response.limits().max_deadline().seconds(), 600);
}

TEST(AdminService, TellsHowPagesAreUsed) {
  RunningServer server;
  grpc::ClientContext context;
  v1::GetCacheStatsResponse response;
  ASSERT_TRUE(server.admin->GetCacheStats(&context, v1::GetCacheStatsRequest(), &response).ok());
  EXPECT_EQ(response.total_pages(), 10);
  EXPECT_EQ(response.free_pages(), 7);
  EXPECT_EQ(response.reserved_pages(), 1);
  EXPECT_EQ(response.page_bytes(), 256u);
  EXPECT_EQ(response.page_slots(), 16);
  EXPECT_EQ(response.total_bytes(), 2560u);
  EXPECT_EQ(response.used_bytes(), 768u);
}

TEST(AdminService, ListsRequestsInPages) {
  RunningServer server;
  server.engine.AddListed({.id = "a", .state = "queued", .age = absl::Seconds(2)});
  server.engine.AddListed({.id = "b", .state = "decode", .generated_tokens = 4, .kv_pages = 3});
  server.engine.AddListed({.id = "c", .state = "parked"});
  v1::ListRequestsRequest request;
  request.set_page_size(2);
  v1::ListRequestsResponse response;
  {
    grpc::ClientContext context;
    ASSERT_TRUE(server.admin->ListRequests(&context, request, &response).ok());
  }
  ASSERT_EQ(response.requests_size(), 2);
  EXPECT_EQ(response.requests(0).request_id(), "a");
  EXPECT_EQ(response.requests(0).state(), v1::REQUEST_STATE_QUEUED);
  EXPECT_EQ(response.requests(0).age().seconds(), 2);
  EXPECT_EQ(response.requests(1).kv_pages(), 3);
  EXPECT_EQ(response.waiting(), 3);
  request.set_page_token(response.next_page_token());
  grpc::ClientContext context;
  ASSERT_TRUE(server.admin->ListRequests(&context, request, &response).ok());
  ASSERT_EQ(response.requests_size(), 1);
  EXPECT_EQ(response.requests(0).state(), v1::REQUEST_STATE_PARKED);
  EXPECT_EQ(response.next_page_token(), "");
}

TEST(AdminService, AbortsARequest) {
  RunningServer server;
  Call call(&server, Hello("a"));
  server.engine.WaitRequest();
  v1::AbortRequestRequest request;
  v1::AbortRequestResponse response;
  request.set_request_id("a");
  {
    grpc::ClientContext context;
    ASSERT_TRUE(server.admin->AbortRequest(&context, request, &response).ok());
  }
  EXPECT_EQ(call.reader->Finish().error_code(), grpc::StatusCode::CANCELLED);
  {
    grpc::ClientContext context;
    const grpc::Status status = server.admin->AbortRequest(&context, request, &response);
    EXPECT_EQ(status.error_code(), grpc::StatusCode::NOT_FOUND);
    EXPECT_EQ(Reason(status), "REQUEST_NOT_FOUND");
  }
  request.set_request_id("");
  grpc::ClientContext context;
  EXPECT_EQ(server.admin->AbortRequest(&context, request, &response).error_code(),
            grpc::StatusCode::INVALID_ARGUMENT);
}

TEST(AdminService, DrainRefusesNewRequests) {
  RunningServer server;
  {
    grpc::ClientContext context;
    v1::DrainResponse response;
    ASSERT_TRUE(server.admin->Drain(&context, v1::DrainRequest(), &response).ok());
  }
  Call call(&server, Hello("a"));
  const grpc::Status status = call.reader->Finish();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(Reason(status), "DRAINING");
}

TEST(Transport, RefusesLargeMessages) {
  ServerOptions options = FakeOptions();
  options.max_request_bytes = 1 << 20;
  RunningServer server(options);
  v1::GenerateRequest request = Hello("a");
  request.mutable_prompt()->add_parts()->set_text(std::string(1 << 20, 'a'));
  Call call(&server, request);
  EXPECT_EQ(call.reader->Finish().error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_EQ(server.engine.num_submits(), 0);
}

TEST(Transport, RefusesCompressedMessages) {
  RunningServer server;
  grpc::ClientContext context;
  context.set_compression_algorithm(GRPC_COMPRESS_GZIP);
  v1::GenerateRequest request = Hello("a");
  request.mutable_prompt()->add_parts()->set_text(std::string(100000, 'a'));
  auto reader = server.generation->Generate(&context, request);
  EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::UNIMPLEMENTED);
  EXPECT_EQ(server.engine.num_submits(), 0);
}

TEST(Transport, ASecondServerOnTheSamePortFails) {
  RunningServer server;
  ServerOptions options = FakeOptions();
  options.listen = server.context.listen;
  ServingContext context(&server.engine, &server.clock, options);
  const auto second = GrpcServer::Start(&context);
  EXPECT_EQ(second.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(second.status().message()), HasSubstr(options.listen));
}

}  // namespace
}  // namespace prefixd::testing
