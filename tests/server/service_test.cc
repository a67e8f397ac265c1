// Generate and CountTokens over a real channel: the order of events, refusals and their details.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/string_view.h"
#include "tests/server/server_fixture.h"

namespace prefixd::testing {
namespace {

using ::testing::HasSubstr;

bool HasKey(const std::multimap<grpc::string_ref, grpc::string_ref>& metadata,
            const std::string& key, std::string* value) {
  const auto found = metadata.find(key);
  if (found == metadata.end()) return false;
  *value = std::string(found->second.data(), found->second.size());
  return true;
}

TEST(Generate, SendsTheEventsInOrder) {
  RunningServer server;
  Call call(&server, Hello("a"));
  EXPECT_EQ(
      std::get<TextPart>(std::get<PromptInput>(server.engine.WaitRequest().input).parts[0]).text,
      "hello");
  server.engine.Send("a", Started("a"));
  const v1::GenerateResponse started = call.Next();
  EXPECT_EQ(started.started().request_id(), "a");
  EXPECT_EQ(started.started().model(), "fake");
  EXPECT_EQ(started.started().prompt_tokens(), 5);
  EXPECT_EQ(started.started().cached_prompt_tokens(), 2);
  EXPECT_EQ(started.started().image_tokens(), 1);
  EXPECT_EQ(started.started().seed(), 77u);
  EXPECT_EQ(started.started().max_tokens(), 64);

  DeltaEvent delta = Delta(1, "hi");
  delta.logprobs = {{.sampled = {.token_id = 11, .token = "\xf0\x9f", .logprob = -0.5f, .rank = 1},
                     .top = {{.token_id = 12, .token = "x", .logprob = -1.0f, .rank = 2}}}};
  server.engine.Send("a", delta);
  const v1::GenerateResponse sent = call.Next();
  EXPECT_EQ(sent.delta().index(), 1);
  EXPECT_EQ(sent.delta().text(), "hi");
  EXPECT_EQ(sent.delta().token_ids(0), 11);
  EXPECT_EQ(sent.delta().logprobs(0).sampled().token(), "\xf0\x9f");
  EXPECT_EQ(sent.delta().logprobs(0).top(0).rank(), 2);

  server.engine.Send(
      "a",
      ChoiceFinishedEvent{.choice = 1, .reason = FinishReason::kStopString, .stop_string = "end"});
  const v1::GenerateResponse choice = call.Next();
  EXPECT_EQ(choice.choice_finished().index(), 1);
  EXPECT_EQ(choice.choice_finished().reason(), v1::FINISH_REASON_STOP_STRING);
  EXPECT_EQ(choice.choice_finished().stop_string(), "end");

  server.engine.Send("a", Finished());
  const v1::GenerateResponse finished = call.Next();
  EXPECT_EQ(finished.finished().usage().prompt_tokens(), 5);
  EXPECT_EQ(finished.finished().usage().cached_prompt_tokens(), 2);
  EXPECT_EQ(finished.finished().usage().image_tokens(), 1);
  EXPECT_EQ(finished.finished().usage().completion_tokens(), 3);
  EXPECT_EQ(finished.finished().usage().recomputed_tokens(), 4);
  EXPECT_EQ(finished.finished().timings().queue().nanos(), 1000000);
  EXPECT_EQ(finished.finished().timings().first_token().nanos(), 300000000);
  EXPECT_EQ(finished.finished().timings().total().seconds(), 4);
  EXPECT_EQ(finished.finished().receipt().seed(), 77u);
  EXPECT_EQ(finished.finished().receipt().model_digest(), "d1ge57");
  EXPECT_EQ(finished.finished().receipt().backend(), "cpu/avx512");
  const v1::CacheReceipt cache = finished.finished().receipt().cache();
  EXPECT_EQ(cache.hit_tokens(), 2);
  EXPECT_EQ(cache.computed_tokens(), 3);
  EXPECT_EQ(cache.evicted_tokens(), 4);
  EXPECT_EQ(cache.images(), 5);
  EXPECT_EQ(cache.images_in_prefix(), 6);
  EXPECT_EQ(cache.feature_hits(), 7);
  EXPECT_EQ(cache.images_encoded(), 8);
  EXPECT_EQ(cache.decode_hits(), 9);
  EXPECT_EQ(cache.kv_bytes(), 10u);
  EXPECT_EQ(cache.shared_kv_bytes(), 11u);
  EXPECT_EQ(cache.miss(), v1::CACHE_MISS_REASON_DIVERGED);
  EXPECT_EQ(cache.preemptions(), 12);

  EXPECT_EQ(call.Next().event_case(), v1::GenerateResponse::EVENT_NOT_SET);
  EXPECT_TRUE(call.reader->Finish().ok());
  std::string id;
  EXPECT_TRUE(HasKey(call.context.GetServerInitialMetadata(), "x-request-id", &id));
  EXPECT_EQ(id, "a");
}

TEST(Generate, ReportsWhyAChoiceEnded) {
  const struct {
    FinishReason reason;
    std::optional<int32_t> stop_token;
    v1::FinishReason wire;
  } cases[] = {
      {FinishReason::kEos, 2, v1::FINISH_REASON_EOS},
      {FinishReason::kStopToken, 9, v1::FINISH_REASON_STOP_TOKEN},
      {FinishReason::kMaxTokens, std::nullopt, v1::FINISH_REASON_MAX_TOKENS},
      {FinishReason::kContextLength, std::nullopt, v1::FINISH_REASON_CONTEXT_LENGTH},
      {FinishReason::kTimeLimit, std::nullopt, v1::FINISH_REASON_TIME_LIMIT},
  };
  RunningServer server;
  Call call(&server, Hello("a"));
  server.engine.WaitRequest();
  server.engine.Send("a", Started("a"));
  call.Next();
  for (const auto& c : cases) {
    server.engine.Send("a", ChoiceFinishedEvent{.reason = c.reason, .stop_token = c.stop_token});
    const v1::ChoiceFinished sent = call.Next().choice_finished();
    EXPECT_EQ(sent.reason(), c.wire);
    EXPECT_EQ(sent.stop_case() == v1::ChoiceFinished::kStopTokenId, c.stop_token.has_value());
    EXPECT_EQ(sent.stop_token_id(), c.stop_token.value_or(0));
  }
  server.engine.Send("a", Finished());
  call.Next();
  EXPECT_TRUE(call.reader->Finish().ok());
}

TEST(Generate, ReportsWhyTokensWereNotCached) {
  const std::pair<CacheMiss, v1::CacheMissReason> cases[] = {
      {CacheMiss::kNone, v1::CACHE_MISS_REASON_NONE},
      {CacheMiss::kBypassed, v1::CACHE_MISS_REASON_BYPASSED},
      {CacheMiss::kNotCached, v1::CACHE_MISS_REASON_NOT_CACHED},
      {CacheMiss::kEvicted, v1::CACHE_MISS_REASON_EVICTED},
      {CacheMiss::kDiverged, v1::CACHE_MISS_REASON_DIVERGED},
      {CacheMiss::kNoScores, v1::CACHE_MISS_REASON_NO_SCORES},
  };
  RunningServer server;
  for (size_t i = 0; i < std::size(cases); ++i) {
    const std::string id = "r" + std::to_string(i);
    Call call(&server, Hello(id));
    server.engine.WaitRequest(i);
    FinishedEvent finished = Finished();
    finished.cache.miss = cases[i].first;
    server.engine.Send(id, finished);
    EXPECT_EQ(call.Next().finished().receipt().cache().miss(), cases[i].second);
    EXPECT_TRUE(call.reader->Finish().ok());
  }
}

TEST(Generate, TakesRetentionAndReportsWhatRan) {
  RunningServer server;
  v1::GenerateRequest request = Hello("a");
  request.mutable_retention()->set_scope(v1::RETENTION_SCOPE_EXACT);
  request.mutable_retention()->set_budget(0.25);
  Call call(&server, request);
  const Request taken = server.engine.WaitRequest();
  EXPECT_EQ(taken.retention.scope, RetentionScope::kExact);
  EXPECT_EQ(taken.retention.budget, 0.25);
  FinishedEvent finished = Finished();
  finished.retention = {.scope = RetentionScope::kExact,
                        .policy = "h2o",
                        .budget = 0.25,
                        .selected_from = 8,
                        .kept_tokens = {3, 1}};
  server.engine.Send("a", finished);
  const v1::RetentionReceipt receipt = call.Next().finished().receipt().retention();
  EXPECT_EQ(receipt.scope(), v1::RETENTION_SCOPE_EXACT);
  EXPECT_EQ(receipt.policy(), "h2o");
  EXPECT_EQ(receipt.budget(), 0.25);
  EXPECT_EQ(receipt.selected_from(), 8);
  EXPECT_EQ(receipt.kept_tokens_size(), 2);
}

TEST(Generate, NamesTheImageThatIsNotCached) {
  RunningServer server;
  v1::GenerateRequest request = Hello("a");
  request.mutable_prompt()->add_parts()->mutable_image()->set_image_sha256(std::string(32, '\x7f'));
  Call call(&server, request);
  const Request taken = server.engine.WaitRequest();
  const auto image = std::get<ImagePart>(std::get<PromptInput>(taken.input).parts.at(1));
  EXPECT_EQ(image.sha256, std::string(32, '\x7f'));
  EXPECT_EQ(image.bytes, "");
  server.engine.Send(
      "a", FailedEvent{MakeError(absl::StatusCode::kNotFound, reason::kImageNotCached,
                                 "image 0 is not cached",
                                 {{"image_index", "0"}, {"sha256", std::string(64, 'f')}})});
  const grpc::Status status = call.reader->Finish();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::NOT_FOUND);
  EXPECT_EQ(Reason(status), "IMAGE_NOT_CACHED");
  EXPECT_EQ(GetDetail<google::rpc::ErrorInfo>(status).metadata().at("image_index"), "0");
  EXPECT_EQ(GetDetail<google::rpc::ResourceInfo>(status).resource_type(), "image");
  EXPECT_EQ(GetDetail<google::rpc::ResourceInfo>(status).resource_name(), std::string(64, 'f'));
  std::string id;
  EXPECT_FALSE(HasKey(call.context.GetServerInitialMetadata(), "x-request-id", &id));
}

TEST(Generate, TakesTheRequestIdFromMetadataOrDrawsOne) {
  RunningServer server;
  {
    grpc::ClientContext context;
    context.AddMetadata("x-request-id", "from-metadata");
    auto reader = server.generation->Generate(&context, Hello(""));
    EXPECT_EQ(server.engine.WaitRequest(0).id, "from-metadata");
    context.TryCancel();
    reader->Finish();
  }
  Call drawn(&server, Hello(""));
  EXPECT_THAT(server.engine.WaitRequest(1).id, ::testing::MatchesRegex("[0-9a-f]{32}"));
  drawn.context.TryCancel();
  drawn.reader->Finish();
}

TEST(Generate, RefusesAMalformedIdInMetadata) {
  RunningServer server;
  grpc::ClientContext context;
  context.AddMetadata("x-request-id", "no spaces");
  auto reader = server.generation->Generate(&context, Hello(""));
  const grpc::Status status = reader->Finish();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(GetDetail<google::rpc::BadRequest>(status).field_violations(0).field(), "x-request-id");
  EXPECT_EQ(server.engine.num_submits(), 0);
}

TEST(Generate, RefusesBadRequestsWithEveryViolation) {
  RunningServer server;
  v1::GenerateRequest request = Hello("a");
  request.mutable_sampling()->set_top_p(2);
  request.mutable_output()->set_n(9);
  Call call(&server, request);
  const grpc::Status status = call.reader->Finish();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(Reason(status), "PARAMETER_OUT_OF_RANGE");
  EXPECT_EQ(GetDetail<google::rpc::RequestInfo>(status).request_id(), "a");
  const auto bad = GetDetail<google::rpc::BadRequest>(status);
  ASSERT_EQ(bad.field_violations_size(), 2);
  EXPECT_EQ(bad.field_violations(0).field(), "sampling.top_p");
  EXPECT_EQ(bad.field_violations(1).field(), "output.n");
  EXPECT_EQ(server.engine.num_submits(), 0);
  std::string id;
  EXPECT_FALSE(HasKey(call.context.GetServerInitialMetadata(), "x-request-id", &id));
  EXPECT_TRUE(HasKey(call.context.GetServerTrailingMetadata(), "x-request-id", &id));
}

TEST(Generate, SendsTheRetryHintOfARefusal) {
  RunningServer server;
  server.engine.SetSubmitStatus(
      MakeError(absl::StatusCode::kResourceExhausted, "the queue is full",
                ErrorDetail{.reason = reason::kQueueFull, .retry_after = absl::Seconds(60)}));
  Call call(&server, Hello("a"));
  const grpc::Status status = call.reader->Finish();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_EQ(Reason(status), "QUEUE_FULL");
  EXPECT_EQ(GetDetail<google::rpc::RetryInfo>(status).retry_delay().seconds(), 60);
  std::string pushback;
  ASSERT_TRUE(
      HasKey(call.context.GetServerTrailingMetadata(), "grpc-retry-pushback-ms", &pushback));
  EXPECT_GE(std::stoi(pushback), 48000);
  EXPECT_LE(std::stoi(pushback), 72000);
}

// gRPC retries a call only while no headers came: three attempts prove Trailers-Only.
TEST(Generate, ARefusalComesWithoutHeadersSoThatClientsRetry) {
  RunningServer server;
  server.engine.SetSubmitStatus(
      MakeError(absl::StatusCode::kUnavailable, reason::kModelNotReady, "loading"));
  grpc::ChannelArguments arguments;
  arguments.SetServiceConfigJSON(R"({"methodConfig":[{"name":[{}],"retryPolicy":{
      "maxAttempts":3,"initialBackoff":"0.01s","maxBackoff":"0.02s","backoffMultiplier":1,
      "retryableStatusCodes":["UNAVAILABLE"]}}]})");
  auto stub = v1::GenerationService::NewStub(server.Connect(arguments));
  grpc::ClientContext context;
  const grpc::Status status = stub->Generate(&context, Hello("a"))->Finish();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(Reason(status), "MODEL_NOT_READY");
  EXPECT_EQ(server.engine.num_submits(), 3);
}

