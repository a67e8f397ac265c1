// How many sessions fit in one pool, by filling it.
//
// The engine admits by reservation (`admission` "reserve"): a session starts only when all that it
// may ever hold is free, so that whoever decodes can go on to its last token and nobody is
// preempted. Many more sessions are submitted than fit; the figure is the largest number of
// requests that one snapshot of the engine shows decoding at the same time. That a prompt is
// computed at full KV before it is compressed counts against the budget: the next session must
// find that room beside all others.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/status_macros.h"
#include "bench/probes.h"
#include "bench/retention_parts.h"
#include "cache/page_pool.h"

namespace prefixd {
namespace {

constexpr int kPromptTokens = 624;
constexpr int kNewTokens = 256;
constexpr int kMaxSessions = 256;
constexpr double kBudget = 0.2;
// Without a new session for so many steps the pool is full.
constexpr uint64_t kQuietSteps = 12;

struct Filled {
  int sessions = 0;
  int pages = 0;  // Held by them then, each once.
  int waiting = 0;
  double seconds = 0;
};

bool InPrefill(const EngineStats& stats) {
  return std::any_of(stats.requests.begin(), stats.requests.end(),
                     [](const RequestInfo& request) { return request.state == "prefill"; });
}

int Decoding(const EngineStats& stats) {
  return static_cast<int>(
      std::count_if(stats.requests.begin(), stats.requests.end(),
                    [](const RequestInfo& request) { return request.state == "decode"; }));
}

void CancelAll(EngineClient* client, const std::vector<std::string>& ids,
               const std::vector<std::shared_ptr<StreamRecord>>& records) {
  // The youngest first, so that none starts in place of another.
  for (size_t i = ids.size(); i-- > 0;) client->engine().Cancel("", ids[i]).IgnoreError();
  for (const auto& record : records) record->Wait();
  while (client->engine().Stats()->running > 0) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
}

Filled Fill(EngineClient* client, std::vector<Request> requests) {
  client->Flush();
  const uint64_t preemptions = client->engine().Stats()->preemptions;
  const double begin = NowSeconds();
  std::vector<std::string> ids;
  std::vector<std::shared_ptr<StreamRecord>> records;
  for (Request& request : requests) {
    ids.push_back(request.id);
    records.push_back(client->Submit(std::move(request)));
  }
  Filled filled;
  uint64_t last_step = client->engine().Stats()->steps;
  while (std::none_of(records.begin(), records.end(), [](const auto& r) { return r->ended(); })) {
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
    const auto stats = client->engine().Stats();
    PREFIXD_CHECK(stats->preemptions == preemptions);
    const int sessions = Decoding(*stats);
    if (sessions > filled.sessions) {
      filled = {.sessions = sessions,
                .pages = stats->cache.active_pages,
                .waiting = stats->waiting,
                .seconds = NowSeconds() - begin};
      last_step = stats->steps;
    } else if (InPrefill(*stats) || sessions == 0) {
      last_step = stats->steps;
    } else if (stats->steps > last_step + kQuietSteps) {
      break;
    }
  }
  CancelAll(client, ids, records);
  // Else not the pool was the limit.
  PREFIXD_CHECK(filled.waiting > 0);
  return filled;
}

class SessionBench {
 public:
  SessionBench(EngineClient* client, std::string name, std::string picture)
      : client_(*client), name_(std::move(name)), picture_(std::move(picture)) {}

  // `own`: every session asks in a namespace of its own, where the picture is as new as one of its
  // own would be. `shape` sets what is measured.
  template <typename Shape>
  Filled Sessions(const std::string& what, int count, bool own, Shape shape) {
    std::vector<Request> requests;
    for (int i = 0; i < count; ++i) {
      const int question = kPromptTokens - client_.engine().model_info().tokens_per_image;
      Request request = client_.Ask(client_.NewTokens(question), kNewTokens, picture_);
      if (own) request.cache_salt = absl::StrCat("session ", i);
      requests.push_back(shape(std::move(request)));
    }
    const Filled filled = Fill(&client_, std::move(requests));
    const double sessions = filled.sessions;
    std::printf(
        "%s: %-30s %4d sessions, %6.1f pages of the pool each, %6.1f held then; %d wait, %.0f s\n",
        name_.c_str(), what.c_str(), filled.sessions,
        client_.engine().Stats()->total_pages / sessions, filled.pages / sessions, filled.waiting,
        filled.seconds);
    std::fflush(stdout);
    return filled;
  }

 private:
  EngineClient& client_;
  const std::string name_, picture_;
};

// An engine whose pool has room for so many sessions of full KV, to the page.
absl::StatusOr<std::unique_ptr<EngineClient>> OpenPool(const EngineOpener& open,
                                                       int full_sessions) {
  EngineOptions options;
  options.admission = "reserve";
  options.max_running = kMaxSessions;
  // Large steps: the first sessions still decode when the last prompt is computed.
  options.max_batch_tokens = 8192;
  options.kv_memory_bytes = uint64_t{256} << 20;
  uint64_t session_bytes = 0;
  {
    PREFIXD_ASSIGN_OR_RETURN(const auto probe, open(options));
    const uint64_t columns = (kPromptTokens + kNewTokens + kSlotsPerPage - 1) / kSlotsPerPage;
    session_bytes = columns * static_cast<uint64_t>(probe->engine().model_info().num_layers) *
                    probe->engine().Stats()->page_bytes;
  }
  options.kv_memory_bytes = static_cast<uint64_t>(full_sessions) * session_bytes;
  return open(options);
}

double Ratio(const Filled& a, const Filled& b) {
  return static_cast<double>(a.sessions) / b.sessions;
}

}  // namespace

absl::Status MeasureSessionsThatFit(const EngineOpener& open, const std::string& name,
                                    const std::string& picture, int full_sessions, double goal,
                                    Bars* bars) {
  const auto off = [](Request request) { return request; };
  const auto bypass = [](Request request) {
    request.bypass_prefix_cache = true;
    return request;
  };
  const auto exact = [](Request request) {
    return WithBudget(std::move(request), RetentionScope::kExact, kBudget);
  };
  const auto shared = [](Request request) {
    return WithBudget(std::move(request), RetentionScope::kShared, kBudget);
  };
  {
    PREFIXD_ASSIGN_OR_RETURN(const auto client, OpenPool(open, full_sessions));
    SessionBench bench(client.get(), name, picture);
    const Filled full = bench.Sessions("own pictures, full", full_sessions + 4, true, off);
    const Filled small = bench.Sessions("own pictures, EXACT 20 %", 6 * full_sessions, true, exact);
    std::printf("%s: the goal of the next is %.1f\n", name.c_str(), goal);
    bars->AtLeast(name + ", own pictures: sessions, EXACT 20 % / full", Ratio(small, full), 3);
  }
  const int fewer = full_sessions / 2;
  PREFIXD_ASSIGN_OR_RETURN(const auto client, OpenPool(open, fewer));
  SessionBench bench(client.get(), name, picture);
  const Filled alone = bench.Sessions("one picture, full, not shared", fewer + 4, false, bypass);
  const Filled sharing = bench.Sessions("one picture, full, shared", 4 * fewer, false, off);
  const Filled small = bench.Sessions("one picture, SHARED 20 %", 10 * fewer, false, shared);
  bars->AtLeast(name + ", one picture: sessions, SHARED 20 % / full, not shared",
                Ratio(small, alone), 3);
  bars->AtLeast(name + ", one picture: sessions, SHARED 20 % / full, shared", Ratio(small, sharing),
                1.8);
  return absl::OkStatus();
}

}  // namespace prefixd
