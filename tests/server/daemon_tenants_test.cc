// Tenants, certificates and the admin listener in the daemon's life: what keeps it from starting,
// and what a reload changes.
#include <unistd.h>

#include <chrono>
#include <fstream>
#include <future>
#include <string>
#include <thread>

#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "base/sha256.h"
#include "prefixd/v1/admin_service.grpc.pb.h"
#include "prefixd/v1/model_service.grpc.pb.h"
#include "server/daemon.h"
#include "tests/server/certificates.h"
#include "tests/server/fake_engine.h"

namespace prefixd::testing {
namespace {

std::string Tenant(const std::string& name, const std::string& token) {
  return absl::StrCat("  - name: ", name, "\n    token_sha256: ", ToHex(Sha256Of(token)), "\n");
}

class DaemonTenants : public ::testing::Test {
 protected:
  DaemonTenants() {
    options_.listen = "127.0.0.1:0";
    options_.port_file = files_.Path("port");
    options_.drain_delay = absl::ZeroDuration();
  }
  ~DaemonTenants() override {
    stop_.Raise();
    stop_.Raise();
  }

  void Start() {
    exit_ = std::async(std::launch::async, [this] {
      return RunDaemon(
          options_,
          [this](const EngineOptions& options,
                 const Clock*) -> absl::StatusOr<std::unique_ptr<Engine>> {
            engine_tenants_.set_value(options.tenants);
            return std::make_unique<FakeEngine>();
          },
          &clock_, &stop_);
    });
  }

  int Exit() {
    if (exit_.wait_for(std::chrono::seconds(20)) != std::future_status::ready) return -1;
    return exit_.get();
  }

  // The exit status of a daemon that should not start, and that nothing was written.
  int ExitWithoutListening() {
    Start();
    const int status = Exit();
    EXPECT_FALSE(std::ifstream(options_.port_file).good());
    return status;
  }

  std::shared_ptr<grpc::Channel> Connect(const std::string& port_file) {
    int port = 0;
    for (int i = 0; i < 1000 && port == 0; ++i) {
      std::ifstream file(port_file);
      if (!(file >> port)) std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    EXPECT_GT(port, 0);
    return grpc::CreateChannel(absl::StrCat("127.0.0.1:", port),
                               grpc::InsecureChannelCredentials());
  }

  // Whether a token opens the data listener.
  bool Opens(const std::shared_ptr<grpc::Channel>& channel, const std::string& token) {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(20));
    context.AddMetadata("authorization", "Bearer " + token);
    v1::ListModelsResponse response;
    return v1::ModelService::NewStub(channel)->ListModels(&context, {}, &response).ok();
  }

  TempFiles files_;
  ServerOptions options_;
  MonotonicClock clock_;
  StopSignal stop_;
  std::promise<std::vector<TenantOptions>> engine_tenants_;
  std::future<int> exit_;
};

TEST_F(DaemonTenants, ExitsWith78ForATenantsFileThatCannotBeUsed) {
  options_.tenants_file =
      files_.Write("t.yaml", absl::StrCat("tenants:\n", Tenant("a", "x"), "x: 1\n"));
  EXPECT_EQ(ExitWithoutListening(), 78);
}

TEST_F(DaemonTenants, ExitsWith78ForATenantsFileOpenToEverybody) {
  options_.tenants_file =
      files_.Write("t.yaml", absl::StrCat("tenants:\n", Tenant("a", "x")), 0644);
  EXPECT_EQ(ExitWithoutListening(), 78);
}

TEST_F(DaemonTenants, ExitsWith78ForCertificatesThatCannotBeUsed) {
  options_.tls_cert = files_.Write("cert.pem", "no certificate");
  options_.tls_key = files_.Write("key.pem", "no key");
  EXPECT_EQ(ExitWithoutListening(), 78);
}

TEST_F(DaemonTenants, ExitsWith78ForAnAdminListenerThatAnybodyCanReach) {
  const Identity authority = Identity::Authority("root");
  const Identity server = authority.Issue({});
  options_.tenants_file = files_.Write("t.yaml", absl::StrCat("tenants:\n", Tenant("a", "x")));
  options_.tls_cert = files_.Write("cert.pem", server.certificate_pem());
  options_.tls_key = files_.Write("key.pem", server.key_pem());
  options_.admin_listen = "0.0.0.0:0";
  EXPECT_EQ(ExitWithoutListening(), 78);
}

TEST_F(DaemonTenants, GivesTheEngineItsTenants) {
  options_.tenants_file = files_.Write(
      "t.yaml", absl::StrCat("tenants:\n", Tenant("a", "x"), "    weight: 3\n", Tenant("b", "y")));
  Start();
  const std::vector<TenantOptions> tenants = engine_tenants_.get_future().get();
  ASSERT_EQ(tenants.size(), 2u);
  EXPECT_EQ(tenants[0].name, "a");
  EXPECT_EQ(tenants[0].weight, 3);
  EXPECT_EQ(tenants[1].name, "b");
  const auto channel = Connect(options_.port_file);
  EXPECT_TRUE(Opens(channel, "x"));
  EXPECT_FALSE(Opens(channel, "z"));
  stop_.Raise();
  EXPECT_EQ(Exit(), 0);
}

TEST_F(DaemonTenants, AReloadTakesNewTokensOrKeepsTheOldOnes) {
  options_.tenants_file = files_.Write("t.yaml", absl::StrCat("tenants:\n", Tenant("a", "old")));
  Start();
  const auto channel = Connect(options_.port_file);
  ASSERT_TRUE(Opens(channel, "old"));

  files_.Write("t.yaml", absl::StrCat("tenants:\n", Tenant("a", "new")));
  stop_.RaiseReload();
  for (int i = 0; i < 500 && !Opens(channel, "new"); ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(120));  // Below ten failures a second.
  }
  EXPECT_TRUE(Opens(channel, "new"));
  EXPECT_FALSE(Opens(channel, "old"));

  files_.Write("t.yaml", "broken: [");
  stop_.RaiseReload();
  for (int i = 0; i < 500 && stop_.TakeReload(); ++i) {
    stop_.RaiseReload();
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  EXPECT_TRUE(Opens(channel, "new"));
  stop_.Raise();
  EXPECT_EQ(Exit(), 0);
}

TEST_F(DaemonTenants, WritesThePortOfTheAdminListener) {
  options_.admin_listen = "127.0.0.1:0";
  options_.admin_port_file = files_.Path("admin_port");
  Start();
  grpc::ClientContext context;
  v1::GetServerInfoResponse info;
  const auto admin = Connect(options_.admin_port_file);
  EXPECT_TRUE(v1::AdminService::NewStub(admin)->GetServerInfo(&context, {}, &info).ok());
  stop_.Raise();
  EXPECT_EQ(Exit(), 0);
}

}  // namespace
}  // namespace prefixd::testing
