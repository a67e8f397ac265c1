// The daemon's life around a fake engine: load, serve, drain, stop, and exit statuses.
#include "server/daemon.h"

#include <signal.h>
#include <unistd.h>

#include <cstdio>
#include <fstream>
#include <future>
#include <string>

#include <grpcpp/channel.h>
#include <grpcpp/create_channel.h>
#include <gtest/gtest.h>

#include "prefixd/v1/admin_service.grpc.pb.h"
#include "prefixd/v1/generation_service.grpc.pb.h"
#include "tests/server/exposition.h"
#include "tests/server/fake_engine.h"
#include "tests/server/http_get.h"

namespace prefixd::testing {
namespace {

// Lets the test keep its engine while the daemon owns a view of it.
class EngineView final : public Engine {
 public:
  explicit EngineView(FakeEngine* engine) : engine_(*engine) {}
  absl::Status LoadWeights(const std::function<bool(uint64_t, uint64_t)>& progress) override {
    return engine_.LoadWeights(progress);
  }
  const EngineModelInfo& model_info() const override { return engine_.model_info(); }
  const EngineRuntimeInfo& runtime_info() const override { return engine_.runtime_info(); }
  absl::Status Submit(Request request, std::shared_ptr<EventSink> sink) override {
    return engine_.Submit(std::move(request), std::move(sink));
  }
  absl::Status Cancel(absl::string_view tenant, absl::string_view id) override {
    return engine_.Cancel(tenant, id);
  }
  void Poke() override { engine_.Poke(); }
  void CountTokens(Request request,
                   std::function<void(absl::StatusOr<TokenCounts>)> done) override {
    engine_.CountTokens(std::move(request), std::move(done));
  }
  Classifier* classifier() override { return engine_.classifier(); }
  void CreatePrefix(PrefixSpec spec,
                    std::function<void(absl::StatusOr<PrefixInfo>)> done) override {
    engine_.CreatePrefix(std::move(spec), std::move(done));
  }
  absl::StatusOr<PrefixInfo> GetPrefix(absl::string_view tenant, absl::string_view name) override {
    return engine_.GetPrefix(tenant, name);
  }
  std::vector<PrefixInfo> ListPrefixes(absl::string_view tenant) override {
    return engine_.ListPrefixes(tenant);
  }
  absl::StatusOr<PrefixInfo> TouchPrefix(absl::string_view tenant, absl::string_view name,
                                         std::optional<absl::Duration> ttl) override {
    return engine_.TouchPrefix(tenant, name, ttl);
  }
  absl::Status ReleasePrefix(absl::string_view tenant, absl::string_view name) override {
    return engine_.ReleasePrefix(tenant, name);
  }
  void FlushCache(std::optional<std::string> tenant,
                  std::function<void(FlushResult)> done) override {
    engine_.FlushCache(std::move(tenant), std::move(done));
  }
  void GetPageMap(int32_t max_cells, std::function<void(PageMap)> done) override {
    engine_.GetPageMap(max_cells, std::move(done));
  }
  void Drain() override { engine_.Drain(); }
  int WaitDrained(absl::Duration timeout) override { return engine_.WaitDrained(timeout); }
  std::shared_ptr<const EngineStats> Stats() const override { return engine_.Stats(); }

 private:
  FakeEngine& engine_;
};

class DaemonTest : public ::testing::Test {
 protected:
  DaemonTest() {
    options_.listen = "127.0.0.1:0";
    options_.port_file = ::testing::TempDir() + "/daemon_test_port_" + std::to_string(getpid());
    options_.drain_delay = absl::Milliseconds(200);
    options_.drain_timeout = absl::Seconds(20);
    std::remove(options_.port_file.c_str());
  }
  ~DaemonTest() override { std::remove(options_.port_file.c_str()); }

  void Start() {
    exit_ = std::async(std::launch::async, [this] {
      return RunDaemon(
          options_,
          [this](const EngineOptions&, const Clock*) -> absl::StatusOr<std::unique_ptr<Engine>> {
            if (!open_status_.ok()) return open_status_;
            return std::make_unique<EngineView>(&engine_);
          },
          &clock_, &stop_);
    });
  }

