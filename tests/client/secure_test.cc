// The client library and prefixctl against the real server with TLS, tenants and operators.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "client/client.h"
#include "server/grpc_server.h"
#include "tests/client/run_prefixctl.h"
#include "tests/server/certificates.h"
#include "tests/server/fake_engine.h"

namespace prefixd::testing {
namespace {

using ::testing::HasSubstr;

class Secure : public ::testing::Test {
 protected:
  Secure() {
    ServerOptions options;
    options.listen = options.admin_listen = "127.0.0.1:0";
    options.tenants_file = "t.yaml";  // Read by the daemon, not here.
    options.engine.tenants = {{.name = "acme"}};
    const Identity server = authority_.Issue({});
    options.tls_cert = files_.Write("cert.pem", server.certificate_pem());
    options.tls_key = files_.Write("key.pem", server.key_pem());
    options.tls_client_ca = files_.Write("client_ca.pem", clients_.certificate_pem());
    context_ = std::make_unique<ServingContext>(&engine_, &clock_, options);
    auto tokens = std::make_shared<TokenTable>();
    tokens->Add(Sha256Of("acme-token"), {.tenant = "acme"});
    tokens->Add(Sha256Of("operator-token"), {.is_operator = true});
    context_->auth.Install(tokens);
    auto started = GrpcServer::Start(context_.get());
    EXPECT_TRUE(started.ok()) << started.status();
    server_ = *std::move(started);
    server_->SetReady(true);
    files_.Write("ca.pem", authority_.certificate_pem());
    files_.Write("my_cert.pem", me_.certificate_pem());
    files_.Write("my_key.pem", me_.key_pem());
    files_.Write("token", "acme-token\n");
    files_.Write("operator", "operator-token\n");
  }

  std::string data() const { return absl::StrCat("127.0.0.1:", server_->port()); }
  std::string admin() const { return absl::StrCat("127.0.0.1:", server_->admin_port()); }

  ClientOptions Options(const std::string& token) const {
    ClientOptions options;
    options.token = token;
    options.admin_server = admin();
    options.tls = {.enabled = true,
                   .ca = authority_.certificate_pem(),
                   .cert = me_.certificate_pem(),
                   .key = me_.key_pem()};
    return options;
  }

  // Runs prefixctl with everything that it needs but the token.
  RunResult Run(std::vector<std::string> arguments) const {
    arguments.insert(
        arguments.end(),
        {"--server", data(), "--admin-server", admin(), "--tls-ca", files_.Path("ca.pem"),
         "--tls-cert", files_.Path("my_cert.pem"), "--tls-key", files_.Path("my_key.pem")});
    return RunPrefixctl(arguments);
  }

