// Who is let in where: tokens, tenants, operators and the two listeners, over real connections.
#include <dirent.h>

#include <algorithm>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <google/protobuf/descriptor.h>
#include <grpcpp/generic/generic_stub.h>
#include <gtest/gtest.h>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "tests/server/server_fixture.h"

namespace prefixd::testing {
namespace {

using ::testing::AnyOf;

std::shared_ptr<const TokenTable> Tokens() {
  auto tokens = std::make_shared<TokenTable>();
  tokens->Add(Sha256Of("alpha-token"), {.tenant = "alpha", .max_priority = 5});
  tokens->Add(Sha256Of("beta-token"), {.tenant = "beta", .max_priority = -2});
  tokens->Add(Sha256Of("operator-token"), {.is_operator = true});
  return tokens;
}

ServerOptions TenantOptionsOfServer() {
  ServerOptions options = FakeOptions();
  options.admin_listen = "127.0.0.1:0";
  options.tenants_file = "t.yaml";  // Read by the daemon, not here.
  options.engine.tenants = {{.name = "alpha"}, {.name = "beta"}};
  return options;
}

// A server with two tenants and an operator, and both its listeners.
struct TenantServer {
  TenantServer() : server(TenantOptionsOfServer(), Tokens()) {
    admin = grpc::CreateChannel(absl::StrCat("127.0.0.1:", server.server->admin_port()),
                                grpc::InsecureChannelCredentials());
  }
  RunningServer server;
  std::shared_ptr<grpc::Channel> admin;
};

using Metadata = std::vector<std::pair<std::string, std::string>>;

Metadata Bearer(const std::string& token) { return {{"authorization", "Bearer " + token}}; }

// Calls any method with an empty message; of a stream it takes the status.
grpc::Status CallRaw(const std::shared_ptr<grpc::Channel>& channel, const std::string& method,
                     const Metadata& metadata, const std::string& message = "") {
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(20));
  for (const auto& [key, value] : metadata) context.AddMetadata(key, value);
  grpc::GenericStub stub(channel);
  grpc::CompletionQueue queue;
  const grpc::Slice slice(message);
  const auto call = stub.PrepareUnaryCall(&context, method, grpc::ByteBuffer(&slice, 1), &queue);
  call->StartCall();
  grpc::ByteBuffer response;
  grpc::Status status;
  call->Finish(&response, &status, nullptr);
  void* tag = nullptr;
  bool ok = false;
  EXPECT_TRUE(queue.Next(&tag, &ok));
  return status;
}

struct Method {
  std::string service;
  std::string path;  // "/prefixd.v1.ModelService/ListModels"
};

// All methods of prefixd.v1 as the .proto files have them.
std::vector<Method> AllMethods() {
  std::vector<Method> methods;
  DIR* const directory = opendir(PREFIXD_SOURCE_DIR "/proto/prefixd/v1");
  EXPECT_NE(directory, nullptr);
  while (const dirent* entry = readdir(directory)) {
    if (!absl::EndsWith(entry->d_name, ".proto")) continue;
    const auto* file = google::protobuf::DescriptorPool::generated_pool()->FindFileByName(
        absl::StrCat("prefixd/v1/", entry->d_name));
    // A file that is not linked has no service that could be served.
    for (int i = 0; file != nullptr && i < file->service_count(); ++i) {
      const auto* service = file->service(i);
      for (int j = 0; j < service->method_count(); ++j) {
        methods.push_back({service->full_name(), absl::StrCat("/", service->full_name(), "/",
                                                              service->method(j)->name())});
      }
    }
  }
  closedir(directory);
  return methods;
}

bool IsAdmin(const Method& method) { return method.service == "prefixd.v1.AdminService"; }

// Draining is tried on its own: it changes what the others answer.
bool Drains(const Method& method) { return absl::EndsWith(method.path, "/Drain"); }

TEST(Door, IsClosedForEveryMethodWithoutAToken) {
  TenantServer tenants;
  ASSERT_GE(AllMethods().size(), 9u);
  for (const Method& method : AllMethods()) {
    const auto data = CallRaw(tenants.server.channel, method.path, {});
    const auto admin = CallRaw(tenants.admin, method.path, {});
    const auto& own = IsAdmin(method) ? admin : data;
    const auto& other = IsAdmin(method) ? data : admin;
    EXPECT_EQ(own.error_code(), grpc::StatusCode::UNAUTHENTICATED)
        << method.path << ": list it in server/guarded_services.h; " << own.error_message();
    EXPECT_EQ(Reason(own), "UNAUTHENTICATED");
    EXPECT_EQ(other.error_code(), grpc::StatusCode::UNIMPLEMENTED) << method.path;
  }
  EXPECT_EQ(tenants.server.engine.num_submits(), 0);
  EXPECT_FALSE(tenants.server.engine.draining());
}

TEST(Door, OpensEveryMethodToItsOwnTokenOnly) {
  TenantServer tenants;
  for (const Method& method : AllMethods()) {
    if (Drains(method)) continue;
    const auto& channel = IsAdmin(method) ? tenants.admin : tenants.server.channel;
    const auto own =
        CallRaw(channel, method.path, Bearer(IsAdmin(method) ? "operator-token" : "alpha-token"));
    // An empty message is not a valid one everywhere; that the service says so is enough.
    EXPECT_THAT(own.error_code(), AnyOf(grpc::StatusCode::OK, grpc::StatusCode::INVALID_ARGUMENT))
        << method.path << ": " << own.error_message();
    const auto other =
        CallRaw(channel, method.path, Bearer(IsAdmin(method) ? "alpha-token" : "operator-token"));
    EXPECT_EQ(other.error_code(), grpc::StatusCode::PERMISSION_DENIED) << method.path;
    EXPECT_EQ(Reason(other), "PERMISSION_DENIED");
  }
  const char kDrain[] = "/prefixd.v1.AdminService/Drain";
  EXPECT_FALSE(CallRaw(tenants.admin, kDrain, Bearer("alpha-token")).ok());
  EXPECT_FALSE(tenants.server.engine.draining());
  EXPECT_TRUE(CallRaw(tenants.admin, kDrain, Bearer("operator-token")).ok());
  EXPECT_TRUE(tenants.server.engine.draining());
}

TEST(Door, HasOneAnswerToWhateverIsNoToken) {
  TenantServer tenants;
  const char kList[] = "/prefixd.v1.ModelService/ListModels";
  const std::string text = CallRaw(tenants.server.channel, kList, {}).error_message();
  EXPECT_EQ(text, "a valid token is needed: authorization: Bearer TOKEN");
  const Metadata two = {{"authorization", "Bearer alpha-token"},
                        {"authorization", "Bearer alpha-token"}};
  for (const Metadata& metadata :
       {Metadata{{"authorization", ""}}, Metadata{{"authorization", "Bearer"}},
        Metadata{{"authorization", "Bearer "}}, Metadata{{"authorization", "alpha-token"}},
        Metadata{{"authorization", "Basic alpha-token"}}, two, Bearer("wrong"),
        Bearer("alpha-toke"), Bearer("alpha-tokenx"), Bearer("alpha token"),
        Bearer(ToHex(Sha256Of("alpha-token"))), Bearer(std::string(4097, 'a'))}) {
    const grpc::Status status = CallRaw(tenants.server.channel, kList, metadata);
    EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAUTHENTICATED);
    EXPECT_EQ(status.error_message(), text);
    EXPECT_EQ(Reason(status), "UNAUTHENTICATED");
  }
  EXPECT_TRUE(CallRaw(tenants.server.channel, kList, Bearer("alpha-token")).ok());
  EXPECT_TRUE(
      CallRaw(tenants.server.channel, kList, {{"authorization", "bearer beta-token"}}).ok());
}

