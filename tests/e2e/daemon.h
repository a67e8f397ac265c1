// Runs the real daemon as a child process and talks to it over loopback gRPC.
#ifndef PREFIXD_TESTS_E2E_DAEMON_H_
#define PREFIXD_TESTS_E2E_DAEMON_H_

#include <sys/types.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include "absl/time/time.h"
#include "prefixd/v1/admin_service.grpc.pb.h"
#include "prefixd/v1/generation_service.grpc.pb.h"
#include "prefixd/v1/model_service.grpc.pb.h"

namespace prefixd::testing {

// What must be back at its value before, after anything that a client did.
struct Footprint {
  int32_t free_pages = 0;  // Cached ones that can be evicted included.
  int32_t live_requests = 0;
  int threads = 0;
  int open_files = 0;
};

// Everything one Generate call brought.
struct Answer {
  grpc::Status status;
  bool got_headers = false;  // Initial metadata with a first event; refusals have none.
  v1::Started started;
  std::vector<std::string> texts;               // By choice.
  std::vector<std::vector<int32_t>> token_ids;  // By choice.
  std::string logprob_bytes;                    // Serialised log-probs of all deltas, in order.
  std::vector<v1::ChoiceFinished> choices;
  v1::Finished finished;
  int num_finished = 0;

  std::string text() const { return texts.empty() ? "" : texts[0]; }
  // google.rpc.ErrorInfo.reason; empty if the status carries none.
  std::string reason() const;
  // google.rpc.BadRequest fields, comma-separated.
  std::string fields() const;
};

constexpr absl::Duration kQuietWindow = absl::Milliseconds(400);

class Daemon {
 public:
  // Starts `prefixd --model models/demo` with `flags` added, on a free port, and waits until it
  // serves. Fails the test and aborts if that takes more than a minute.
  explicit Daemon(const std::vector<std::string>& flags = {});
  // Kills the daemon if it still runs.
  ~Daemon();

  pid_t pid() const { return pid_; }
  const std::string& address() const { return address_; }
  absl::Duration time_to_serving() const { return time_to_serving_; }

  // A new connection, shared with nobody.
  std::shared_ptr<grpc::Channel> Connect() const;
  v1::GenerationService::Stub* generation() { return generation_.get(); }
  v1::AdminService::Stub* admin() { return admin_.get(); }
  v1::ModelService::Stub* models() { return models_.get(); }

  Answer Generate(const v1::GenerateRequest& request, absl::Duration timeout = absl::Seconds(60));

  bool Serving() const;  // grpc.health.v1 says SERVING within a second.
  bool Running() const;  // The process lives.
  Footprint Measure();
  // As Measure, once no request is live any more: counts are published a moment after an answer
  // ends.
  Footprint MeasureIdle();
  uint64_t RssBytes() const;
  // The processor time of one window of kQuietWindow: the median of five, because a moment's work
  // beside the question (a connection that reports, memory that goes back) is not what is asked.
  absl::Duration QuietCpuTime() const;
  // Waits until pages and requests are back at `before`; threads and files too, given a moment.
  ::testing::AssertionResult ReturnsTo(const Footprint& before);

  void Signal(int signal) const;
  // Waits for the process; its exit status, or -signal.
  int WaitExit(absl::Duration timeout);

 private:
  void WaitServing(absl::Duration timeout);
  // grpc.health.v1 says SERVING of `service` (at most 127 bytes) within a second.
  bool IsHealthy(const std::string& service) const;

  pid_t pid_ = -1;
  std::string address_, port_file_;
  absl::Duration time_to_serving_;
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<v1::GenerationService::Stub> generation_;
  std::unique_ptr<v1::AdminService::Stub> admin_;
  std::unique_ptr<v1::ModelService::Stub> models_;
};

// Runs a program to its end, with its output kept. Exit status, or -1 after `timeout`.
struct RunResult {
  int exit_status = -1;
  std::string out, err;
};
RunResult RunProgram(const std::vector<std::string>& command,
                     absl::Duration timeout = absl::Seconds(60));
std::string BinaryPath(const std::string& name);  // build/<preset>/bin/<name>.
std::string SourcePath(const std::string& path);  // In the checkout.

// A greedy chat question, with or without a picture.
v1::GenerateRequest Ask(const std::string& question, const std::string& image_bytes = "");

}  // namespace prefixd::testing

#endif  // PREFIXD_TESTS_E2E_DAEMON_H_