  TempFiles files_;
  const Identity authority_ = Identity::Authority("root");
  const Identity clients_ = Identity::Authority("clients");
  const Identity me_ = clients_.Issue({.name = "me"});
  FakeEngine engine_;
  MonotonicClock clock_;
  std::unique_ptr<ServingContext> context_;
  std::unique_ptr<GrpcServer> server_;
};

TEST_F(Secure, TheLibrarySendsTokenAndCertificate) {
  auto client = Client::Connect(data(), Options("acme-token"));
  ASSERT_TRUE(client.ok()) << client.status();
  const auto models = (*client)->ListModels();
  ASSERT_TRUE(models.ok()) << models.status();
  EXPECT_EQ((*models)[0].name(), "fake");
  EXPECT_TRUE((*client)
                  ->CountTokens([] {
                    v1::CountTokensRequest request;
                    request.mutable_prompt()->add_parts()->set_text("hello");
                    return request;
                  }())
                  .ok());
  // A tenant is no operator.
  EXPECT_TRUE(absl::IsPermissionDenied((*client)->GetServerInfo().status()));
  auto operators = Client::Connect(data(), Options("operator-token"));
  EXPECT_TRUE((*operators)->GetServerInfo().ok());
}

TEST_F(Secure, WithoutOneOfThemNothingIsAnswered) {
  auto anonymous = Client::Connect(data(), Options(""));
  const absl::Status status = (*anonymous)->ListModels().status();
  EXPECT_TRUE(absl::IsUnauthenticated(status));
  EXPECT_EQ(GetErrorDetail(status)->reason, "UNAUTHENTICATED");
  ClientOptions no_certificate = Options("acme-token");
  no_certificate.tls.cert = no_certificate.tls.key = "";
  EXPECT_TRUE(
      absl::IsUnavailable((*Client::Connect(data(), no_certificate))->ListModels().status()));
  ClientOptions wrong_ca = Options("acme-token");
  wrong_ca.tls.ca = clients_.certificate_pem();
  EXPECT_TRUE(absl::IsUnavailable((*Client::Connect(data(), wrong_ca))->ListModels().status()));
}

TEST_F(Secure, PrefixctlTakesTheTokenFromAFile) {
  const RunResult models = Run({"models", "--token-file", files_.Path("token")});
  EXPECT_EQ(models.exit_status, 0) << models.err;
  EXPECT_THAT(models.out, HasSubstr("fake"));
  const RunResult refused = Run({"models"});
  EXPECT_EQ(refused.exit_status, 1);
  EXPECT_THAT(refused.err, HasSubstr("a valid token is needed"));
  EXPECT_THAT(refused.err, HasSubstr("--token-file"));
  const RunResult flag = Run({"models", "--token", "acme-token"});
  EXPECT_EQ(flag.exit_status, 2);
  EXPECT_THAT(flag.err, HasSubstr("unknown flag --token"));
}

TEST_F(Secure, PrefixctlAsksTheAdminListener) {
  const RunResult ps = Run({"ps", "--token-file", files_.Path("operator")});
  EXPECT_EQ(ps.exit_status, 0) << ps.err;
  const RunResult tenant = Run({"ps", "--token-file", files_.Path("token")});
  EXPECT_EQ(tenant.exit_status, 1);
  EXPECT_THAT(tenant.err, HasSubstr("operator"));
  const RunResult version = Run({"version", "--token-file", files_.Path("operator")});
  EXPECT_THAT(version.out, HasSubstr(absl::StrCat("prefixd   ", PREFIXD_VERSION)));
  const RunResult quiet = Run({"version", "--token-file", files_.Path("token")});
  EXPECT_EQ(quiet.exit_status, 0);
  EXPECT_THAT(quiet.err, HasSubstr("does not tell its version"));
  // Health needs a certificate, but no token.
  EXPECT_EQ(Run({"health"}).exit_status, 0);
}

TEST(Client, ATokenStaysOnThisMachineUnlessItIsEncrypted) {
  ClientOptions options;
  options.token = "secret";
  EXPECT_TRUE(Client::Connect("127.0.0.1:1", options).ok());
  EXPECT_TRUE(Client::Connect("localhost:1", options).ok());
  EXPECT_TRUE(Client::Connect("[::1]:1", options).ok());
  for (const char* server : {"10.0.0.1:1", "example.org:1", "127.example.org:1", "[fd00::1]:1"}) {
    const auto client = Client::Connect(server, options);
    ASSERT_FALSE(client.ok()) << server;
    EXPECT_THAT(std::string(client.status().message()), HasSubstr("in plain text"));
  }
  options.admin_server = "10.0.0.1:1";
  EXPECT_FALSE(Client::Connect("127.0.0.1:1", options).ok());
  options.insecure = true;
  EXPECT_TRUE(Client::Connect("127.0.0.1:1", options).ok());
  options.insecure = false;
  options.tls.enabled = true;
  EXPECT_TRUE(Client::Connect("10.0.0.1:1", options).ok());
  options.token = "two words";
  EXPECT_FALSE(Client::Connect("10.0.0.1:1", options).ok());
  options.token = std::string(4097, 'x');
  EXPECT_FALSE(Client::Connect("10.0.0.1:1", options).ok());
}

TEST(Client, CertificatesComeWithTlsAndTheirKey) {
  ClientOptions options;
  options.tls.ca = "PEM";
  EXPECT_FALSE(Client::Connect("127.0.0.1:1", options).ok());
  options.tls = {.enabled = true, .cert = "PEM"};
  EXPECT_FALSE(Client::Connect("127.0.0.1:1", options).ok());
}

}  // namespace
}  // namespace prefixd::testing
