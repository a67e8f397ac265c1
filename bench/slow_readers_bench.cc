// Readers that stall beside readers that do not, over gRPC, against a running daemon. In turns the
// readers are alone and beside streams whose readers stalled and which were filled until the engine
// parked them; each stream would be more than a megabyte in all. Compares the 99th percentile of
// the time between the readers' messages, and asks when and how the stalled streams end, and how
// much memory the daemon holds for each. With --check exits 1 if a bar is missed.
#include <algorithm>
#include <cstdio>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/strings/str_cat.h"
#include "bench/probes.h"
#include "bench/stream_readers.h"
#include "prefixd/v1/admin_service.grpc.pb.h"

namespace prefixd {
namespace {

constexpr double kMostSlowdown = 1.2;
constexpr double kMostKib = 256;
constexpr double kMostLate = 2;  // Seconds: the daemon looks at streams once a second.
constexpr int kMaxTokens = 4000;

struct Flags {
  std::string server;
  int pid = 0;
  int readers = 500, stalled = 500;
  int streams_per_connection = 100;
  int rounds = 5;
  double seconds = 6;
  double timeout = 30;
  bool check = false;
};

void Sleep(double seconds) { std::this_thread::sleep_for(std::chrono::duration<double>(seconds)); }

// Twenty log-probs a token, about 300 bytes.
v1::GenerateRequest LargeRequest() {
  v1::GenerateRequest request;
  for (int i = 0; i < 8; ++i) request.mutable_tokens()->add_ids(5 + i);
  request.mutable_stopping()->set_max_tokens(kMaxTokens);
  request.mutable_stopping()->set_ignore_eos(true);
  request.mutable_output()->set_logprobs(20);
  request.mutable_output()->set_token_ids(true);
  return request;
}

class Bench {
 public:
  explicit Bench(const Flags& flags)
      : flags_(flags),
        admin_(v1::AdminService::NewStub(
            grpc::CreateChannel(flags.server, grpc::InsecureChannelCredentials()))) {}

  struct Beside {
    double gap_p99 = 0, tokens_per_second = 0;
    double late = 0;              // From parked to ended, less the timeout; seconds, of the last.
    double bytes = 0;             // That a stalled stream had got, once it was read to its end.
    int64_t ended_otherwise = 0;  // Not SLOW_READER.
  };

  // The daemon's memory for each stalled stream, without KV; KiB. Comes first: later the daemon
  // takes memory that it had freed.
  double StalledKib() {
    StreamReaders stalled(flags_.server, flags_.streams_per_connection);
    const double before = MemoryKib();
    stalled.Start(LargeRequest(), flags_.stalled, /*stall=*/true);
    if (!WaitParked(flags_.stalled, 120)) std::printf("not all were parked\n");
    return (MemoryKib() - before) / flags_.stalled;
  }

  double Alone() {
    Beside unused;
    MeasureReaders(&unused);
    return unused.gap_p99;
  }

  Beside WithStalled() {
    Beside result;
    StreamReaders stalled(flags_.server, flags_.streams_per_connection);
    stalled.Start(LargeRequest(), flags_.stalled, /*stall=*/true);
    if (!WaitParked(flags_.stalled, 120)) std::printf("  not all were parked\n");
    const double parked_at = NowSeconds();
    MeasureReaders(&result);
    WaitParked(0, flags_.timeout + 60);
    result.late = NowSeconds() - parked_at - flags_.timeout;
    // Within the grace that the daemon gives, so that each hears why.
    stalled.WakeUp();
    stalled.WaitEnded(60);
    const StreamTotals totals = stalled.totals();
    result.ended_otherwise = flags_.stalled - totals.slow_reader;
    result.bytes = static_cast<double>(totals.bytes) / flags_.stalled;
    return result;
  }

 private:
  void MeasureReaders(Beside* result) {
    StreamReaders readers(flags_.server, flags_.streams_per_connection);
    readers.Start(LargeRequest(), flags_.readers, /*stall=*/false);
    readers.WaitStarted(60);
    Sleep(1);
    readers.ClearGaps();
    Sleep(flags_.seconds);
    StreamTotals totals = readers.totals();
    std::sort(totals.gaps.begin(), totals.gaps.end());
    if (!totals.gaps.empty()) result->gap_p99 = totals.gaps[(totals.gaps.size() - 1) * 99 / 100];
    result->tokens_per_second = static_cast<double>(totals.tokens) / flags_.seconds;
  }

