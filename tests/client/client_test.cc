// The client library against a server in this process.
#include "client/client.h"

#include <atomic>
#include <thread>

#include <gtest/gtest.h>

#include "absl/strings/match.h"
#include "absl/time/clock.h"
#include "base/error.h"
#include "client/call_status.h"
#include "client/input.h"
#include "tests/client/fake_server.h"

namespace prefixd::testing {
namespace {

v1::GenerateRequest Question(const std::string& text, std::vector<std::string> images = {}) {
  v1::GenerateRequest request;
  *request.mutable_chat()->add_messages() = UserMessage(text, std::move(images));
  return request;
}

std::unique_ptr<Client> ConnectTo(const FakeServer& server) {
  auto client = Client::Connect(server.address());
  EXPECT_TRUE(client.ok()) << client.status();
  return *std::move(client);
}

// The status of one call, its events dropped.
absl::Status Generate(Client* client, const v1::GenerateRequest& request) {
  auto stream = client->Generate(request, absl::Seconds(10));
  return stream.ok() ? (*stream)->Finish() : stream.status();
}

TEST(Client, StreamsEventsInOrder) {
  FakeServer server;
  const auto client = ConnectTo(server);
  auto stream = client->Generate(Question("What is it?", {"PNG"}));
  ASSERT_TRUE(stream.ok());
  std::string text;
  std::vector<int> kinds;
  for (v1::GenerateResponse event; (*stream)->Read(&event);) {
    kinds.push_back(event.event_case());
    text += event.delta().text();
  }
  EXPECT_TRUE((*stream)->Finish().ok());
  EXPECT_EQ(text, "It is a cat.");
  EXPECT_EQ(kinds, (std::vector<int>{1, 2, 2, 3, 4}));
  const v1::ChatMessage message = server.last_request().chat().messages(0);
  EXPECT_EQ(message.parts(0).image().data(), "PNG");
  EXPECT_EQ(message.parts(1).text(), "What is it?");
}

TEST(Client, ReadsTheDetailsOfAnError) {
  FakeServer server;
  server.OnGenerate(RefuseWith({.code = grpc::StatusCode::RESOURCE_EXHAUSTED,
                                .message = "256 requests wait",
                                .reason = "QUEUE_FULL",
                                .metadata = {{"max_queue", "256"}},
                                .violations = {{"model", "unknown"}},
                                .retry_after_ms = 1500,
                                .request_id = "req-7"}));
  const auto client = ConnectTo(server);
  const absl::Status status = Generate(client.get(), Question("hi"));
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(status.message(), "256 requests wait");
  EXPECT_EQ(GetRequestId(status), "req-7");
  const auto detail = GetErrorDetail(status);
  ASSERT_TRUE(detail.has_value());
  EXPECT_EQ(detail->reason, "QUEUE_FULL");
  ASSERT_EQ(detail->metadata.size(), 1u);
  EXPECT_EQ(detail->metadata[0].second, "256");
  ASSERT_EQ(detail->field_violations.size(), 1u);
  EXPECT_EQ(detail->field_violations[0].field, "model");
  EXPECT_EQ(detail->retry_after, absl::Milliseconds(1500));
}

TEST(Client, KeepsCodeAndMessageOfAnErrorWhoseDetailsAreGarbage) {
  const absl::Status status =
      FromGrpcStatus(grpc::Status(grpc::StatusCode::NOT_FOUND, "gone", "\xFF\xFF not a message"));
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(status.message(), "gone");
  EXPECT_EQ(GetErrorDetail(status)->reason, "");
}

// A picture larger than gRPC's own retry buffer of 256 KiB must not end the retries.
TEST(Client, RetriesARefusedCallWithALargePicture) {
  FakeServer server;
  std::atomic<int> calls = 0;
  server.OnGenerate(
      [&](grpc::ServerContext* context, const v1::GenerateRequest& request, Writer* writer) {
        if (++calls < 3) return grpc::Status(grpc::StatusCode::UNAVAILABLE, "loading");
        return AnswerWith({"yes"})(context, request, writer);
      });
  const auto client = ConnectTo(server);
  EXPECT_TRUE(Generate(client.get(), Question("hi", {std::string(1 << 20, 'x')})).ok());
  EXPECT_EQ(calls, 3);
}

TEST(Client, GivesUpAfterThreeAttempts) {
  FakeServer server;
  server.OnGenerate(RefuseWith({.code = grpc::StatusCode::UNAVAILABLE, .reason = "DRAINING"}));
  const auto client = ConnectTo(server);
  EXPECT_EQ(Generate(client.get(), Question("hi")).code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(server.requests().size(), 3u);
}

TEST(Client, DoesNotRetryAQuota) {
  FakeServer server;
  server.OnGenerate(RefuseWith({.code = grpc::StatusCode::RESOURCE_EXHAUSTED}));
  const auto client = ConnectTo(server);
  EXPECT_EQ(Generate(client.get(), Question("hi")).code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(server.requests().size(), 1u);
}

TEST(Client, SendsNothingAboveTheMessageLimit) {
  FakeServer server;
  const auto client = ConnectTo(server);
  const absl::Status status = Generate(client.get(), Question("hi", {std::string(32 << 20, 'x')}));
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(GetErrorDetail(status)->reason, "REQUEST_TOO_LARGE");
  EXPECT_TRUE(server.requests().empty());
}

TEST(Client, SendsAndReadsMoreThanGrpcsFourMegabytes) {
  FakeServer server;
  server.OnGenerate(AnswerWith({std::string(6 << 20, 'y')}));
  const auto client = ConnectTo(server);
  auto stream = client->Generate(Question("hi", {std::string(20 << 20, 'x')}));
  ASSERT_TRUE(stream.ok());
  size_t bytes = 0;
  for (v1::GenerateResponse event; (*stream)->Read(&event);) bytes += event.delta().text().size();
  EXPECT_TRUE((*stream)->Finish().ok());
  EXPECT_EQ(bytes, size_t{6} << 20);
}

// Writes one delta and waits for the call's end.
GenerateHandler Endless(std::atomic<bool>* cancelled) {
  return [cancelled](grpc::ServerContext* context, const v1::GenerateRequest&, Writer* writer) {
    v1::GenerateResponse event;
    event.mutable_delta()->set_text("and ");
    const absl::Time end = absl::Now() + absl::Seconds(20);
    while (!context->IsCancelled() && absl::Now() < end && writer->Write(event)) {
      absl::SleepFor(absl::Milliseconds(5));
    }
    *cancelled = context->IsCancelled();
    return grpc::Status::OK;
  };
}

TEST(Client, CancelsFromAnotherThread) {
  std::atomic<bool> cancelled = false;
  absl::Status status;
  {
    FakeServer server;
    server.OnGenerate(Endless(&cancelled));
    const auto client = ConnectTo(server);
    auto stream = client->Generate(Question("hi"));
    ASSERT_TRUE(stream.ok());
    v1::GenerateResponse event;
    ASSERT_TRUE((*stream)->Read(&event));
    std::jthread canceller([&] { (*stream)->Cancel(); });
    while ((*stream)->Read(&event)) {
    }
    status = (*stream)->Finish();
  }
  EXPECT_EQ(status.code(), absl::StatusCode::kCancelled);
  EXPECT_TRUE(cancelled);
}

TEST(Client, CancelsAStreamThatIsDropped) {
  std::atomic<bool> cancelled = false;
  {
    FakeServer server;
    server.OnGenerate(Endless(&cancelled));
    const auto client = ConnectTo(server);
    auto stream = client->Generate(Question("hi"));
    ASSERT_TRUE(stream.ok());
    v1::GenerateResponse event;
    ASSERT_TRUE((*stream)->Read(&event));
  }
  EXPECT_TRUE(cancelled);
}

TEST(Client, SendsTheTimeoutAsDeadline) {
  std::atomic<bool> cancelled = false;
  FakeServer server;
  server.OnGenerate(Endless(&cancelled));
  const auto client = ConnectTo(server);
  auto stream = client->Generate(Question("hi"), absl::Milliseconds(100));
  ASSERT_TRUE(stream.ok());
  EXPECT_EQ((*stream)->Finish().code(), absl::StatusCode::kDeadlineExceeded);
}

TEST(Client, ListsAllPagesOfModels) {
  FakeServer server;
  const auto models = ConnectTo(server)->ListModels();
  ASSERT_TRUE(models.ok());
  ASSERT_EQ(models->size(), 2u);
  EXPECT_EQ((*models)[0].name(), "demo");
  EXPECT_EQ((*models)[1].name(), "other");
}

TEST(Client, ChecksHealth) {
  FakeServer server;
  const auto client = ConnectTo(server);
  EXPECT_EQ(*client->CheckHealth("ready"), Health::kServing);
  server.SetReady(false);
  EXPECT_EQ(*client->CheckHealth("ready"), Health::kNotServing);
  EXPECT_EQ(client->CheckHealth("no such").status().code(), absl::StatusCode::kNotFound);
}

TEST(Client, WatchesHealthUntilToldToStop) {
  FakeServer server;
  server.SetReady(false);
  const auto client = ConnectTo(server);
  std::vector<Health> seen;
  const absl::Status status = client->WatchHealth("ready", absl::Seconds(10), [&](Health health) {
    seen.push_back(health);
    if (health == Health::kNotServing) server.SetReady(true);
    return health != Health::kServing;
  });
  EXPECT_TRUE(status.ok()) << status;
  EXPECT_EQ(seen, (std::vector<Health>{Health::kNotServing, Health::kServing}));
}

TEST(Client, StopsWatchingHealthAfterTheTimeout) {
  FakeServer server;
  const auto client = ConnectTo(server);
  const absl::Status status =
      client->WatchHealth("ready", absl::Milliseconds(100), [](Health) { return true; });
  EXPECT_EQ(status.code(), absl::StatusCode::kDeadlineExceeded);
}

TEST(Client, RefusesMalformedAddressesAndOptions) {
  for (const char* const bad :
       {"", "host", "host:", ":1", "host:0", "host:65536", "host:x", "::1:50051", "unix:"}) {
    EXPECT_EQ(Client::Connect(bad).status().code(), absl::StatusCode::kInvalidArgument) << bad;
  }
  for (const char* const good : {"host:1", "[::1]:65535", "unix:/run/prefixd.sock"}) {
    EXPECT_TRUE(Client::Connect(good).ok()) << good;
  }
  EXPECT_FALSE(Client::Connect("host:1", {.keepalive = absl::Seconds(5)}).ok());
  EXPECT_FALSE(Client::Connect("host:1", {.max_message_bytes = 0}).ok());
}

}  // namespace
}  // namespace prefixd::testing
