#include "bench/stream_readers.h"

#include <chrono>
#include <thread>
#include <utility>

#include "absl/strings/match.h"
#include "bench/probes.h"

namespace prefixd {

// One call. gRPC calls it from its own threads, one at a time.
class StreamReaders::Call final : public grpc::ClientReadReactor<v1::GenerateResponse> {
 public:
  Call(StreamReaders* owner, bool stall) : owner_(*owner), stall_(stall) {}

  void Begin(v1::GenerationService::Stub* stub, const v1::GenerateRequest& request) {
    request_ = request;
    stub->async()->Generate(&context_, &request_, this);
    StartRead(&response_);
    AddHold();  // A stalled call has no read under way.
    StartCall();
  }

  void OnReadDone(bool ok) override {
    bool read_on = false;
    {
      std::lock_guard lock(owner_.mutex_);
      if (ok) Note();
      stalled_ = ok && stall_;
      read_on = ok && !stall_;
    }
    if (read_on) {
      StartRead(&response_);
    } else if (!ok) {
      Release();
    }
  }

  void OnDone(const grpc::Status& status) override {
    std::lock_guard lock(owner_.mutex_);
    ++owner_.totals_.ended;
    owner_.totals_.slow_reader += status.error_code() == grpc::StatusCode::RESOURCE_EXHAUSTED &&
                                  absl::StrContains(status.error_details(), "SLOW_READER");
  }

  void WakeUp() {
    {
      std::lock_guard lock(owner_.mutex_);
      stall_ = false;
      if (!std::exchange(stalled_, false)) return;
    }
    StartRead(&response_);
  }

  void Cancel() { context_.TryCancel(); }

 private:
  void Note() {
    const double now = NowSeconds();
    StreamTotals& totals = owner_.totals_;
    if (last_ == 0) {
      ++totals.started;
    } else {
      totals.gaps.push_back(now - last_);
    }
    last_ = now;
    totals.tokens += response_.delta().token_ids_size();
    totals.bytes += static_cast<int64_t>(response_.ByteSizeLong());
  }

  void Release() {
    if (!std::exchange(released_, true)) RemoveHold();
  }

  StreamReaders& owner_;
  grpc::ClientContext context_;
  v1::GenerateRequest request_;
  v1::GenerateResponse response_;
  bool stall_;            // Guarded by the owner's mutex, as the next.
  bool stalled_ = false;  // No read is under way.
  bool released_ = false;
  double last_ = 0;
};

StreamReaders::StreamReaders(std::string server, int streams_per_connection)
    : server_(std::move(server)), streams_per_connection_(streams_per_connection) {}

StreamReaders::~StreamReaders() {
  Cancel();
  WakeUp();
  WaitEnded(60);
}

void StreamReaders::Start(const v1::GenerateRequest& request, int count, bool stall) {
  for (int i = 0; i < count; ++i) {
    if (calls_.size() % static_cast<size_t>(streams_per_connection_) == 0) {
      grpc::ChannelArguments arguments;
      arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
      arguments.SetInt(GRPC_ARG_HTTP2_BDP_PROBE, 0);
      arguments.SetInt(GRPC_ARG_HTTP2_STREAM_LOOKAHEAD_BYTES, 65536);
      stubs_.push_back(v1::GenerationService::NewStub(
          grpc::CreateCustomChannel(server_, grpc::InsecureChannelCredentials(), arguments)));
    }
    calls_.push_back(std::make_unique<Call>(this, stall));
    calls_.back()->Begin(stubs_.back().get(), request);
  }
}

void StreamReaders::WakeUp() {
  for (const auto& call : calls_) call->WakeUp();
}

void StreamReaders::Cancel() {
  for (const auto& call : calls_) call->Cancel();
}

bool StreamReaders::WaitUntil(int64_t StreamTotals::*count, double seconds) const {
  const double end = NowSeconds() + seconds;
  while (NowSeconds() < end) {
    {
      std::lock_guard lock(mutex_);
      if (totals_.*count == static_cast<int64_t>(calls_.size())) return true;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  return false;
}

bool StreamReaders::WaitStarted(double seconds) const {
  return WaitUntil(&StreamTotals::started, seconds);
}

bool StreamReaders::WaitEnded(double seconds) const {
  return WaitUntil(&StreamTotals::ended, seconds);
}

StreamTotals StreamReaders::totals() const {
  std::lock_guard lock(mutex_);
  return totals_;
}

void StreamReaders::ClearGaps() {
  std::lock_guard lock(mutex_);
  totals_.gaps.clear();
  totals_.tokens = 0;
}

}  // namespace prefixd