TEST(Door, TakesTheTenantFromTheTokenAlone) {
  TenantServer tenants;
  Metadata metadata = Bearer("alpha-token");
  metadata.emplace_back("x-tenant", "beta");
  metadata.emplace_back("x-smg-tenant-id", "beta");
  EXPECT_TRUE(CallRaw(tenants.server.channel, "/prefixd.v1.GenerationService/CountTokens", metadata,
                      [] {
                        v1::CountTokensRequest request;
                        request.mutable_prompt()->add_parts()->set_text("hello");
                        return request.SerializeAsString();
                      }())
                  .ok());
  ASSERT_EQ(tenants.server.engine.counted().size(), 1u);
  EXPECT_EQ(tenants.server.engine.counted()[0].tenant, "alpha");
}

TEST(Door, RefusesAPeerThatGuesses) {
  TenantServer tenants;
  const char kList[] = "/prefixd.v1.ModelService/ListModels";
  bool refused = false;
  for (int i = 0; i < 200 && !refused; ++i) {
    const grpc::Status status =
        CallRaw(tenants.server.channel, kList, Bearer(absl::StrCat("guess", i)));
    refused = status.error_code() == grpc::StatusCode::RESOURCE_EXHAUSTED;
    if (!refused) continue;
    EXPECT_EQ(Reason(status), "TOO_MANY_BAD_TOKENS");
    EXPECT_GE(i, 10);
  }
  EXPECT_TRUE(refused);
  // Another connection of this machine is another peer.
  EXPECT_TRUE(CallRaw(tenants.server.Connect({}), kList, Bearer("alpha-token")).ok());
}

