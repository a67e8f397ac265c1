// Certificate files: what is refused at the start, what is taken while the server runs, and who may
// connect.
#include <chrono>
#include <string>

#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "client/health.h"
#include "server/tls_credentials.h"
#include "server/tls_files.h"
#include "tests/server/certificates.h"
#include "tests/server/server_fixture.h"

namespace prefixd::testing {
namespace {

using ::testing::HasSubstr;

// An authority, a server's certificate of it and their files.
struct Pair {
  Pair() { Put(identity); }
  void Put(const Identity& server) const {
    files.Write("key.pem", server.key_pem());
    files.Write("cert.pem", server.certificate_pem(), 0644);
  }
  TlsPaths paths() const {
    return {.cert = files.Path("cert.pem"), .key = files.Path("key.pem"), .client_ca = client_ca};
  }
  std::string Error() const {
    const auto loaded = LoadTls(paths(), absl::Now());
    return loaded.ok() ? "" : std::string(loaded.status().message());
  }

  TempFiles files;
  Identity authority = Identity::Authority("root");
  Identity identity = authority.Issue({});
  std::string client_ca;
};

TEST(TlsFiles, AGoodPairIsTaken) {
  Pair pair;
  pair.client_ca = pair.files.Write("ca.pem", pair.authority.certificate_pem(), 0644);
  const auto loaded = LoadTls(pair.paths(), absl::Now());
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  EXPECT_EQ(loaded->cert, pair.identity.certificate_pem());
  EXPECT_EQ(loaded->key, pair.identity.key_pem());
  EXPECT_EQ(loaded->client_ca, pair.authority.certificate_pem());
  EXPECT_NEAR(absl::ToDoubleHours(loaded->expires - absl::Now()), 1000, 0.1);
}

TEST(TlsFiles, AChainIsTaken) {
  Pair pair;
  pair.files.Write("cert.pem",
                   absl::StrCat("Subject: words before are allowed\n",
                                pair.identity.certificate_pem(), pair.authority.certificate_pem()));
  EXPECT_EQ(pair.Error(), "");
  pair.files.Write("cert.pem", absl::StrCat(pair.identity.certificate_pem(),
                                            "-----BEGIN CERTIFICATE-----\nAAAA\n"));
  EXPECT_THAT(pair.Error(), HasSubstr("certificate 2 is damaged"));
}

TEST(TlsFiles, WhatCannotServeIsRefusedByName) {
  Pair pair;
  const std::string cert = pair.files.Path("cert.pem"), key = pair.files.Path("key.pem");

  pair.Put(pair.authority.Issue({.ends_in = -absl::Minutes(1)}));
  EXPECT_THAT(pair.Error(), HasSubstr(absl::StrCat(cert, ": expired at ")));
  pair.Put(pair.authority.Issue({.starts_in = absl::Hours(1)}));
  EXPECT_THAT(pair.Error(), HasSubstr(absl::StrCat(cert, ": not valid before ")));

  pair.Put(pair.identity);
  pair.files.Write("key.pem", pair.authority.Issue({}).key_pem());
  EXPECT_EQ(pair.Error(), absl::StrCat(key, ": is not the key of ", cert));
  pair.files.Write("key.pem", pair.identity.encrypted_key_pem());
  EXPECT_THAT(pair.Error(), HasSubstr("the key is encrypted"));
  pair.files.Write("key.pem", "no key");
  EXPECT_EQ(pair.Error(), absl::StrCat(key, ": has no private key in PEM form"));
  pair.files.Write("key.pem", pair.identity.key_pem(), 0644);
  EXPECT_THAT(pair.Error(), HasSubstr("has mode 0644, open to everybody"));
  pair.files.Write("key.pem", pair.identity.key_pem(), 0640);
  EXPECT_EQ(pair.Error(), "");

  pair.files.Write("cert.pem", "no certificate");
  EXPECT_EQ(pair.Error(), absl::StrCat(cert, ": has no certificate in PEM form"));
  pair.files.Write("cert.pem", std::string((1 << 20) + 1, 'x'));
  EXPECT_THAT(pair.Error(), HasSubstr("the limit is 1048576"));

  pair.Put(pair.identity);
  pair.client_ca = pair.files.Write("ca.pem", "");
  EXPECT_THAT(pair.Error(), HasSubstr("ca.pem: has no certificate"));
  pair.client_ca = "/nowhere/ca.pem";
  EXPECT_THAT(pair.Error(), HasSubstr("/nowhere/ca.pem: cannot open"));
}

// A server with health alone, whose files are looked at with every handshake.
struct HealthServer {
  explicit HealthServer(const Pair& pair) {
    auto made = MakeTlsCredentials(pair.paths(), absl::ZeroDuration());
    EXPECT_TRUE(made.ok()) << made.status();
    credentials = *made;
    grpc::EnableDefaultHealthCheckService(true);
    grpc::ServerBuilder builder;
    builder.AddListeningPort("127.0.0.1:0", credentials, &port);
    server = builder.BuildAndStart();
  }
  ~HealthServer() {
    server->Shutdown(std::chrono::system_clock::now());
    server->Wait();
  }
  std::shared_ptr<grpc::ServerCredentials> credentials;
  std::unique_ptr<grpc::Server> server;
  int port = 0;
};

// A connection of its own that trusts `root`, showing `client` if it is given.
std::shared_ptr<grpc::Channel> Connect(int port, const Identity& root,
                                       const Identity* client = nullptr) {
  grpc::SslCredentialsOptions options;
  options.pem_root_certs = root.certificate_pem();
  if (client != nullptr) {
    options.pem_cert_chain = client->certificate_pem();
    options.pem_private_key = client->key_pem();
  }
  grpc::ChannelArguments arguments;
  arguments.SetInt("grpc.use_local_subchannel_pool", 1);
  return grpc::CreateCustomChannel(absl::StrCat("127.0.0.1:", port), grpc::SslCredentials(options),
                                   arguments);
}

absl::StatusCode Connects(const std::shared_ptr<grpc::Channel>& channel) {
  return CheckHealth(channel, "", absl::Seconds(20)).status().code();
}

TEST(Tls, AClientThatTrustsTheAuthorityConnects) {
  Pair pair;
  HealthServer server(pair);
  EXPECT_EQ(Connects(Connect(server.port, pair.authority)), absl::StatusCode::kOk);
  EXPECT_EQ(Connects(Connect(server.port, Identity::Authority("other"))),
            absl::StatusCode::kUnavailable);
  EXPECT_EQ(Connects(grpc::CreateChannel(absl::StrCat("127.0.0.1:", server.port),
                                         grpc::InsecureChannelCredentials())),
            absl::StatusCode::kUnavailable);
}

TEST(Tls, WithAClientAuthorityClientsNeedItsCertificate) {
  Pair pair;
  const Identity clients = Identity::Authority("clients");
  pair.client_ca = pair.files.Write("ca.pem", clients.certificate_pem());
  HealthServer server(pair);
  const Identity good = clients.Issue({.name = "client"});
  const Identity expired = clients.Issue({.name = "late", .ends_in = -absl::Minutes(1)});
  const Identity foreign = pair.authority.Issue({.name = "client"});
  EXPECT_EQ(Connects(Connect(server.port, pair.authority, &good)), absl::StatusCode::kOk);
  EXPECT_EQ(Connects(Connect(server.port, pair.authority)), absl::StatusCode::kUnavailable);
  EXPECT_EQ(Connects(Connect(server.port, pair.authority, &expired)),
            absl::StatusCode::kUnavailable);
  EXPECT_EQ(Connects(Connect(server.port, pair.authority, &foreign)),
            absl::StatusCode::kUnavailable);
}

TEST(Tls, ABrokenPairLeavesTheOldOneAndAGoodOneReplacesIt) {
  Pair pair;
  HealthServer server(pair);
  const auto before = Connect(server.port, pair.authority);
  EXPECT_EQ(Connects(before), absl::StatusCode::kOk);

  // Half of a rotation, and files that are no PEM.
  const Identity authority = Identity::Authority("second root");
  const Identity renewed = authority.Issue({});
  pair.files.Write("cert.pem", renewed.certificate_pem());
  EXPECT_EQ(Connects(Connect(server.port, pair.authority)), absl::StatusCode::kOk);
  pair.files.Write("cert.pem", "broken");
  pair.files.Write("key.pem", "broken");
  EXPECT_EQ(Connects(Connect(server.port, pair.authority)), absl::StatusCode::kOk);
  EXPECT_EQ(Connects(Connect(server.port, authority)), absl::StatusCode::kUnavailable);

  pair.Put(renewed);
  EXPECT_EQ(Connects(Connect(server.port, authority)), absl::StatusCode::kOk);
  EXPECT_EQ(Connects(Connect(server.port, pair.authority)), absl::StatusCode::kUnavailable);
  EXPECT_EQ(Connects(before), absl::StatusCode::kOk);  // The open connection went on.
}

TEST(Tls, TheServerSpeaksItOnBothListeners) {
  Pair pair;
  ServerOptions options = FakeOptions();
  options.tls_cert = pair.files.Path("cert.pem");
  options.tls_key = pair.files.Path("key.pem");
  options.admin_listen = "127.0.0.1:0";
  FakeEngine engine;
  MonotonicClock clock;
  ServingContext context(&engine, &clock, options);
  auto server = GrpcServer::Start(&context);
  ASSERT_TRUE(server.ok()) << server.status();
  for (const int port : {(*server)->port(), (*server)->admin_port()}) {
    EXPECT_EQ(Connects(Connect(port, pair.authority)), absl::StatusCode::kOk);
    EXPECT_EQ(Connects(grpc::CreateChannel(absl::StrCat("127.0.0.1:", port),
                                           grpc::InsecureChannelCredentials())),
              absl::StatusCode::kUnavailable);
  }
}

TEST(Tls, TheServerDoesNotStartWithABrokenPair) {
  Pair pair;
  ServerOptions options = FakeOptions();
  options.tls_cert = pair.files.Path("cert.pem");
  options.tls_key = pair.files.Write("key.pem", "broken");
  FakeEngine engine;
  MonotonicClock clock;
  ServingContext context(&engine, &clock, options);
  const auto server = GrpcServer::Start(&context);
  ASSERT_FALSE(server.ok());
  EXPECT_THAT(std::string(server.status().message()), HasSubstr("key.pem: has no private key"));
}

}  // namespace
}  // namespace prefixd::testing
