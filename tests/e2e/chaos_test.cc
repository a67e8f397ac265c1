// A thousand requests that end in every way at random points: nothing may leak, nothing may be
// lost.
#include <random>
#include <thread>

#include <gtest/gtest.h>

#include "absl/time/clock.h"
#include "base/file.h"
#include "tests/e2e/daemon.h"

namespace prefixd::testing {
namespace {

constexpr int kCallers = 16;
constexpr uint32_t kSeed = 20261125;
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr int kRequests = 100;           // Sanitized code is ten times slower.
constexpr double kMaxGrowthMib = 300.0;  // Freed memory waits in the sanitizer's quarantine.
#else
constexpr int kRequests = 1000;
constexpr double kMaxGrowthMib = 16.0;
#endif

enum class Ending { kFinish, kCancel, kDeadline, kDisconnect, kAbort };

struct Tally {
  std::atomic<int> finished{0}, cancelled{0}, deadline{0}, disconnected{0}, refused{0}, other{0};
};

v1::GenerateRequest RandomRequest(std::mt19937* random, const std::string& picture, int index) {
  const auto draw = [random](int low, int high) {
    return std::uniform_int_distribution<int>(low, high)(*random);
  };
  v1::GenerateRequest request;
  if (draw(0, 1) == 0) {
    request = Ask("Describe the image.", picture);
  } else {
    request.mutable_prompt()->add_parts()->set_text(std::string(draw(1, 600), 'a'));
  }
  request.set_request_id("chaos-" + std::to_string(index));
  request.mutable_stopping()->set_ignore_eos(draw(0, 1) == 0);
  request.mutable_stopping()->set_max_tokens(draw(1, 60));
  request.mutable_output()->set_n(draw(0, 5) == 0 ? 3 : 1);
  return request;
}

class Caller {
 public:
  Caller(Daemon* daemon, Tally* tally, std::string picture, uint32_t seed)
      : daemon_(daemon), tally_(tally), picture_(std::move(picture)), random_(seed) {}

  void Run(int first, int count) {
    for (int i = first; i < first + count; ++i) One(i);
  }

 private:
  int Draw(int low, int high) { return std::uniform_int_distribution<int>(low, high)(random_); }

  void One(int index) {
    const v1::GenerateRequest request = RandomRequest(&random_, picture_, index);
    const auto ending = static_cast<Ending>(Draw(0, 4));
    const int stop_after = Draw(0, 20);
    if (channel_ == nullptr || Draw(0, 9) == 0) channel_ = daemon_->Connect();
    auto stub = v1::GenerationService::NewStub(channel_);
    grpc::ClientContext context;
    context.set_deadline(
        std::chrono::system_clock::now() +
        std::chrono::milliseconds(ending == Ending::kDeadline ? Draw(1, 200) : 120000));
    auto reader = stub->Generate(&context, request);
    v1::GenerateResponse response;
    int events = 0, num_finished = 0;
    while (reader->Read(&response)) {
      num_finished += response.has_finished();
      if (events++ != stop_after) continue;
      if (ending == Ending::kCancel) context.TryCancel();
      if (ending == Ending::kAbort) Abort(request.request_id());
      if (ending == Ending::kDisconnect) {  // The call and its connection go away unread.
        context.TryCancel();
        channel_.reset();
        stub.reset();
      }
    }
    Count(reader->Finish(), num_finished);
  }

  void Abort(const std::string& id) {
    grpc::ClientContext context;
    v1::AbortRequestRequest request;
    request.set_request_id(id);
    v1::AbortRequestResponse response;
    const grpc::Status status = daemon_->admin()->AbortRequest(&context, request, &response);
    EXPECT_TRUE(status.ok() || status.error_code() == grpc::StatusCode::NOT_FOUND);
  }

  void Count(const grpc::Status& status, int num_finished) {
    // A call that its caller gave up after the last event has both.
    EXPECT_LE(num_finished, 1);
    EXPECT_TRUE(num_finished == 1 || !status.ok());
    switch (status.error_code()) {
      case grpc::StatusCode::OK:
        ++tally_->finished;
        break;
      case grpc::StatusCode::CANCELLED:
        ++tally_->cancelled;
        break;
      case grpc::StatusCode::DEADLINE_EXCEEDED:
        ++tally_->deadline;
        break;
      case grpc::StatusCode::RESOURCE_EXHAUSTED:
        ++tally_->refused;
        break;
      default:
        ++tally_->other;
        ADD_FAILURE() << status.error_code() << ": " << status.error_message();
    }
  }

  Daemon* const daemon_;
  Tally* const tally_;
  const std::string picture_;
  std::mt19937 random_;
  std::shared_ptr<grpc::Channel> channel_;
};

void RunAll(Daemon* daemon, Tally* tally, uint32_t seed) {
  const auto picture = ReadFile(SourcePath("models/demo/pictures/picture-15.png"), 1 << 20);
  ASSERT_TRUE(picture.ok());
  std::vector<std::jthread> threads;
  for (int c = 0; c < kCallers; ++c) {
    threads.emplace_back([=] {
      const int first = kRequests * c / kCallers;
      Caller(daemon, tally, *picture, seed + static_cast<uint32_t>(c))
          .Run(first, kRequests * (c + 1) / kCallers - first);
    });
  }
}

TEST(Chaos, AThousandRandomEndsLeaveNothingBehind) {
  std::printf("seed %u\n", kSeed);
  Daemon daemon({"--kv-memory", "24MiB", "--max-running", "24"});
  Tally warm_up, tally;
  RunAll(&daemon, &warm_up, kSeed + 1000);  // Pools and arenas reach their size.
  const Footprint before{
      .free_pages = daemon.MeasureIdle().free_pages, .threads = 64, .open_files = 64};
  const uint64_t rss_before = daemon.RssBytes();

  RunAll(&daemon, &tally, kSeed);

  std::printf("finished %d, cancelled %d, deadline %d, refused %d\n", tally.finished.load(),
              tally.cancelled.load(), tally.deadline.load(), tally.refused.load());
  EXPECT_EQ(tally.finished + tally.cancelled + tally.deadline + tally.refused + tally.other,
            kRequests);
  EXPECT_GT(tally.finished, kRequests / 10);
  EXPECT_GT(tally.cancelled, kRequests / 10);
  EXPECT_TRUE(daemon.ReturnsTo(before));
  v1::GetCacheStatsResponse cache;
  grpc::ClientContext context;
  ASSERT_TRUE(daemon.admin()->GetCacheStats(&context, {}, &cache).ok());
  EXPECT_EQ(cache.free_pages() + cache.evictable_pages(), cache.total_pages());
  grpc::ClientContext flush_context, flushed_context;
  v1::FlushCacheResponse flushed;
  ASSERT_TRUE(daemon.admin()->FlushCache(&flush_context, {}, &flushed).ok());
  ASSERT_TRUE(daemon.admin()->GetCacheStats(&flushed_context, {}, &cache).ok());
  EXPECT_EQ(cache.free_pages(), cache.total_pages());
  EXPECT_TRUE(daemon.Running());
  EXPECT_TRUE(daemon.Serving());
  const double growth_mib =
      (static_cast<double>(daemon.RssBytes()) - static_cast<double>(rss_before)) / (1 << 20);
  std::printf("resident memory: %.1f MiB, grown by %.1f MiB over %d requests\n",
              static_cast<double>(rss_before) / (1 << 20), growth_mib, kRequests);
  EXPECT_LT(growth_mib, kMaxGrowthMib);
}

}  // namespace
}  // namespace prefixd::testing