TEST(Generate, ARefusalByThePrepThreadIsRetriedTheSameWay) {
  RunningServer server;
  Call call(&server, Hello("a"));
  server.engine.WaitRequest();
  server.engine.Send("a", FailedEvent{MakeError(absl::StatusCode::kInvalidArgument,
                                                reason::kImageCorrupt, "image 0: broken")});
  const grpc::Status status = call.reader->Finish();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(Reason(status), "IMAGE_CORRUPT");
  std::string id;
  EXPECT_FALSE(HasKey(call.context.GetServerInitialMetadata(), "x-request-id", &id));
}

TEST(Generate, RefusesTheIdOfALiveRequestAndLeavesThatOneAlone) {
  RunningServer server;
  Call first(&server, Hello("twice"));
  server.engine.WaitRequest();
  Call second(&server, Hello("twice"));
  EXPECT_EQ(second.reader->Finish().error_code(), grpc::StatusCode::ALREADY_EXISTS);
  EXPECT_TRUE(server.engine.cancelled().empty());
  server.engine.Send("twice", Started("twice"));
  EXPECT_TRUE(first.Next().has_started());
  server.engine.Send("twice", Finished());
  EXPECT_TRUE(first.Next().has_finished());
  EXPECT_TRUE(first.reader->Finish().ok());
}

