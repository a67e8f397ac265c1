// A real server on a loopback port around a fake engine, and a client of it.
#ifndef PREFIXD_TESTS_SERVER_SERVER_FIXTURE_H_
#define PREFIXD_TESTS_SERVER_SERVER_FIXTURE_H_

#include <atomic>
#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>
#include <grpcpp/create_channel.h>
#include <gtest/gtest.h>

#include "base/clock.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "prefixd/v1/admin_service.grpc.pb.h"
#include "prefixd/v1/classification_service.grpc.pb.h"
#include "prefixd/v1/generation_service.grpc.pb.h"
#include "prefixd/v1/model_service.grpc.pb.h"
#include "prefixd/v1/prefix_service.grpc.pb.h"
#include "server/grpc_server.h"
#include "server/serving_context.h"
#include "tests/server/fake_engine.h"

namespace prefixd::testing {

inline ServerOptions FakeOptions() {
  ServerOptions options;
  options.listen = "127.0.0.1:0";
  return options;
}

// The machine's clock, which tests move forward.
class ShiftedClock final : public Clock {
 public:
  absl::Time Now() const override { return machine_.Now() + absl::Nanoseconds(nanos_.load()); }
  void Advance(absl::Duration by) { nanos_.fetch_add(absl::ToInt64Nanoseconds(by)); }

 private:
  const MonotonicClock machine_;
  std::atomic<int64_t> nanos_{0};
};

class RunningServer {
 public:
  explicit RunningServer(const ServerOptions& options = FakeOptions(),
                         std::shared_ptr<const TokenTable> tokens = nullptr)
      : context(&engine, &clock, options) {
    context.start = clock.Now();
    if (tokens != nullptr) context.auth.Install(std::move(tokens));
    auto started = GrpcServer::Start(&context);
    EXPECT_TRUE(started.ok()) << started.status();
    server = *std::move(started);
    channel = Connect({});
    generation = v1::GenerationService::NewStub(channel);
    models = v1::ModelService::NewStub(channel);
    admin = v1::AdminService::NewStub(channel);
    prefixes = v1::PrefixService::NewStub(channel);
    classification = v1::ClassificationService::NewStub(channel);
  }

  std::shared_ptr<grpc::Channel> Connect(grpc::ChannelArguments arguments) const {
    arguments.SetInt("grpc.use_local_subchannel_pool", 1);
    arguments.SetMaxSendMessageSize(-1);
    return grpc::CreateCustomChannel("127.0.0.1:" + std::to_string(server->port()),
                                     grpc::InsecureChannelCredentials(), arguments);
  }

  FakeEngine engine;
  ShiftedClock clock;
  ServingContext context;
  std::unique_ptr<GrpcServer> server;
  std::shared_ptr<grpc::Channel> channel;
  std::unique_ptr<v1::GenerationService::Stub> generation;
  std::unique_ptr<v1::ModelService::Stub> models;
  std::unique_ptr<v1::AdminService::Stub> admin;
  std::unique_ptr<v1::PrefixService::Stub> prefixes;
  std::unique_ptr<v1::ClassificationService::Stub> classification;
};

inline v1::GenerateRequest Hello(const std::string& id) {
  v1::GenerateRequest request;
  request.set_request_id(id);
  request.mutable_prompt()->add_parts()->set_text("hello");
  return request;
}

// One call; a bound on its time keeps a broken server from hanging the tests.
struct Call {
  Call(RunningServer* server, const v1::GenerateRequest& request,
       std::chrono::milliseconds timeout = std::chrono::seconds(20)) {
    context.set_deadline(std::chrono::system_clock::now() + timeout);
    reader = server->generation->Generate(&context, request);
  }
  // The next event; an empty one at the end.
  v1::GenerateResponse Next() {
    v1::GenerateResponse response;
    if (!reader->Read(&response)) response.Clear();
    return response;
  }
  grpc::ClientContext context;
  std::unique_ptr<grpc::ClientReader<v1::GenerateResponse>> reader;
};

// The one detail of a type; an empty one if there is none.
template <typename Detail>
Detail GetDetail(const grpc::Status& status) {
  google::rpc::Status rich;
  Detail detail;
  if (!rich.ParseFromString(status.error_details())) return detail;
  for (const auto& any : rich.details()) any.UnpackTo(&detail);
  return detail;
}

inline std::string Reason(const grpc::Status& status) {
  return GetDetail<google::rpc::ErrorInfo>(status).reason();
}

inline StartedEvent Started(const std::string& id) {
  return {.request_id = id,
          .model = "fake",
          .prompt_tokens = 5,
          .cached_prompt_tokens = 2,
          .image_tokens = 1,
          .seed = 77,
          .max_tokens = 64};
}

inline DeltaEvent Delta(int choice, const std::string& text) {
  return {.choice = choice, .text = text, .token_ids = {11}};
}

inline FinishedEvent Finished() {
  return {.usage = {.prompt_tokens = 5,
                    .cached_prompt_tokens = 2,
                    .image_tokens = 1,
                    .completion_tokens = 3,
                    .recomputed_tokens = 4},
          .cache = {.hit_tokens = 2,
                    .computed_tokens = 3,
                    .evicted_tokens = 4,
                    .images = 5,
                    .images_in_prefix = 6,
                    .feature_hits = 7,
                    .images_encoded = 8,
                    .decode_hits = 9,
                    .kv_bytes = 10,
                    .shared_kv_bytes = 11,
                    .miss = CacheMiss::kDiverged,
                    .preemptions = 12},
          .timings = {.queue = absl::Milliseconds(1),
                      .prefill = absl::Milliseconds(20),
                      .first_token = absl::Milliseconds(300),
                      .total = absl::Milliseconds(4000)}};
}

}  // namespace prefixd::testing

#endif  // PREFIXD_TESTS_SERVER_SERVER_FIXTURE_H_
