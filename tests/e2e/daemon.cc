#include "tests/e2e/daemon.h"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <thread>

#include <grpcpp/generic/generic_stub.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/check.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"

extern char** environ;

namespace prefixd::testing {
namespace {

constexpr absl::Duration kPollPeriod = absl::Milliseconds(5);

void Sleep(absl::Duration duration) {
  std::this_thread::sleep_for(absl::ToChronoNanoseconds(duration));
}

absl::Duration CpuTimeOf(pid_t pid) {
  clockid_t clock;
  timespec time;
  PREFIXD_CHECK(clock_getcpuclockid(pid, &clock) == 0 && clock_gettime(clock, &time) == 0);
  return absl::DurationFromTimespec(time);
}

std::vector<char*> Argv(const std::vector<std::string>& command) {
  std::vector<char*> argv;
  for (const std::string& word : command) argv.push_back(const_cast<char*>(word.c_str()));
  argv.push_back(nullptr);
  return argv;
}

// A number after `key` in /proc/<pid>/status.
uint64_t StatusField(pid_t pid, const std::string& key) {
  std::ifstream file(absl::StrCat("/proc/", pid, "/status"));
  std::string word;
  uint64_t value = 0;
  while (file >> word) {
    if (word == key && file >> value) return value;
  }
  return 0;
}

int CountEntries(const std::string& folder) {
  DIR* const dir = opendir(folder.c_str());
  if (dir == nullptr) return -1;
  int count = 0;
  while (readdir(dir) != nullptr) ++count;
  closedir(dir);
  return count;
}

int DecodeExit(int status) { return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status); }

template <typename Detail>
std::vector<Detail> Details(const grpc::Status& status) {
  google::rpc::Status rich;
  std::vector<Detail> found;
  if (!rich.ParseFromString(status.error_details())) return found;
  for (const auto& any : rich.details()) {
    Detail detail;
    if (any.UnpackTo(&detail)) found.push_back(detail);
  }
  return found;
}

// Appends one stream event to the answer.
void Absorb(const v1::GenerateResponse& response, Answer* answer) {
  switch (response.event_case()) {
    case v1::GenerateResponse::kStarted:
      answer->started = response.started();
      break;
    case v1::GenerateResponse::kDelta: {
      const v1::Delta& delta = response.delta();
      const size_t index = static_cast<size_t>(delta.index());
      if (answer->texts.size() <= index) {
        answer->texts.resize(index + 1);
        answer->token_ids.resize(index + 1);
      }
      answer->texts[index] += delta.text();
      answer->token_ids[index].insert(answer->token_ids[index].end(), delta.token_ids().begin(),
                                      delta.token_ids().end());
      for (const auto& logprobs : delta.logprobs()) {
        answer->logprob_bytes += logprobs.SerializeAsString();
      }
      break;
    }
    case v1::GenerateResponse::kChoiceFinished:
      answer->choices.push_back(response.choice_finished());
      break;
    case v1::GenerateResponse::kFinished:
      answer->finished = response.finished();
      ++answer->num_finished;
      break;
    default:
      ADD_FAILURE() << "an event without content";
  }
}

}  // namespace

std::string Answer::reason() const {
  const auto infos = Details<google::rpc::ErrorInfo>(status);
  return infos.empty() ? "" : infos[0].reason();
}

std::string Answer::fields() const {
  std::string joined;
  for (const auto& request : Details<google::rpc::BadRequest>(status)) {
    for (const auto& violation : request.field_violations()) {
      absl::StrAppend(&joined, joined.empty() ? "" : ",", violation.field());
    }
  }
  return joined;
}

std::string BinaryPath(const std::string& name) {
  return absl::StrCat(PREFIXD_BINARY_DIR, "/bin/", name);
}

std::string SourcePath(const std::string& path) {
  return absl::StrCat(PREFIXD_SOURCE_DIR, "/", path);
}

Daemon::Daemon(const std::vector<std::string>& flags) {
  char folder[] = "/tmp/prefixd_e2e_XXXXXX";
  PREFIXD_CHECK(mkdtemp(folder) != nullptr);
  port_file_ = absl::StrCat(folder, "/port");
  std::vector<std::string> command = {BinaryPath("prefixd"),
                                      "--model",
                                      SourcePath("models/demo"),
                                      "--listen",
                                      "127.0.0.1:0",
                                      "--port-file",
                                      port_file_,
                                      "--log-level",
                                      "warn"};
  command.insert(command.end(), flags.begin(), flags.end());
  // What the tests expect is exact, as the CPU is; a flag says otherwise.
  setenv("PREFIXD_BACKEND", "cpu", 0);
  const absl::Time begin = absl::Now();
  PREFIXD_CHECK(
      posix_spawn(&pid_, command[0].c_str(), nullptr, nullptr, Argv(command).data(), environ) == 0);
  WaitServing(absl::Seconds(60));
  time_to_serving_ = absl::Now() - begin;
}

