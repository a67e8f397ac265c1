// Streams under stress: slow readers, cancellation, deadlines, the bound on what waits.
#include <thread>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/server/server_fixture.h"

namespace prefixd::testing {
namespace {

// Plays the engine for one request: sends deltas while the sink is writable, until it has not been
// for 300 ms or `total_bytes` were sent. Returns the bytes that were sent.
size_t Flood(RunningServer* server, const std::string& id, size_t total_bytes) {
  size_t sent = 0;
  int waits = 0;
  const std::string text(1024, 'a');
  while (sent < total_bytes) {
    const std::shared_ptr<EventSink> sink = server->engine.sink(id);
    if (sink == nullptr) break;
    if (!sink->Writable()) {
      if (++waits > 60) break;
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
      continue;
    }
    waits = 0;
    server->engine.Send(id, Delta(0, text));
    sent += text.size();
  }
  return sent;
}

TEST(Stream, MergesDeltasWhileTheReaderIsBehind) {
  RunningServer server;
  Call call(&server, Hello("a"));
  server.engine.WaitRequest();
  server.engine.Send("a", Started("a"));
  ASSERT_TRUE(call.Next().has_started());
  constexpr int kDeltas = 2000;
  for (int i = 0; i < kDeltas; ++i) server.engine.Send("a", Delta(0, "x"));
  server.engine.Send("a", Finished());
  int messages = 0;
  std::string text;
  int tokens = 0;
  for (v1::GenerateResponse next = call.Next(); next.has_delta(); next = call.Next()) {
    ++messages;
    text += next.delta().text();
    tokens += next.delta().token_ids_size();
  }
  EXPECT_EQ(text, std::string(kDeltas, 'x'));
  EXPECT_EQ(tokens, kDeltas);
  EXPECT_LT(messages, kDeltas);
  EXPECT_TRUE(call.reader->Finish().ok());
}

TEST(Stream, PausesTheEngineAndWakesItWhenTheReaderCatchesUp) {
  RunningServer server;
  Call call(&server, Hello("a"));
  server.engine.WaitRequest();
  server.engine.Send("a", Started("a"));
  const size_t wanted = 64 << 20;
  const size_t sent = Flood(&server, "a", wanted);
  ASSERT_LT(sent, wanted);  // The reader has read nothing, so the engine had to stop.
  ASSERT_FALSE(server.engine.sink("a")->Writable());
  const int pokes_before = server.engine.pokes();

  ASSERT_TRUE(call.Next().has_started());
  size_t received = 0;
  std::thread engine([&] {
    EXPECT_TRUE(server.engine.WaitPoke(pokes_before));
    EXPECT_TRUE(server.engine.sink("a")->Writable());
    server.engine.Send("a", Finished());
  });
  for (v1::GenerateResponse next = call.Next(); next.has_delta(); next = call.Next()) {
    received += next.delta().text().size();
  }
  engine.join();
  EXPECT_EQ(received, sent);
  EXPECT_TRUE(call.reader->Finish().ok());
}

TEST(Stream, EndsAReaderThatTakesNothing) {
  ServerOptions options = FakeOptions();
  options.slow_reader_timeout = absl::Milliseconds(400);
  RunningServer server(options);
  Call call(&server, Hello("a"));
  server.engine.WaitRequest();
  server.engine.Send("a", Started("a"));
  Flood(&server, "a", 64 << 20);
  EXPECT_EQ(server.engine.WaitCancelled(), "a");
  // The reader wakes up within the grace: it gets what was on its way, then the status.
  while (call.Next().event_case() != v1::GenerateResponse::EVENT_NOT_SET) {
  }
  const grpc::Status status = call.reader->Finish();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_EQ(Reason(status), "SLOW_READER");
  EXPECT_TRUE(server.engine.WaitIdle());
}

TEST(Stream, ResetsAReaderThatNeverWakesUp) {
  ServerOptions options = FakeOptions();
  options.slow_reader_timeout = absl::Milliseconds(200);
  RunningServer server(options);
  Call call(&server, Hello("a"));
  server.engine.WaitRequest();
  server.engine.Send("a", Started("a"));
  Flood(&server, "a", 64 << 20);
  EXPECT_EQ(server.engine.WaitCancelled(), "a");
  const absl::Time end = server.clock.Now() + absl::Seconds(15);
  while (server.context.budget.calls() > 0 && server.clock.Now() < end) {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  EXPECT_EQ(server.context.budget.calls(), 0);
}

TEST(Stream, NeverHoldsMoreThanItsBoundEvenIfTheEngineGoesOn) {
  RunningServer server;
  Call call(&server, Hello("a"));
  server.engine.WaitRequest();
  server.engine.Send("a", Started("a"));
  for (int i = 0; i < 4096; ++i) server.engine.Send("a", Delta(0, std::string(1024, 'a')));
  EXPECT_EQ(server.engine.WaitCancelled(), "a");
  size_t received = 0;
  for (auto next = call.Next(); next.event_case() != v1::GenerateResponse::EVENT_NOT_SET;
       next = call.Next()) {
    received += next.ByteSizeLong();
  }
  EXPECT_LT(received, 4096u * 1024);
  EXPECT_EQ(Reason(call.reader->Finish()), "SLOW_READER");
}

TEST(Stream, CancellingReachesTheEngineBeforeTheFirstEvent) {
  RunningServer server;
  Call call(&server, Hello("a"));
  server.engine.WaitRequest();
  call.context.TryCancel();
  EXPECT_EQ(server.engine.WaitCancelled(), "a");
  EXPECT_EQ(call.reader->Finish().error_code(), grpc::StatusCode::CANCELLED);
}

TEST(Stream, CancellingReachesTheEngineInTheMiddle) {
  RunningServer server;
  Call call(&server, Hello("a"));
  server.engine.WaitRequest();
  server.engine.Send("a", Started("a"));
  ASSERT_TRUE(call.Next().has_started());
  call.context.TryCancel();
  EXPECT_EQ(server.engine.WaitCancelled(), "a");
  EXPECT_TRUE(server.engine.WaitIdle());
}

TEST(Stream, AFinishedRequestIsNotCancelled) {
  RunningServer server;
  Call call(&server, Hello("a"));
  server.engine.WaitRequest();
  server.engine.Send("a", Started("a"));
  server.engine.Send("a", Finished());
  ASSERT_TRUE(call.Next().has_started());
  ASSERT_TRUE(call.Next().has_finished());
  EXPECT_TRUE(call.reader->Finish().ok());
  call.context.TryCancel();
  server.server->Shutdown(absl::Seconds(5));
  EXPECT_TRUE(server.engine.cancelled().empty());
}

TEST(Stream, AnEngineErrorInTheMiddleEndsTheStreamWithIt) {
  RunningServer server;
  Call call(&server, Hello("a"));
  server.engine.WaitRequest();
  server.engine.Send("a", Started("a"));
  server.engine.Send("a", Delta(0, "part"));
  server.engine.Send("a", FailedEvent{MakeError(absl::StatusCode::kDeadlineExceeded,
                                                reason::kDeadlineExceeded, "late")});
  ASSERT_TRUE(call.Next().has_started());
  EXPECT_EQ(call.Next().delta().text(), "part");
  EXPECT_EQ(call.Next().event_case(), v1::GenerateResponse::EVENT_NOT_SET);
  const grpc::Status status = call.reader->Finish();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::DEADLINE_EXCEEDED);
  EXPECT_EQ(Reason(status), "DEADLINE_EXCEEDED");
  EXPECT_EQ(status.error_message(), "late");
}

// Seconds until the deadline that the engine was given for a call with this timeout; 0: none.
double DeadlineSeconds(double timeout_s) {
  RunningServer server;
  grpc::ClientContext context;
  if (timeout_s > 0) {
    context.set_deadline(std::chrono::system_clock::now() +
                         std::chrono::milliseconds(static_cast<int64_t>(timeout_s * 1000)));
  }
  auto reader = server.generation->Generate(&context, Hello("a"));
  const absl::Time deadline = server.engine.WaitRequest().deadline;
  const double seconds = absl::ToDoubleSeconds(deadline - server.clock.Now());
  server.engine.Send("a", Started("a"));
  v1::GenerateResponse response;
  EXPECT_TRUE(reader->Read(&response));
  EXPECT_NEAR(static_cast<double>(response.started().deadline().seconds()), seconds, 2.0);
  context.TryCancel();
  reader->Finish();
  server.engine.WaitCancelled();
  return seconds;
}

TEST(Stream, TheDeadlineIsTheCallsOrTheDefaultAndCapped) {
  EXPECT_NEAR(DeadlineSeconds(30), 30, 2);
  EXPECT_NEAR(DeadlineSeconds(0), 120, 2);
  EXPECT_NEAR(DeadlineSeconds(5000), 600, 2);
}

TEST(Stream, ManyCallsWithCancelsAtAnyPointLeaveNothingBehind) {
  RunningServer server;
  constexpr int kCalls = 200;
  std::vector<std::thread> clients;
  for (int t = 0; t < 4; ++t) {
    clients.emplace_back([&server, t] {
      for (int i = 0; i < kCalls / 4; ++i) {
        const std::string id = std::to_string(t) + "-" + std::to_string(i);
        Call call(&server, Hello(id));
        if (i % 5 == 0) call.context.TryCancel();
        for (int spin = 0; spin < 2000 && server.engine.sink(id) == nullptr && i % 5 != 0; ++spin) {
          std::this_thread::sleep_for(std::chrono::milliseconds(1));
        }
        server.engine.Send(id, Started(id));
        if (i % 5 == 1) call.context.TryCancel();
        for (int d = 0; d < 20; ++d) server.engine.Send(id, Delta(0, "text"));
        if (i % 5 == 2) call.context.TryCancel();
        server.engine.Send(id, Finished());
        while (call.Next().event_case() != v1::GenerateResponse::EVENT_NOT_SET) {
        }
        const grpc::Status status = call.reader->Finish();
        if (i % 5 > 2) {
          EXPECT_TRUE(status.ok()) << status.error_message();
        }
      }
    });
  }
  for (std::thread& client : clients) client.join();
  const absl::Time end = server.clock.Now() + absl::Seconds(10);
  while ((server.context.budget.calls() > 0 || server.engine.num_live() > 0) &&
         server.clock.Now() < end) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  EXPECT_EQ(server.context.budget.calls(), 0);
  EXPECT_EQ(server.context.budget.bytes(), 0u);
  EXPECT_EQ(server.engine.num_live(), 0u);
}

}  // namespace
}  // namespace prefixd::testing