  // Resident memory without the KV pages that were ever used.
  double MemoryKib() {
    grpc::ClientContext context;
    v1::GetCacheStatsResponse stats;
    (void)admin_->GetCacheStats(&context, {}, &stats);
    most_used_kib_ = std::max(most_used_kib_, static_cast<double>(stats.used_bytes()) / 1024);
    std::ifstream file(absl::StrCat("/proc/", flags_.pid, "/status"));
    std::string word;
    double kib = 0;
    while (file >> word && !(word == "VmRSS:" && file >> kib)) {
    }
    return kib - most_used_kib_;
  }

  int CountParked() {
    int parked = 0;
    v1::ListRequestsRequest request;
    do {
      grpc::ClientContext context;
      v1::ListRequestsResponse list;
      if (!admin_->ListRequests(&context, request, &list).ok()) return -1;
      for (const auto& info : list.requests()) {
        parked += info.state() == v1::REQUEST_STATE_PARKED;
      }
      request.set_page_token(list.next_page_token());
    } while (!request.page_token().empty());
    return parked;
  }

  bool WaitParked(int count, double seconds) {
    for (const double end = NowSeconds() + seconds; NowSeconds() < end; Sleep(0.1)) {
      if (CountParked() == count) return true;
    }
    return false;
  }

  const Flags& flags_;
  const std::unique_ptr<v1::AdminService::Stub> admin_;
  double most_used_kib_ = 0;
};

int Run(const Flags& flags) {
  setlinebuf(stdout);
  Bench bench(flags);
  const double kib = bench.StalledKib();
  bench.Alone();  // Warm-up.
  std::vector<double> slowdowns, late;
  int64_t ended_otherwise = 0;
  for (int round = 0; round < flags.rounds; ++round) {
    const double alone = bench.Alone();
    const Bench::Beside beside = bench.WithStalled();
    std::printf(
        "round %d: p99 between messages %.1f ms alone, %.1f ms beside %d stalled (%.0f tokens/s); "
        "stalled ones ended %.1f s after the timeout having got %.0f KiB, %ld not with "
        "SLOW_READER\n",
        round, alone * 1e3, beside.gap_p99 * 1e3, flags.stalled, beside.tokens_per_second,
        beside.late, beside.bytes / 1024, beside.ended_otherwise);
    slowdowns.push_back(beside.gap_p99 / alone);
    late.push_back(beside.late);
    ended_otherwise += beside.ended_otherwise;
  }
  std::printf(
      "p99 beside / alone %.2f (bar %.1f), %.0f KiB each (bar %.0f), %.1f s late (bar %.0f), "
      "%ld ended otherwise\n",
      Median(slowdowns), kMostSlowdown, kib, kMostKib, Median(late), kMostLate, ended_otherwise);
  const bool good = Median(slowdowns) <= kMostSlowdown && kib <= kMostKib &&
                    Median(late) <= kMostLate && ended_otherwise == 0;
  return flags.check && !good ? 1 : 0;
}

}  // namespace
}  // namespace prefixd

int main(int argc, char** argv) {
  prefixd::Flags flags;
  CLI::App app{"What readers notice of others that stall"};
  app.add_option("--server", flags.server, "HOST:PORT of the daemon")->required();
  app.add_option("--pid", flags.pid, "Its process")->required();
  app.add_option("--readers", flags.readers, "Streams that are read")->capture_default_str();
  app.add_option("--stalled", flags.stalled, "Streams that are not")
      ->check(CLI::Range(1, 4000))
      ->capture_default_str();
  app.add_option("--rounds", flags.rounds, "Rounds")
      ->check(CLI::Range(1, 100))
      ->capture_default_str();
  app.add_option("--seconds", flags.seconds, "Length of a measurement")->capture_default_str();
  app.add_option("--timeout", flags.timeout, "The daemon's --slow-reader-timeout, seconds")
      ->capture_default_str();
  app.add_flag("--check", flags.check, "Exit 1 if a bar is missed");
  CLI11_PARSE(app, argc, argv);
  return prefixd::Run(flags);
}