Daemon::~Daemon() {
  if (pid_ > 0) {
    kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
  }
  unlink(port_file_.c_str());
  rmdir(port_file_.substr(0, port_file_.rfind('/')).c_str());
}

void Daemon::WaitServing(absl::Duration timeout) {
  const absl::Time end = absl::Now() + timeout;
  while (absl::Now() < end) {
    int status = 0;
    if (waitpid(pid_, &status, WNOHANG) == pid_) {
      std::fprintf(stderr, "the daemon ended with %d before it served\n", DecodeExit(status));
      std::abort();
    }
    std::ifstream file(port_file_);
    int port = 0;
    if (channel_ == nullptr && file >> port) {
      address_ = absl::StrCat("127.0.0.1:", port);
      channel_ = Connect();
      generation_ = v1::GenerationService::NewStub(channel_);
      admin_ = v1::AdminService::NewStub(channel_);
      models_ = v1::ModelService::NewStub(channel_);
    }
    if (channel_ != nullptr) {
      grpc::ClientContext context;
      context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(5));
      v1::GetServerInfoResponse info;
      const grpc::Status answer = admin_->GetServerInfo(&context, {}, &info);
      if (answer.ok() && info.state() == v1::SERVER_STATE_SERVING) return;
      // Beside tenants AdminService is elsewhere.
      const bool no_admin = answer.error_code() == grpc::StatusCode::UNIMPLEMENTED;
      if (no_admin && IsHealthy("ready")) return;
    }
    Sleep(kPollPeriod);
  }
  std::fprintf(stderr, "the daemon does not serve\n");
  std::abort();
}

std::shared_ptr<grpc::Channel> Daemon::Connect() const {
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  arguments.SetInt(GRPC_ARG_ENABLE_RETRIES, 0);
  arguments.SetMaxSendMessageSize(-1);
  return grpc::CreateCustomChannel(address_, grpc::InsecureChannelCredentials(), arguments);
}

Answer Daemon::Generate(const v1::GenerateRequest& request, absl::Duration timeout) {
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + absl::ToChronoMilliseconds(timeout));
  const auto reader = generation_->Generate(&context, request);
  Answer answer;
  v1::GenerateResponse response;
  while (reader->Read(&response)) {
    answer.got_headers = true;
    Absorb(response, &answer);
  }
  answer.status = reader->Finish();
  EXPECT_EQ(answer.num_finished, answer.status.ok() ? 1 : 0);
  return answer;
}

bool Daemon::Serving() const { return IsHealthy(""); }

bool Daemon::IsHealthy(const std::string& service) const {
  // grpc.health.v1.HealthCheckRequest is {1: service}; SERVING answers {1: 1}.
  std::string message;
  if (!service.empty())
    message = absl::StrCat("\n", std::string(1, static_cast<char>(service.size())), service);
  grpc::Slice bytes(message);
  grpc::GenericStub stub(channel_);
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(1));
  grpc::CompletionQueue queue;
  const grpc::ByteBuffer request(&bytes, 1);
  auto call = stub.PrepareUnaryCall(&context, "/grpc.health.v1.Health/Check", request, &queue);
  call->StartCall();
  grpc::ByteBuffer reply;
  grpc::Status status;
  call->Finish(&reply, &status, nullptr);
  void* tag = nullptr;
  bool ok = false;
  queue.Next(&tag, &ok);
  grpc::Slice slice;
  if (!status.ok() || !reply.DumpToSingleSlice(&slice).ok()) return false;
  return std::string(reinterpret_cast<const char*>(slice.begin()), slice.size()) == "\x08\x01";
}

bool Daemon::Running() const { return kill(pid_, 0) == 0 && StatusField(pid_, "Threads:") > 0; }

Footprint Daemon::Measure() {
  grpc::ClientContext cache_context, list_context;
  v1::GetCacheStatsResponse cache;
  v1::ListRequestsResponse list;
  // In this order: if nothing is live, the pages are those of an idle engine.
  EXPECT_TRUE(admin_->ListRequests(&list_context, {}, &list).ok());
  EXPECT_TRUE(admin_->GetCacheStats(&cache_context, {}, &cache).ok());
  return {.free_pages = cache.free_pages() + cache.evictable_pages(),
          .live_requests = list.waiting() + list.running(),
          .threads = static_cast<int>(StatusField(pid_, "Threads:")),
          .open_files = CountEntries(absl::StrCat("/proc/", pid_, "/fd"))};
}