TEST(Door, AWithdrawnTokenOpensNothing) {
  TenantServer tenants;
  const char kList[] = "/prefixd.v1.ModelService/ListModels";
  EXPECT_TRUE(CallRaw(tenants.server.channel, kList, Bearer("alpha-token")).ok());
  auto tokens = std::make_shared<TokenTable>();
  tokens->Add(Sha256Of("alpha-new"), {.tenant = "alpha"});
  tenants.server.context.auth.Install(tokens);
  EXPECT_EQ(CallRaw(tenants.server.channel, kList, Bearer("alpha-token")).error_code(),
            grpc::StatusCode::UNAUTHENTICATED);
  EXPECT_TRUE(CallRaw(tenants.server.channel, kList, Bearer("alpha-new")).ok());
}

// A Generate call of a tenant.
struct TenantCall {
  TenantCall(RunningServer* server, const std::string& tenant, const v1::GenerateRequest& request) {
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(20));
    context.AddMetadata("authorization", absl::StrCat("Bearer ", tenant, "-token"));
    reader = server->generation->Generate(&context, request);
  }
  grpc::ClientContext context;
  std::unique_ptr<grpc::ClientReader<v1::GenerateResponse>> reader;
};

TEST(Door, RequestIdsBelongToATenant) {
  TenantServer tenants;
  RunningServer& server = tenants.server;
  TenantCall alpha(&server, "alpha", Hello("same"));
  server.engine.WaitRequest(0);
  TenantCall beta(&server, "beta", Hello("same"));
  EXPECT_EQ(server.engine.WaitRequest(1).tenant, "beta");
  EXPECT_EQ(server.engine.num_live(), 2u);
  // The client that leaves ends its own request.
  alpha.context.TryCancel();
  EXPECT_EQ(server.engine.WaitCancelled(), "alpha/same");
  EXPECT_NE(server.engine.sink("beta/same"), nullptr);
  // An operator sees both tenants' ids.
  EXPECT_TRUE(CallRaw(tenants.admin, "/prefixd.v1.AdminService/AbortRequest",
                      Bearer("operator-token"),
                      [] {
                        v1::AbortRequestRequest request;
                        request.set_request_id("same");
                        return request.SerializeAsString();
                      }())
                  .ok());
  EXPECT_TRUE(server.engine.WaitIdle());
  EXPECT_EQ(beta.reader->Finish().error_code(), grpc::StatusCode::CANCELLED);
}

