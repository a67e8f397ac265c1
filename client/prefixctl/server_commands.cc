#include <chrono>
#include <string>
#include <thread>

#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/clock.h"
#include "client/prefixctl/commands.h"
#include "client/prefixctl/exit_code.h"
#include "client/prefixctl/explain.h"

namespace prefixd::ctl {
namespace {

constexpr absl::Duration kPollPeriod = absl::Milliseconds(50);
// Progress off a terminal: a line this often.
constexpr absl::Duration kLinePeriod = absl::Seconds(5);

using Json = nlohmann::ordered_json;

// Watches a load and says how long it will take.
class LoadEstimate {
 public:
  std::string Describe(const v1::GetServerInfoResponse& info, absl::Time now) {
    std::string line = absl::StrCat("loading: ", LoadProgress(info));
    if (info.load_bytes_total() == 0) return line;
    if (first_bytes_ == 0) {
      first_bytes_ = info.load_bytes_done();
      begin_ = now;
    }
    const absl::Duration elapsed = now - begin_;
    const uint64_t read = info.load_bytes_done() - first_bytes_;
    if (read == 0 || elapsed < absl::Milliseconds(200)) return line;
    const double rate = static_cast<double>(read) / absl::ToDoubleSeconds(elapsed);
    const uint64_t left = info.load_bytes_total() - info.load_bytes_done();
    return absl::StrCat(line, ", about ",
                        static_cast<int64_t>(static_cast<double>(left) / rate) + 1, " s");
  }

 private:
  uint64_t first_bytes_ = 0;
  absl::Time begin_;
};

// What `wait` last saw.
struct Observation {
  bool ready = false;
  int exit_code = kExitUnavailable;  // If the time runs out now.
  std::string line;
};

Observation Observe(Session* session, LoadEstimate* estimate, absl::Time now) {
  const auto health = session->client->CheckHealth("ready");
  if (health.ok() && *health == Health::kServing) return {.ready = true};
  if (absl::IsDeadlineExceeded(health.status())) {
    return {.line = absl::StrCat("no answer from ", session->options.server)};
  }
  if (!health.ok() && !absl::IsNotFound(health.status())) {
    return {.exit_code = ExitCodeOf(health.status()),
            .line = Explain(health.status(), session->options.server).message};
  }
  const auto info = session->client->GetServerInfo();
  Observation seen{.exit_code = kExitNotReady, .line = "the server is not ready"};
  if (!info.ok()) return seen;
  if (info->state() == v1::SERVER_STATE_LOADING) seen.line = estimate->Describe(*info, now);
  if (info->state() == v1::SERVER_STATE_DRAINING) seen.line = "the server is stopping";
  if (info->state() == v1::SERVER_STATE_FAILED) seen.line = "the server failed; its log says why";
  return seen;
}

}  // namespace

int RunHealth(Session* session) {
  const std::string& service = session->options.service;
  const auto health = session->client->CheckHealth(service);
  if (!health.ok()) return Fail(session, health.status());
  const bool serving = *health == Health::kServing;
  if (session->options.json) {
    PrintLine(Json{{"service", service}, {"status", HealthName(*health)}}.dump());
  } else {
    PrintLine(HealthName(*health));
    if (!serving) session->messages.Note("  `prefixctl wait` waits until it is ready");
  }
  return serving ? kExitOk : kExitNotReady;
}

int RunWait(Session* session) {
  const MonotonicClock clock;
  const absl::Time begin = clock.Now();
  const absl::Duration timeout = session->options.timeout.value_or(absl::InfiniteDuration());
  LoadEstimate estimate;
  absl::Time last_line = absl::InfinitePast();
  while (true) {
    const absl::Time now = clock.Now();
    const Observation seen = Observe(session, &estimate, now);
    if (seen.ready) break;
    if (session->terminal.stderr_tty || now - last_line >= kLinePeriod) {
      session->messages.Progress(seen.line);
      last_line = now;
    }
    if (clock.Now() - begin + kPollPeriod > timeout) {
      session->messages.EndProgress();
      session->messages.Error(
          absl::StrCat("not ready after ", absl::FormatDuration(timeout), ": ", seen.line),
          "the server's log says more; `prefixctl doctor` looks closer");
      return seen.exit_code;
    }
    // The server tells no moment at which asking again would pay.
    std::this_thread::sleep_for(absl::ToChronoMilliseconds(kPollPeriod));
  }
  session->messages.EndProgress();
  session->messages.Note("ready");
  return kExitOk;
}

int RunVersion(Session* session) {
  const auto info = session->client->GetServerInfo();
  if (session->options.json) {
    Json json = {{"client", PREFIXD_VERSION}, {"server", nullptr}};
    if (info.ok()) {
      json["server"] = info->version();
      json["schema_revision"] = info->schema_revision();
    }
    PrintLine(json.dump());
    return kExitOk;
  }
  PrintLine(absl::StrCat("prefixctl ", PREFIXD_VERSION));
  if (info.ok()) {
    const std::string& level = info->engine().level();
    PrintLine(absl::StrCat("prefixd   ", info->version(), " (", AdminServer(session->options), ", ",
                           info->engine().backend(), level.empty() ? "" : "/", level, ")"));
    if (!info->engine().device().empty()) {
      PrintLine(absl::StrCat("          ", info->engine().device()));
    }
  } else if (TellsNothing(info.status())) {
    session->messages.Note(
        absl::StrCat("prefixd at ", AdminServer(session->options),
                     " does not tell its version here: ", Explain(info.status(), "").next_step));
  } else {
    session->messages.Note(absl::StrCat("no server at ", AdminServer(session->options)));
  }
  return kExitOk;
}

}  // namespace prefixd::ctl
