// The HTTP listener: its paths, its methods, its bounds.
#include "server/metrics_server.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <vector>

#include "tests/server/exposition.h"
#include "tests/server/http_get.h"
#include "tests/server/server_fixture.h"

namespace prefixd::testing {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

class MetricsServerTest : public ::testing::Test {
 protected:
  static ServerOptions Options() {
    ServerOptions options = FakeOptions();
    options.metrics_listen = "127.0.0.1:0";
    return options;
  }
  MetricsServerTest() : server_(Options()) {
    auto started = MetricsServer::Start(&server_.context);
    EXPECT_TRUE(started.ok()) << started.status();
    metrics_ = *std::move(started);
  }
  HttpReply Get(const std::string& path, const std::string& method = "GET") {
    return HttpGet(metrics_->port(), path, method);
  }

  RunningServer server_;
  std::unique_ptr<MetricsServer> metrics_;
};

TEST_F(MetricsServerTest, ServesMetrics) {
  const HttpReply reply = Get("/metrics");
  EXPECT_EQ(reply.code, 200);
  EXPECT_THAT(reply.headers, HasSubstr("Content-Type: text/plain; version=0.0.4"));
  EXPECT_THAT(reply.headers,
              HasSubstr("Content-Length: " + std::to_string(reply.body.size()) + "\r\n"));
  const auto families = ParseExposition(reply.body);
  ASSERT_TRUE(families.ok()) << families.status();
  EXPECT_EQ(families->count("prefixd_requests_running"), 1u);
  EXPECT_EQ(families->count("vllm:num_requests_running"), 0u);
  EXPECT_EQ(Get("/metrics?name=x").code, 200);
}

TEST_F(MetricsServerTest, AnswersHeadWithoutABody) {
  const HttpReply reply = Get("/metrics", "HEAD");
  EXPECT_EQ(reply.code, 200);
  EXPECT_EQ(reply.body, "");
  EXPECT_THAT(reply.headers, Not(HasSubstr("Content-Length: 0\r\n")));
}

TEST_F(MetricsServerTest, TellsHealthAndReadiness) {
  EXPECT_EQ(Get("/healthz").code, 200);
  EXPECT_EQ(Get("/readyz").code, 503);
  server_.server->SetReady(true);
  EXPECT_EQ(Get("/readyz").code, 200);
  EXPECT_EQ(Get("/readyz").body, "ready\n");
  server_.engine.Drain();
  EXPECT_EQ(Get("/readyz").code, 503);
  EXPECT_EQ(Get("/readyz").body, "not ready: draining\n");
  EXPECT_EQ(Get("/healthz").code, 200);
}

TEST_F(MetricsServerTest, KnowsNoOtherPathOrMethod) {
  for (const char* path : {"/", "/metrics/", "/metricsx", "/../etc/passwd", "/%2e%2e/etc/passwd",
                           "/healthz/../../etc/passwd", "/index.html"}) {
    EXPECT_EQ(Get(path).code, 404) << path;
  }
  for (const char* method : {"POST", "PUT", "DELETE", "OPTIONS"}) {
    const HttpReply reply = Get("/metrics", method);
    EXPECT_EQ(reply.code, 405) << method;
    EXPECT_THAT(reply.headers, HasSubstr("Allow: GET, HEAD")) << method;
  }
}

TEST_F(MetricsServerTest, SurvivesWhatIsNotHttp) {
  for (const std::string& bytes :
       {std::string("\0\0\0\0\r\n\r\n", 8), std::string("GET\r\n\r\n"),
        "GET /" + std::string(20000, 'a') + " HTTP/1.1\r\n\r\n",
        std::string("GET /metrics HTTP/9.9\r\n\r\n"),
        "GET /metrics HTTP/1.1\r\nX: " + std::string(20000, 'a') + "\r\n\r\n",
        std::string("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
        std::string("GET /metrics HTTP/1.1\r\nContent-Length: -1\r\n\r\n")}) {
    EXPECT_NE(SendHttp(metrics_->port(), bytes).code, 200) << bytes.substr(0, 30);
  }
  EXPECT_EQ(Get("/metrics").code, 200);
}

TEST_F(MetricsServerTest, IdleConnectionsHoldItUpForMomentsOnly) {
  std::vector<int> idle;
  for (int i = 0; i < 30; ++i) idle.push_back(ConnectLoopback(metrics_->port()));
  for (const int fd : idle) close(fd);
  EXPECT_EQ(Get("/healthz").code, 200);
  // One per thread, never closed: each is dropped after two seconds.
  idle.clear();
  for (int i = 0; i < 4; ++i) idle.push_back(ConnectLoopback(metrics_->port()));
  EXPECT_EQ(Get("/healthz").code, 200);
  for (const int fd : idle) close(fd);
}

TEST_F(MetricsServerTest, ListensOnNamesAndWildcards) {
  for (const char* listen : {"localhost:0", "0.0.0.0:0"}) {
    ServerOptions options = Options();
    options.metrics_listen = listen;
    ServingContext context(&server_.engine, &server_.clock, options);
    const auto other = MetricsServer::Start(&context);
    ASSERT_TRUE(other.ok()) << other.status();
    EXPECT_EQ(HttpGet((*other)->port(), "/healthz").code, 200) << listen;
  }
}

TEST_F(MetricsServerTest, ASecondListenerOnTheSamePortFails) {
  ServerOptions options = Options();
  options.metrics_listen = "127.0.0.1:" + std::to_string(metrics_->port());
  ServingContext context(&server_.engine, &server_.clock, options);
  const auto second = MetricsServer::Start(&context);
  ASSERT_EQ(second.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(second.status().message()), HasSubstr(options.metrics_listen));
  // An address of another machine likewise.
  options.metrics_listen = "192.0.2.1:9100";
  ServingContext elsewhere(&server_.engine, &server_.clock, options);
  EXPECT_FALSE(MetricsServer::Start(&elsewhere).ok());
}

}  // namespace
}  // namespace prefixd::testing
