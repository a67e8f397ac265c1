// Readers that stop reading: they end on time, hold little memory and no places, and nobody else
// notices. bench/slow_readers.sh asks the same of a thousand streams.
#include <memory>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "tests/e2e/daemon.h"

namespace prefixd::testing {
namespace {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr int kSlowdown = 10;  // Of sanitized code.
#else
constexpr int kSlowdown = 1;
#endif

void Sleep(absl::Duration duration) {
  std::this_thread::sleep_for(absl::ToChronoNanoseconds(duration));
}

// A stream of more than a megabyte whose first event is read and nothing else. Its connection is
// its own and takes 64 KiB ahead of the reader.
class Stalled {
 public:
  Stalled(const Daemon& daemon, const std::string& id) {
    grpc::ChannelArguments arguments;
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    arguments.SetInt(GRPC_ARG_HTTP2_BDP_PROBE, 0);
    arguments.SetInt(GRPC_ARG_HTTP2_STREAM_LOOKAHEAD_BYTES, 65536);
    stub_ = v1::GenerationService::NewStub(
        grpc::CreateCustomChannel(daemon.address(), grpc::InsecureChannelCredentials(), arguments));
    v1::GenerateRequest request = Ask("Describe the image.");
    request.set_request_id(id);
    request.mutable_stopping()->set_ignore_eos(true);
    request.mutable_stopping()->set_max_tokens(1900);
    request.mutable_output()->set_n(2);
    request.mutable_output()->set_logprobs(20);
    reader_ = stub_->Generate(&context_, request);
    v1::GenerateResponse first;
    EXPECT_TRUE(reader_->Read(&first));
    EXPECT_TRUE(first.has_started());
  }

  // Reads what there is; the status of the call, with what was read.
  Answer ReadAll(size_t* bytes) {
    v1::GenerateResponse response;
    while (reader_->Read(&response)) *bytes += response.ByteSizeLong();
    Answer answer;
    answer.status = reader_->Finish();
    return answer;
  }

 private:
  std::unique_ptr<v1::GenerationService::Stub> stub_;
  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientReader<v1::GenerateResponse>> reader_;
};

// Live requests in `state`.
int CountIn(Daemon* daemon, v1::RequestState state) {
  grpc::ClientContext context;
  v1::ListRequestsResponse list;
  EXPECT_TRUE(daemon->admin()->ListRequests(&context, {}, &list).ok());
  int count = 0;
  for (const auto& request : list.requests()) count += request.state() == state;
  return count;
}

bool WaitParked(Daemon* daemon, int count) {
  const absl::Time end = absl::Now() + absl::Seconds(20 * kSlowdown);
  while (CountIn(daemon, v1::REQUEST_STATE_PARKED) != count) {
    if (absl::Now() > end) return false;
    Sleep(absl::Milliseconds(10));
  }
  return true;
}

TEST(SlowReader, EndsOnTimeWithoutTroubleForOthers) {
  Daemon daemon({"--slow-reader-timeout", "2s"});
  ASSERT_TRUE(daemon.Generate(Ask("Hello.")).status.ok());
  const std::string text = daemon.Generate(Ask("Hello.")).text();
  std::vector<std::unique_ptr<Stalled>> stalled;
  for (int i = 0; i < 4; ++i) {
    stalled.push_back(std::make_unique<Stalled>(daemon, absl::StrCat("stalled-", i)));
  }
  ASSERT_TRUE(WaitParked(&daemon, 4));
  EXPECT_EQ(daemon.Generate(Ask("Hello.")).text(), text);
  // Parked within moments of the write that stuck, and looked at once a second.
  Sleep(absl::Milliseconds(3500));
  EXPECT_EQ(daemon.MeasureIdle().live_requests, 0);
  for (const auto& call : stalled) {
    size_t bytes = 0;
    const Answer answer = call->ReadAll(&bytes);
    EXPECT_EQ(answer.status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
    EXPECT_EQ(answer.reason(), "SLOW_READER");
    EXPECT_LT(bytes, 512u << 10);  // Of more than a megabyte.
  }
}

TEST(SlowReader, ParkedRequestsHoldNoPlaces) {
  Daemon daemon({"--max-running", "4", "--kv-memory", "256MiB"});
  std::vector<std::unique_ptr<Stalled>> stalled;
  for (int i = 0; i < 12; ++i) {
    stalled.push_back(std::make_unique<Stalled>(daemon, absl::StrCat("stalled-", i)));
  }
  ASSERT_TRUE(WaitParked(&daemon, 12));
  const absl::Time begin = absl::Now();
  EXPECT_TRUE(daemon.Generate(Ask("Hello.")).status.ok());
  EXPECT_LT(absl::Now() - begin, absl::Seconds(1 * kSlowdown));
}

TEST(SlowReader, AStalledStreamTakesNoCpu) {
  Daemon daemon({"--slow-reader-timeout", "4s"});
  Stalled stalled(daemon, "stalled");
  ASSERT_TRUE(WaitParked(&daemon, 1));
  EXPECT_LE(daemon.QuietCpuTime(), 0.01 * kQuietWindow);
  EXPECT_EQ(CountIn(&daemon, v1::REQUEST_STATE_PARKED), 1);
  Sleep(absl::Milliseconds(3500));
  EXPECT_EQ(daemon.MeasureIdle().live_requests, 0);
}

}  // namespace
}  // namespace prefixd::testing
