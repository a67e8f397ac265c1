// ClassifyBatch over a real channel around a fake classifier: order, window, errors of single
// requests, and how a stream ends.
#include <thread>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "server/classify_batch.h"
#include "tests/server/server_fixture.h"

namespace prefixd::testing {
namespace {

using ::testing::SizeIs;
using ::testing::UnorderedElementsAre;

constexpr int kWindow = static_cast<int>(ClassifyBatch::kWindow);

v1::ClassifyBatchRequest Picture(const std::string& id = "") {
  v1::ClassifyBatchRequest request;
  request.mutable_request()->set_request_id(id);
  request.mutable_request()->mutable_query()->mutable_image()->set_data("\x89PNG");
  request.mutable_request()->mutable_names()->add_names("cat");
  request.mutable_request()->mutable_names()->add_names("dog");
  return request;
}

// One call; a bound on its time keeps a broken server from hanging the tests.
struct Batch {
  explicit Batch(RunningServer* server, const std::string& id = "b") {
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(60));
    context.AddMetadata("x-request-id", id);
    stream = server->classification->ClassifyBatch(&context);
  }
  bool Write(const v1::ClassifyBatchRequest& request) { return stream->Write(request); }
  // The next answer; an empty one, with index -1, at the end.
  v1::ClassifyBatchResponse Next() {
    v1::ClassifyBatchResponse response;
    if (!stream->Read(&response)) response.set_index(-1);
    return response;
  }
  grpc::ClientContext context;
  std::unique_ptr<grpc::ClientReaderWriter<v1::ClassifyBatchRequest, v1::ClassifyBatchResponse>>
      stream;
  std::jthread writer;  // Of tests that write while nobody reads; ended by them.
};

bool WaitNoCalls(RunningServer* server, absl::Duration limit = absl::Seconds(10)) {
  const absl::Time end = absl::Now() + limit;
  while (server->context.budget.calls() > 0 && absl::Now() < end) {
    absl::SleepFor(absl::Milliseconds(5));
  }
  return server->context.budget.calls() == 0 && server->context.budget.bytes() == 0;
}

TEST(ClassifyBatch, KeepsTheOrderHoweverAnswersCome) {
  RunningServer server;
  FakeClassifier& classifier = *server.engine.classifier();
  Batch batch(&server);
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(batch.Write(Picture()));
  ASSERT_TRUE(classifier.WaitClassified(3));
  EXPECT_THAT(classifier.live(), UnorderedElementsAre("b/0", "b/1", "b/2"));
  for (const char* id : {"b/2", "b/0", "b/1"}) {
    ClassifyResult result = FakeClassifier::Ranked(id);
    result.top[0].name = absl::StrCat("of ", id);
    ASSERT_TRUE(classifier.Send(id, std::move(result)));
  }
  for (int i = 0; i < 3; ++i) {
    const v1::ClassifyBatchResponse answer = batch.Next();
    EXPECT_EQ(answer.index(), i);
    EXPECT_EQ(answer.response().request_id(), absl::StrCat("b/", i));
    EXPECT_EQ(answer.response().top(0).name(), absl::StrCat("of b/", i));
  }
  const auto& headers = batch.context.GetServerInitialMetadata();
  ASSERT_EQ(headers.count("x-request-id"), 1u);
  EXPECT_EQ(headers.find("x-request-id")->second, "b");
  batch.stream->WritesDone();
  EXPECT_EQ(batch.Next().index(), -1);
  EXPECT_TRUE(batch.stream->Finish().ok());
  EXPECT_TRUE(WaitNoCalls(&server));
}

TEST(ClassifyBatch, HasAtMostItsWindowAtWork) {
  RunningServer server;
  FakeClassifier& classifier = *server.engine.classifier();
  Batch batch(&server);
  constexpr int kRequests = 100;
  std::jthread writer([&] {
    for (int i = 0; i < kRequests; ++i) ASSERT_TRUE(batch.Write(Picture()));
    batch.stream->WritesDone();
  });
  ASSERT_TRUE(classifier.WaitClassified(ClassifyBatch::kWindow));
  EXPECT_EQ(server.context.budget.calls(), kWindow);
  // Answers behind the first wait for it: no further request is taken on.
  for (int i = 1; i < kWindow; ++i) {
    ASSERT_TRUE(classifier.Send(absl::StrCat("b/", i), FakeClassifier::Ranked("x")));
  }
  absl::SleepFor(absl::Milliseconds(100));
  EXPECT_EQ(classifier.num_classified(), ClassifyBatch::kWindow);
  ASSERT_TRUE(classifier.Send("b/0", FakeClassifier::Ranked("x")));
  for (int i = 0; i < kRequests; ++i) {
    if (i >= kWindow) {
      classifier.WaitRequest(static_cast<size_t>(i));
      ASSERT_TRUE(classifier.Send(absl::StrCat("b/", i), FakeClassifier::Ranked("x"))) << i;
    }
    EXPECT_EQ(batch.Next().index(), i);
  }
  EXPECT_EQ(batch.Next().index(), -1);
  EXPECT_TRUE(batch.stream->Finish().ok());
  EXPECT_EQ(classifier.max_live(), ClassifyBatch::kWindow);
  EXPECT_TRUE(WaitNoCalls(&server));
}

TEST(ClassifyBatch, AnswersWhatFailsAndGoesOn) {
  RunningServer server;
  FakeClassifier& classifier = *server.engine.classifier();
  Batch batch(&server);
  ASSERT_TRUE(batch.Write(v1::ClassifyBatchRequest()));
  v1::ClassifyBatchRequest bad = Picture("own id");
  bad.mutable_request()->set_temperature(-1);
  ASSERT_TRUE(batch.Write(bad));
  ASSERT_TRUE(batch.Write(Picture("own")));
  ASSERT_TRUE(batch.Write(Picture("own")));
  ASSERT_TRUE(batch.Write(Picture()));
  batch.stream->WritesDone();

  v1::ClassifyBatchResponse answer = batch.Next();
  EXPECT_EQ(answer.index(), 0);
  EXPECT_EQ(answer.error().code(), grpc::StatusCode::INVALID_ARGUMENT);
  answer = batch.Next();
  EXPECT_EQ(answer.index(), 1);
  EXPECT_EQ(answer.error().code(), grpc::StatusCode::INVALID_ARGUMENT);
  google::rpc::ErrorInfo info;
  google::rpc::RequestInfo request;
  google::rpc::BadRequest violations;
  for (const auto& detail : answer.error().details()) {
    detail.UnpackTo(&info);
    detail.UnpackTo(&request);
    detail.UnpackTo(&violations);
  }
  EXPECT_EQ(info.reason(), "PARAMETER_OUT_OF_RANGE");
  EXPECT_EQ(request.request_id(), "b/1");
  EXPECT_EQ(violations.field_violations_size(), 2);

  ASSERT_TRUE(classifier.WaitClassified(3));
  classifier.Send("own", MakeError(absl::StatusCode::kInternal, reason::kEngineFailed, "secret"));
  classifier.Send("b/4", FakeClassifier::Ranked("b/4"));
  answer = batch.Next();
  EXPECT_EQ(answer.index(), 2);
  EXPECT_EQ(answer.error().code(), grpc::StatusCode::INTERNAL);
  EXPECT_FALSE(absl::StrContains(answer.error().message(), "secret"));
  answer = batch.Next();
  EXPECT_EQ(answer.index(), 3);
  EXPECT_EQ(answer.error().code(), grpc::StatusCode::ALREADY_EXISTS);
  answer = batch.Next();
  EXPECT_EQ(answer.index(), 4);
  EXPECT_TRUE(answer.has_response());
  EXPECT_EQ(batch.Next().index(), -1);
  EXPECT_TRUE(batch.stream->Finish().ok());
  EXPECT_TRUE(WaitNoCalls(&server));
}

TEST(ClassifyBatch, AnswersWhatItsBudgetHasNoRoomFor) {
  RunningServer server;
  FakeClassifier& classifier = *server.engine.classifier();
  classifier.AnswerAtOnce();
  Batch batch(&server);
  ASSERT_TRUE(server.context.budget.Take(1u << 30));
  ASSERT_TRUE(batch.Write(Picture()));
  EXPECT_EQ(batch.Next().error().code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  server.context.budget.Give(1u << 30);
  ASSERT_TRUE(batch.Write(Picture()));
  EXPECT_TRUE(batch.Next().has_response());
  batch.stream->WritesDone();
  EXPECT_EQ(batch.Next().index(), -1);
  EXPECT_TRUE(batch.stream->Finish().ok());
  EXPECT_TRUE(WaitNoCalls(&server));
}

TEST(ClassifyBatch, AnEmptyStreamIsOk) {
  RunningServer server;
  Batch batch(&server);
  batch.stream->WritesDone();
  EXPECT_EQ(batch.Next().index(), -1);
  EXPECT_TRUE(batch.stream->Finish().ok());
}

TEST(ClassifyBatch, AnswersEverythingAfterTheHalfClose) {
  RunningServer server;
  FakeClassifier& classifier = *server.engine.classifier();
  Batch batch(&server);
  ASSERT_TRUE(batch.Write(Picture()));
  batch.stream->WritesDone();
  ASSERT_TRUE(classifier.WaitClassified(1));
  absl::SleepFor(absl::Milliseconds(50));
  ASSERT_TRUE(classifier.Send("b/0", FakeClassifier::Ranked("b/0")));
  EXPECT_TRUE(batch.Next().has_response());
  EXPECT_EQ(batch.Next().index(), -1);
  EXPECT_TRUE(batch.stream->Finish().ok());
}

TEST(ClassifyBatch, TakesTenThousandRequests) {
  RunningServer server;
  FakeClassifier& classifier = *server.engine.classifier();
  classifier.AnswerAtOnce();
  Batch batch(&server);
  constexpr int kRequests = 10'000;
  std::jthread writer([&] {
    const v1::ClassifyBatchRequest request = Picture();
    for (int i = 0; i < kRequests; ++i) ASSERT_TRUE(batch.Write(request));
    batch.stream->WritesDone();
  });
  for (int i = 0; i < kRequests; ++i) {
    const v1::ClassifyBatchResponse answer = batch.Next();
    ASSERT_EQ(answer.index(), i);
    ASSERT_EQ(answer.response().request_id(), absl::StrCat("b/", i));
  }
  EXPECT_EQ(batch.Next().index(), -1);
  EXPECT_TRUE(batch.stream->Finish().ok());
  EXPECT_TRUE(WaitNoCalls(&server));
}

TEST(ClassifyBatch, EndsBeyondItsNumberOfRequests) {
  RunningServer server;
  server.engine.classifier()->AnswerAtOnce();
  Batch batch(&server);
  std::jthread writer([&] {
    // One byte each: none holds a request.
    while (batch.Write(v1::ClassifyBatchRequest())) {
    }
  });
  int64_t answers = 0;
  while (batch.Next().index() == answers) ++answers;
  writer.join();
  const grpc::Status status = batch.stream->Finish();
  EXPECT_EQ(answers, ClassifyBatch::kMaxRequests);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(Reason(status), "PARAMETER_OUT_OF_RANGE");
  EXPECT_THAT(GetDetail<google::rpc::BadRequest>(status).field_violations(), SizeIs(1));
}

TEST(ClassifyBatch, CancellingReachesAllThatIsAtWork) {
  RunningServer server;
  FakeClassifier& classifier = *server.engine.classifier();
  classifier.IgnoreCancels();
  Batch batch(&server);
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(batch.Write(Picture()));
  ASSERT_TRUE(classifier.WaitClassified(3));
  ASSERT_TRUE(classifier.Send("b/0", FakeClassifier::Ranked("b/0")));
  EXPECT_EQ(batch.Next().index(), 0);
  batch.context.TryCancel();
  EXPECT_THAT(classifier.WaitCancelled(2), UnorderedElementsAre("b/1", "b/2"));
  EXPECT_EQ(batch.stream->Finish().error_code(), grpc::StatusCode::CANCELLED);
  EXPECT_TRUE(WaitNoCalls(&server));
  EXPECT_TRUE(classifier.Send("b/2", FakeClassifier::Ranked("b/2")));  // Reaches nobody.
}

TEST(ClassifyBatch, CancelsAndAnswersRace) {
  RunningServer server;
  FakeClassifier& classifier = *server.engine.classifier();
  for (int i = 0; i < 50; ++i) {
    const std::string id = absl::StrCat("r", i);
    Batch batch(&server, id);
    for (int j = 0; j < 2; ++j) batch.Write(Picture());
    ASSERT_TRUE(classifier.WaitClassified(static_cast<size_t>(2 * i + 2)));
    std::jthread canceller([&] { batch.context.TryCancel(); });
    classifier.Send(absl::StrCat(id, "/0"), FakeClassifier::Ranked("x"));
    classifier.Send(absl::StrCat(id, "/1"), FakeClassifier::Ranked("x"));
    batch.stream->WritesDone();
    while (batch.Next().index() >= 0) {
    }
    const grpc::StatusCode code = batch.stream->Finish().error_code();
    EXPECT_TRUE(code == grpc::StatusCode::CANCELLED || code == grpc::StatusCode::OK) << code;
  }
  EXPECT_TRUE(WaitNoCalls(&server));
}

TEST(ClassifyBatch, EndsAStreamThatSendsNothing) {
  RunningServer server;
  server.engine.classifier()->AnswerAtOnce();
  Batch batch(&server);
  ASSERT_TRUE(batch.Write(Picture()));
  EXPECT_EQ(batch.Next().index(), 0);
  server.clock.Advance(absl::Seconds(50));
  absl::SleepFor(absl::Milliseconds(1500));  // The watch looked at it.
  ASSERT_TRUE(batch.Write(Picture()));
  EXPECT_EQ(batch.Next().index(), 1);
  server.clock.Advance(absl::Seconds(61));
  EXPECT_EQ(batch.Next().index(), -1);
  const grpc::Status status = batch.stream->Finish();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::DEADLINE_EXCEEDED);
  EXPECT_EQ(Reason(status), "DEADLINE_EXCEEDED");
  EXPECT_TRUE(WaitNoCalls(&server));
}

TEST(ClassifyBatch, AStreamThatWaitsForAnswersIsNotIdle) {
  RunningServer server;
  FakeClassifier& classifier = *server.engine.classifier();
  Batch batch(&server);
  ASSERT_TRUE(batch.Write(Picture()));
  ASSERT_TRUE(classifier.WaitClassified(1));
  server.clock.Advance(absl::Seconds(100));
  absl::SleepFor(absl::Milliseconds(1500));
  ASSERT_TRUE(classifier.Send("b/0", FakeClassifier::Ranked("b/0")));
  EXPECT_EQ(batch.Next().index(), 0);
  batch.stream->WritesDone();
  EXPECT_EQ(batch.Next().index(), -1);
  EXPECT_TRUE(batch.stream->Finish().ok());
}

TEST(ClassifyBatch, RequestsHaveADeadlineOfTheirOwn) {
  RunningServer server;
  FakeClassifier& classifier = *server.engine.classifier();
  grpc::ClientContext context;  // Without one.
  const auto stream = server.classification->ClassifyBatch(&context);
  ASSERT_TRUE(stream->Write(Picture("first")));
  ASSERT_TRUE(classifier.WaitClassified(1));
  server.clock.Advance(absl::Seconds(50));
  ASSERT_TRUE(stream->Write(Picture("second")));
  const absl::Duration between =
      classifier.WaitRequest(1).deadline - classifier.WaitRequest(0).deadline;
  EXPECT_GE(between, absl::Seconds(50));
  EXPECT_LE(between, absl::Seconds(60));
  EXPECT_LE(classifier.WaitRequest(1).deadline - server.clock.Now(),
            server.context.limits.default_deadline);
  context.TryCancel();
  EXPECT_FALSE(stream->Finish().ok());
}

// Answers of about 100 KiB.
ClassifyResult Large() {
  ClassifyResult result = FakeClassifier::Ranked("x");
  result.scores.assign(13'000, -1.0);
  return result;
}

// Sends requests, and answers all but the last, until nothing moves for a while: nobody reads.
int Flood(RunningServer* server, Batch* batch) {
  FakeClassifier& classifier = *server->engine.classifier();
  std::jthread writer([batch] {
    while (batch->Write(Picture())) {
    }
  });
  int sent = 0;
  for (int waits = 0; waits < 60;) {
    if (classifier.num_classified() > static_cast<size_t>(sent) + 1 &&
        classifier.Send(absl::StrCat("b/", sent), Large())) {
      ++sent;
      waits = 0;
    } else {
      ++waits;
      absl::SleepFor(absl::Milliseconds(5));
    }
  }
  batch->writer = std::move(writer);
  return sent;
}

TEST(ClassifyBatch, EndsAReaderThatTakesNothing) {
  ServerOptions options = FakeOptions();
  options.slow_reader_timeout = absl::Milliseconds(600);
  RunningServer server(options);
  Batch batch(&server);
  const int sent = Flood(&server, &batch);
  EXPECT_LT(sent, 200);  // Buffers of the connection and a window.
  // What is at work is cancelled; the reader wakes up within the grace.
  EXPECT_FALSE(server.engine.classifier()->WaitCancelled().empty());
  int read = 0;
  while (batch.Next().index() == read) ++read;
  const grpc::Status status = batch.stream->Finish();
  batch.writer.join();
  EXPECT_LE(read, sent);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_EQ(Reason(status), "SLOW_READER");
  EXPECT_TRUE(WaitNoCalls(&server));
}

TEST(ClassifyBatch, ResetsAReaderThatNeverWakesUp) {
  ServerOptions options = FakeOptions();
  options.slow_reader_timeout = absl::Milliseconds(200);
  RunningServer server(options);
  Batch batch(&server);
  Flood(&server, &batch);
  EXPECT_TRUE(WaitNoCalls(&server, absl::Seconds(15)));
  batch.context.TryCancel();
  batch.writer.join();
}

TEST(ClassifyBatch, RefusesAnIdThatLeavesNoRoomForTheIndex) {
  RunningServer server;
  {
    Batch batch(&server, std::string(122, 'b'));
    ASSERT_TRUE(batch.Write(Picture()));
    EXPECT_EQ(server.engine.classifier()->WaitRequest().id,
              absl::StrCat(std::string(122, 'b'), "/0"));
    batch.context.TryCancel();
    EXPECT_FALSE(batch.stream->Finish().ok());
  }
  Batch batch(&server, std::string(123, 'b'));
  EXPECT_EQ(batch.Next().index(), -1);
  const grpc::Status status = batch.stream->Finish();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(Reason(status), "PARAMETER_OUT_OF_RANGE");
}

TEST(ClassifyBatch, TheEngineMayAnswerAfterTheServerIsGone) {
  FakeClassifier::ClassifyDone late;
  {
    RunningServer server;
    FakeClassifier& classifier = *server.engine.classifier();
    classifier.IgnoreCancels();
    Batch batch(&server);
    ASSERT_TRUE(batch.Write(Picture()));
    ASSERT_TRUE(classifier.WaitClassified(1));
    server.server->Shutdown(absl::ZeroDuration());
    EXPECT_FALSE(batch.stream->Finish().ok());
    late = classifier.TakeDone("b/0");
    ASSERT_TRUE(late);
  }
  late(FakeClassifier::Ranked("b/0"));
}

}  // namespace
}  // namespace prefixd::testing