  // Waits for the port file and connects.
  void Connect() {
    int port = 0;
    for (int i = 0; i < 1000 && port == 0; ++i) {
      std::ifstream file(options_.port_file);
      if (!(file >> port)) std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    ASSERT_GT(port, 0);
    auto channel = grpc::CreateChannel("127.0.0.1:" + std::to_string(port),
                                       grpc::InsecureChannelCredentials());
    generation_ = v1::GenerationService::NewStub(channel);
    admin_ = v1::AdminService::NewStub(channel);
  }

  std::unique_ptr<grpc::ClientReader<v1::GenerateResponse>> Call(grpc::ClientContext* context,
                                                                 const std::string& id) {
    v1::GenerateRequest request;
    request.set_request_id(id);
    request.mutable_prompt()->add_parts()->set_text("hello");
    context->set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(20));
    return generation_->Generate(context, request);
  }

  // The exit status; -1 if the daemon does not end in time.
  int Exit(std::chrono::milliseconds timeout = std::chrono::seconds(20)) {
    if (exit_.wait_for(timeout) != std::future_status::ready) return -1;
    return exit_.get();
  }

  ServerOptions options_;
  MonotonicClock clock_;
  StopSignal stop_;
  FakeEngine engine_;
  absl::Status open_status_;
  std::future<int> exit_;
  std::unique_ptr<v1::GenerationService::Stub> generation_;
  std::unique_ptr<v1::AdminService::Stub> admin_;
};

TEST_F(DaemonTest, ExitsWith78ForAModelThatCannotBeOpened) {
  open_status_ = absl::InvalidArgumentError("/nowhere/config.json: cannot open");
  Start();
  EXPECT_EQ(Exit(), 78);
  EXPECT_FALSE(std::ifstream(options_.port_file).good());
}

TEST_F(DaemonTest, ExitsWith78ForWeightsThatCannotBeRead) {
  engine_.SetLoadStatus(absl::DataLossError("model.safetensors: truncated"));
  Start();
  EXPECT_EQ(Exit(), 78);
}

TEST_F(DaemonTest, ExitsWith78ForAPortFileThatCannotBeWritten) {
  options_.port_file = "/nowhere/port";
  Start();
  EXPECT_EQ(Exit(), 78);
}

TEST_F(DaemonTest, ExitsWith78ForAMetricsAddressThatIsTaken) {
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof(address);
  ASSERT_EQ(bind(fd, reinterpret_cast<sockaddr*>(&address), size), 0);
  ASSERT_EQ(listen(fd, 1), 0);
  ASSERT_EQ(getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size), 0);
  options_.metrics_listen = "127.0.0.1:" + std::to_string(ntohs(address.sin_port));
  Start();
  EXPECT_EQ(Exit(), 78);
  close(fd);
}

TEST_F(DaemonTest, ServesMetricsFromBeforeTheWeightsUntilTheEnd) {
  options_.metrics_listen = "127.0.0.1:0";
  options_.metrics_port_file = options_.port_file + "_metrics";
  options_.drain_delay = absl::Seconds(60);
  engine_.HoldLoading();
  Start();
  Connect();
  int port = 0;
  for (int i = 0; i < 1000 && port == 0; ++i) {
    std::ifstream file(options_.metrics_port_file);
    if (!(file >> port)) std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  EXPECT_EQ(HttpGet(port, "/readyz").body, "not ready: loading\n");
  const auto value = [&](const std::string& name,
                         const std::map<std::string, std::string>& labels) {
    const auto families = ParseExposition(HttpGet(port, "/metrics").body);
    EXPECT_TRUE(families.ok()) << families.status();
    return families.ok() ? FindValue(*families, name, labels).value_or(-1) : -1;
  };
  EXPECT_EQ(value("prefixd_ready", {}), 0);
  EXPECT_EQ(value("prefixd_model_load_seconds", {{"stage", "weights"}}), -1);
  EXPECT_GT(value("prefixd_model_load_seconds", {{"stage", "open"}}), 0);
  engine_.ReleaseLoading();
  for (int i = 0; i < 1000 && HttpGet(port, "/readyz").code != 200; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  EXPECT_EQ(value("prefixd_ready", {}), 1);
  EXPECT_GT(value("prefixd_model_load_seconds", {{"stage", "weights"}}), 0);
  // While load balancers take notice it serves, but says it is not ready.
  stop_.Raise();
  for (int i = 0; i < 1000 && HttpGet(port, "/readyz").code != 503; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  EXPECT_EQ(HttpGet(port, "/readyz").body, "not ready: starting or stopping\n");
  stop_.Raise();
  EXPECT_EQ(Exit(std::chrono::seconds(3)), 0);
  EXPECT_EQ(HttpGet(port, "/healthz").code, 0);
  std::remove(options_.metrics_port_file.c_str());
}

TEST_F(DaemonTest, AnswersWhileWeightsAreRead) {
  engine_.HoldLoading();
  Start();
  Connect();
  v1::GetServerInfoResponse info;
  {
    grpc::ClientContext context;
    ASSERT_TRUE(admin_->GetServerInfo(&context, v1::GetServerInfoRequest(), &info).ok());
  }
  EXPECT_EQ(info.state(), v1::SERVER_STATE_LOADING);
  engine_.ReleaseLoading();
  stop_.Raise();
  EXPECT_EQ(Exit(), 0);
}

TEST_F(DaemonTest, AStopWhileWeightsAreReadEndsAtOnce) {
  engine_.HoldLoading();
  options_.drain_delay = absl::Seconds(60);
  Start();
  Connect();
  stop_.Raise();
  EXPECT_EQ(Exit(std::chrono::seconds(3)), 0);
}

TEST_F(DaemonTest, ServesOnDuringTheDelayAndFinishesWhatWasAccepted) {
  Start();
  Connect();
  grpc::ClientContext before, during, after;
  auto first = Call(&before, "before");
  engine_.WaitRequest(0);
  options_.drain_delay = absl::Milliseconds(200);
  stop_.Raise();
  auto second = Call(&during, "during");
  engine_.WaitRequest(1);
  for (int i = 0; i < 1000 && !engine_.draining(); ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  ASSERT_TRUE(engine_.draining());
  const grpc::Status refused = Call(&after, "after")->Finish();
  EXPECT_EQ(refused.error_code(), grpc::StatusCode::UNAVAILABLE);
  for (const char* id : {"before", "during"}) {
    engine_.Send(id, StartedEvent{.request_id = id});
    engine_.Send(id, FinishedEvent{});
  }
  v1::GenerateResponse response;
  while (first->Read(&response)) {
  }
  EXPECT_TRUE(first->Finish().ok());
  while (second->Read(&response)) {
  }
  EXPECT_TRUE(second->Finish().ok());
  EXPECT_EQ(Exit(), 0);
}

TEST_F(DaemonTest, CutsWhatIsLeftWhenTheDrainTimeIsOver) {
  options_.drain_delay = absl::ZeroDuration();
  options_.drain_timeout = absl::Milliseconds(100);
  Start();
  Connect();
  grpc::ClientContext context;
  auto reader = Call(&context, "a");
  engine_.WaitRequest();
  stop_.Raise();
  EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(Exit(), 0);
}

TEST_F(DaemonTest, ASecondStopShortensDelayAndDrain) {
  options_.drain_delay = absl::Seconds(60);
  options_.drain_timeout = absl::Seconds(60);
  Start();
  Connect();
  grpc::ClientContext context;
  auto reader = Call(&context, "a");
  engine_.WaitRequest();
  stop_.Raise();
  stop_.Raise();
  EXPECT_EQ(Exit(std::chrono::seconds(5)), 0);
  EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::UNAVAILABLE);
}

TEST_F(DaemonTest, ExitsWith70WhenTheEngineFails) {
  Start();
  Connect();
  engine_.SetState(EngineState::kFailed);
  EXPECT_EQ(Exit(), 70);
}

// Before any thread starts: each inherits the mask, so no signal ends the process.
const bool kSignalsBlocked = [] {
  SignalThread::BlockSignals();
  return true;
}();

TEST(SignalThread, CountsSignals) {
  ASSERT_TRUE(kSignalsBlocked);
  StopSignal stop;
  SignalThread thread(&stop);
  kill(getpid(), SIGTERM);
  EXPECT_TRUE(stop.Wait(1, absl::Seconds(5)));
  kill(getpid(), SIGINT);
  EXPECT_TRUE(stop.Wait(2, absl::Seconds(5)));
  EXPECT_EQ(stop.count(), 2);
}

}  // namespace
}  // namespace prefixd::testing