TEST(Door, PrioritiesAreLoweredToTheTenantsClass) {
  TenantServer tenants;
  RunningServer& server = tenants.server;
  const auto submit = [&](const std::string& tenant, int priority) {
    v1::GenerateRequest request = Hello(absl::StrCat(tenant, priority));
    request.set_priority(priority);
    const size_t n = static_cast<size_t>(server.engine.num_submits());
    TenantCall call(&server, tenant, request);
    const int32_t in_force = server.engine.WaitRequest(n).priority;
    call.context.TryCancel();
    call.reader->Finish();
    return in_force;
  };
  EXPECT_EQ(submit("alpha", 100), 5);
  EXPECT_EQ(submit("alpha", 5), 5);
  EXPECT_EQ(submit("alpha", 4), 4);
  EXPECT_EQ(submit("beta", 0), -2);
  EXPECT_TRUE(server.engine.WaitIdle());
}

TEST(Door, HealthIsOpenOnBothListeners) {
  TenantServer tenants;
  for (const auto& channel : {tenants.server.channel, tenants.admin}) {
    EXPECT_TRUE(CallRaw(channel, "/grpc.health.v1.Health/Check", {}).ok());
  }
}

TEST(Door, ReflectionIsNotServedBesideTenants) {
  TenantServer tenants;
  const char kReflect[] = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo";
  EXPECT_EQ(CallRaw(tenants.server.channel, kReflect, Bearer("alpha-token")).error_code(),
            grpc::StatusCode::UNIMPLEMENTED);
  EXPECT_EQ(CallRaw(tenants.admin, kReflect, Bearer("operator-token")).error_code(),
            grpc::StatusCode::UNIMPLEMENTED);
  // Other servers of the process serve it, which shows that the method's name is right.
  RunningServer open;
  EXPECT_NE(CallRaw(open.channel, kReflect, {}).error_code(), grpc::StatusCode::UNIMPLEMENTED);
}

TEST(Door, AdminServiceIsServedAtOnePlace) {
  const char kInfo[] = "/prefixd.v1.AdminService/GetServerInfo";
  {
    RunningServer plain;
    EXPECT_TRUE(CallRaw(plain.channel, kInfo, {}).ok());
    EXPECT_EQ(plain.server->admin_port(), 0);
  }
  {
    ServerOptions options = FakeOptions();
    options.admin_listen = "127.0.0.1:0";
    RunningServer apart(options);
    EXPECT_EQ(CallRaw(apart.channel, kInfo, {}).error_code(), grpc::StatusCode::UNIMPLEMENTED);
    const auto admin = grpc::CreateChannel(absl::StrCat("127.0.0.1:", apart.server->admin_port()),
                                           grpc::InsecureChannelCredentials());
    EXPECT_TRUE(CallRaw(admin, kInfo, {}).ok());
    EXPECT_EQ(CallRaw(admin, "/prefixd.v1.ModelService/ListModels", {}).error_code(),
              grpc::StatusCode::UNIMPLEMENTED);
  }
  ServerOptions options = TenantOptionsOfServer();
  options.admin_listen.clear();
  RunningServer tenants(options, Tokens());
  EXPECT_EQ(CallRaw(tenants.channel, kInfo, Bearer("operator-token")).error_code(),
            grpc::StatusCode::UNIMPLEMENTED);
}

TEST(Door, WithoutOperatorsTokensWhoeverReachesTheAdminListenerMayUseIt) {
  auto tokens = std::make_shared<TokenTable>();
  tokens->Add(Sha256Of("alpha-token"), {.tenant = "alpha"});
  RunningServer server(TenantOptionsOfServer(), tokens);
  const auto admin = grpc::CreateChannel(absl::StrCat("127.0.0.1:", server.server->admin_port()),
                                         grpc::InsecureChannelCredentials());
  EXPECT_TRUE(CallRaw(admin, "/prefixd.v1.AdminService/GetServerInfo", {}).ok());
}

TEST(Door, ATokenIsNotNeededWithoutTenants) {
  RunningServer server;
  EXPECT_TRUE(CallRaw(server.channel, "/prefixd.v1.ModelService/ListModels", Bearer("any")).ok());
}

}  // namespace
}  // namespace prefixd::testing