Footprint Daemon::MeasureIdle() {
  const absl::Time end = absl::Now() + absl::Seconds(10);
  Footprint now = Measure();
  while (now.live_requests > 0 && absl::Now() < end) {
    Sleep(kPollPeriod);
    now = Measure();
  }
  EXPECT_EQ(now.live_requests, 0);
  return now;
}

::testing::AssertionResult Daemon::ReturnsTo(const Footprint& before) {
  // gRPC keeps spare threads for a while, so only growth counts there.
  constexpr int kSpareThreads = 8;
  Footprint now;
  const absl::Time end = absl::Now() + absl::Seconds(2);
  while (absl::Now() < end) {
    now = Measure();
    if (now.free_pages == before.free_pages && now.live_requests == before.live_requests &&
        now.threads <= before.threads + kSpareThreads && now.open_files <= before.open_files) {
      return ::testing::AssertionSuccess();
    }
    Sleep(absl::Milliseconds(20));
  }
  return ::testing::AssertionFailure()
         << "before / now: free pages " << before.free_pages << " / " << now.free_pages
         << ", live requests " << before.live_requests << " / " << now.live_requests << ", threads "
         << before.threads << " / " << now.threads << ", open files " << before.open_files << " / "
         << now.open_files;
}

uint64_t Daemon::RssBytes() const { return StatusField(pid_, "VmRSS:") * 1024; }

absl::Duration Daemon::QuietCpuTime() const {
  std::vector<absl::Duration> windows;
  for (int i = 0; i < 5; ++i) {
    const absl::Duration before = CpuTimeOf(pid_);
    Sleep(kQuietWindow);
    windows.push_back(CpuTimeOf(pid_) - before);
  }
  std::sort(windows.begin(), windows.end());
  return windows[2];
}

void Daemon::Signal(int signal) const {
  PREFIXD_CHECK(pid_ > 0);
  kill(pid_, signal);
}

int Daemon::WaitExit(absl::Duration timeout) {
  const absl::Time end = absl::Now() + timeout;
  int status = 0;
  while (absl::Now() < end) {
    if (waitpid(pid_, &status, WNOHANG) == pid_) {
      pid_ = -1;
      return DecodeExit(status);
    }
    Sleep(kPollPeriod);
  }
  ADD_FAILURE() << "the daemon did not end within " << timeout;
  return -1;
}

RunResult RunProgram(const std::vector<std::string>& command, absl::Duration timeout) {
  int out[2], err[2];
  PREFIXD_CHECK(pipe2(out, O_CLOEXEC) == 0 && pipe2(err, O_CLOEXEC) == 0);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_adddup2(&actions, out[1], 1);
  posix_spawn_file_actions_adddup2(&actions, err[1], 2);
  pid_t pid = -1;
  PREFIXD_CHECK(
      posix_spawn(&pid, command[0].c_str(), &actions, nullptr, Argv(command).data(), environ) == 0);
  posix_spawn_file_actions_destroy(&actions);
  close(out[1]);
  close(err[1]);
  RunResult result;
  pollfd fds[2] = {{out[0], POLLIN, 0}, {err[0], POLLIN, 0}};
  const absl::Time end = absl::Now() + timeout;
  while ((fds[0].fd >= 0 || fds[1].fd >= 0) && absl::Now() < end) {
    poll(fds, 2, 50);
    for (int i = 0; i < 2; ++i) {
      if (fds[i].fd < 0 || fds[i].revents == 0) continue;
      char buffer[4096];
      const ssize_t n = read(fds[i].fd, buffer, sizeof(buffer));
      if (n > 0) (i == 0 ? result.out : result.err).append(buffer, static_cast<size_t>(n));
      if (n <= 0) fds[i].fd = -1;
    }
  }
  close(out[0]);
  close(err[0]);
  int status = 0;
  if (absl::Now() >= end) kill(pid, SIGKILL);
  waitpid(pid, &status, 0);
  result.exit_status = DecodeExit(status);
  return result;
}

v1::GenerateRequest Ask(const std::string& question, const std::string& image_bytes) {
  v1::GenerateRequest request;
  v1::ChatMessage* const message = request.mutable_chat()->add_messages();
  message->set_role(v1::ROLE_USER);
  if (!image_bytes.empty()) message->add_parts()->mutable_image()->set_data(image_bytes);
  message->add_parts()->set_text(question);
  request.mutable_sampling()->set_temperature(0);
  request.mutable_stopping()->set_max_tokens(96);
  return request;
}

}  // namespace prefixd::testing