TEST(Generate, RefusesMoreThanItsBudgetOfBytes) {
  RunningServer server;
  Call first(&server, Hello("first"));
  server.engine.WaitRequest();
  const uint64_t held = server.context.budget.bytes();
  EXPECT_EQ(held, Hello("first").ByteSizeLong());
  ASSERT_TRUE(server.context.budget.Take((1u << 30) - 2 * held));
  Call second(&server, Hello("second"));
  const grpc::Status status = second.reader->Finish();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_EQ(Reason(status), "QUEUE_FULL");
  first.context.TryCancel();
  first.reader->Finish();
  EXPECT_EQ(server.engine.WaitCancelled(), "first");
}

TEST(CountTokens, AnswersWhatTheEngineCounts) {
  RunningServer server;
  server.engine.SetCountResult(TokenCounts{
      .prompt_tokens = 12, .image_tokens = 9, .cached_prompt_tokens = 3, .num_images = 1});
  grpc::ClientContext context;
  v1::CountTokensRequest request;
  request.mutable_prompt()->add_parts()->set_text("hello");
  request.set_prefix("prefixes/p");
  request.set_bypass_prefix_cache(true);
  request.set_cache_salt("salt");
  v1::CountTokensResponse response;
  ASSERT_TRUE(server.generation->CountTokens(&context, request, &response).ok());
  EXPECT_EQ(response.prompt_tokens(), 12);
  EXPECT_EQ(response.image_tokens(), 9);
  EXPECT_EQ(response.cached_prompt_tokens(), 3);
  EXPECT_EQ(response.num_images(), 1);
  EXPECT_EQ(server.context.budget.calls(), 0);
  const Request counted = server.engine.counted().at(0);
  EXPECT_EQ(counted.prefix, "prefixes/p");
  EXPECT_TRUE(counted.bypass_prefix_cache);
  EXPECT_EQ(counted.cache_salt, "salt");
}

TEST(CountTokens, PassesErrorsOn) {
  RunningServer server;
  server.engine.SetCountResult(
      MakeError(absl::StatusCode::kInvalidArgument, reason::kContextLengthExceeded, "101 of 100"));
  v1::CountTokensRequest request;
  v1::CountTokensResponse response;
  {
    grpc::ClientContext context;
    const grpc::Status status = server.generation->CountTokens(&context, request, &response);
    EXPECT_EQ(Reason(status), "INPUT_INVALID");
  }
  request.mutable_prompt()->add_parts()->set_text("hello");
  grpc::ClientContext context;
  const grpc::Status status = server.generation->CountTokens(&context, request, &response);
  EXPECT_EQ(Reason(status), "CONTEXT_LENGTH_EXCEEDED");
  EXPECT_THAT(status.error_message(), HasSubstr("101 of 100"));
}

}  // namespace
}  // namespace prefixd::testing
