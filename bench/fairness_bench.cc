// What a tenant keeps beside a greedy one, through Engine, in real time. Tenant b sends at 40 % of
// what it alone can have, prompts with shared beginnings; tenant a offers 20 times its share of
// prompts that share nothing, into a KV cache that they overflow. In turns b is alone and beside a;
// medians of the ratios. Then both are backlogged, for Jain's index of the rows they get for their
// weights. Prints the CPU level; with --check exits 1 if a bar is missed.
#include <cstdio>
#include <future>
#include <string>
#include <thread>

#include "CLI/CLI.hpp"
#include "base/clock.h"
#include "base/log.h"
#include "bench/probes.h"
#include "bench/tenant_traffic.h"

namespace prefixd {
namespace {

constexpr int kSharedTokens = 256, kOwnTokens = 24, kNewTokens = 8, kPrefixes = 8;
constexpr double kLoad = 0.4;    // Of what b can have alone.
constexpr double kOffered = 20;  // Times a's share.
constexpr double kLeastGoodput = 0.95, kLeastHitRate = 0.9, kLeastJain = 0.95;

struct Flags {
  std::string model = "models/demo";
  std::string level = "auto";
  uint64_t kv_mib = 32;
  int rounds = 5;
  double seconds = 3;
  bool check = false;
};

struct Mix {
  const char* name;
  int prompt_tokens, new_tokens;
};

const MonotonicClock& SteadyClock() {
  static const MonotonicClock clock;
  return clock;
}

Request MakeRequest(const std::string& tenant, std::vector<int32_t> ids, int new_tokens) {
  Request request;
  request.tenant = tenant;
  request.input = TokenInput{.ids = std::move(ids)};
  request.stopping.max_tokens = new_tokens;
  request.stopping.ignore_eos = true;
  return request;
}

// `length` tokens that begin as no others do.
std::vector<int32_t> Fresh(int length) {
  static std::atomic<int64_t> next{1};
  std::vector<int32_t> ids;
  for (int64_t rest = next++; rest > 0; rest /= 500) {
    ids.push_back(3 + static_cast<int32_t>(rest % 500));
  }
  ids.resize(static_cast<size_t>(length), 7);
  return ids;
}

std::vector<int32_t> Shared(int64_t index) {
  std::vector<int32_t> ids;
  for (int i = 0; i < kSharedTokens; ++i) {
    ids.push_back(static_cast<int32_t>(3 + (i * 11 + index % kPrefixes * 29) % 500));
  }
  return ids;
}

Request SteadyRequest(int64_t index, absl::Duration within) {
  std::vector<int32_t> ids = Shared(index);
  const std::vector<int32_t> own = Fresh(kOwnTokens);
  ids.insert(ids.end(), own.begin(), own.end());
  Request request = MakeRequest("b", std::move(ids), kNewTokens);
  request.deadline = SteadyClock().Now() + within;
  return request;
}

RequestMaker FloodOf(const std::string& tenant, const Mix& mix) {
  return [tenant, mix](int64_t) {
    return MakeRequest(tenant, Fresh(mix.prompt_tokens), mix.new_tokens);
  };
}

std::unique_ptr<Engine> Serve(const Flags& flags, double weight_a, double weight_b) {
  EngineOptions options;
  options.model_path = flags.model;
  options.backend = "cpu";
  options.cpu_level = flags.level;
  options.kv_memory_bytes = flags.kv_mib << 20;
  options.tenants = {{.name = "a", .weight = weight_a}, {.name = "b", .weight = weight_b}};
  auto engine = Engine::Open(options, &SteadyClock());
  const absl::Status status = engine.ok()
                                  ? (*engine)->LoadWeights([](uint64_t, uint64_t) { return true; })
                                  : engine.status();
  if (status.ok()) return *std::move(engine);
  std::fprintf(stderr, "%s\n", std::string(status.message()).c_str());
  return nullptr;
}

// Cancels whatever the engine still has.
void CancelAll(Engine* engine) {
  const std::shared_ptr<const EngineStats> stats = engine->Stats();
  for (const RequestInfo& request : stats->requests) {
    (void)engine->Cancel(request.tenant, request.id);  // NOT_FOUND: it ended meanwhile.
  }
}

void Drain(Engine* engine, const Outcome& outcome) {
  while (outcome.unfinished() > 0) {
    CancelAll(engine);
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
}

// Requests a second that b finishes when it always has `backlog` unfinished ones.
double Capacity(Engine* engine, double seconds) {
  Outcome outcome;
  std::atomic<bool> stop{false};
  const RequestMaker make = [](int64_t i) { return SteadyRequest(i, absl::Seconds(60)); };
  std::thread sender([&] { SendBacklog(engine, make, 64, stop, &outcome); });
  std::this_thread::sleep_for(std::chrono::duration<double>(seconds / 2));  // Warm.
  const int64_t before = outcome.finished();
  std::this_thread::sleep_for(std::chrono::duration<double>(seconds));
  const double capacity = static_cast<double>(outcome.finished() - before) / seconds;
  stop = true;
  sender.join();
  WaitEnded(outcome);
  return capacity;
}

class Verdict {
 public:
  void Expect(bool good, const char* what, double value, double bar) {
    std::printf("%-44s %.3f (bar %.2f)%s\n", what, value, bar, good ? "" : "  MISSED");
    missed_ += !good;
  }
  int missed() const { return missed_; }

 private:
  int missed_ = 0;
};

void RunFlood(Engine* engine, const Flags& flags, const Mix& mix, Verdict* verdict) {
  const double capacity = Capacity(engine, flags.seconds);
  const double rate = kLoad * capacity;
  // Half of the rows that b alone has computed a second, in requests of a, times kOffered.
  const double rows = capacity * (kOwnTokens + kNewTokens);
  const double offered = kOffered * rows / 2 / (mix.prompt_tokens + mix.new_tokens - 1);
  const absl::Duration within = absl::Seconds(2);
  std::printf("%s: b sends %.0f requests/s (alone %.0f), a offers %.0f/s of %d + %d tokens\n",
              mix.name, rate, capacity, offered, mix.prompt_tokens, mix.new_tokens);
  const auto steady = [&](Outcome* outcome) {
    SendSteadily(
        engine, [&](int64_t i) { return SteadyRequest(i, within); }, rate, flags.seconds, outcome);
  };
  std::vector<double> goodputs, hit_rates, first_tokens;
  const uint64_t evicted = engine->Stats()->cache.evicted_columns;
  for (int round = 0; round < flags.rounds; ++round) {
    Outcome alone, beside, flood;
    steady(&alone);
    WaitEnded(alone);
    {
      std::jthread sender(
          [&] { SendSteadily(engine, FloodOf("a", mix), offered, flags.seconds + 0.5, &flood); });
      std::this_thread::sleep_for(std::chrono::milliseconds(500));  // a is there first.
      steady(&beside);
      WaitEnded(beside);
    }
    Drain(engine, flood);
    std::printf(
        "  alone %ld of %ld, hits %.3f, first token p99 %.0f ms; beside %ld of %ld, %.3f, "
        "%.0f ms; a: %ld of %ld\n",
        alone.finished(), alone.sent(), alone.hit_rate(), alone.FirstTokenP99() * 1e3,
        beside.finished(), beside.sent(), beside.hit_rate(), beside.FirstTokenP99() * 1e3,
        flood.finished(), flood.sent());
    goodputs.push_back(static_cast<double>(beside.tokens()) /
                       static_cast<double>(std::max<int64_t>(1, alone.tokens())));
    hit_rates.push_back(beside.hit_rate() / alone.hit_rate());
    first_tokens.push_back(beside.FirstTokenP99() / alone.FirstTokenP99());
  }
  std::printf("  evicted columns: %lu; first token p99 beside / alone: %.2f\n",
              engine->Stats()->cache.evicted_columns - evicted, Median(first_tokens));
  verdict->Expect(Median(goodputs) >= kLeastGoodput, "goodput beside / alone", Median(goodputs),
                  kLeastGoodput);
  verdict->Expect(Median(hit_rates) >= kLeastHitRate, "hit rate beside / alone", Median(hit_rates),
                  kLeastHitRate);
}

// Rows computed for a and b, both backlogged, for their weights.
void RunJain(const Flags& flags, const char* what, double weight_b, int backlog_a, int backlog_b,
             Verdict* verdict) {
  const auto engine = Serve(flags, 1, weight_b);
  const auto rows = [&engine](int tenant) {
    const TenantStats stats = engine->Stats()->tenants[tenant];
    return static_cast<double>(stats.prompt_tokens - stats.cached_tokens + stats.generated_tokens);
  };
  const Mix mix{"both", 100, 16};
  Outcome a, b;
  std::atomic<bool> stop{false};
  {
    std::jthread first([&] { SendBacklog(engine.get(), FloodOf("a", mix), backlog_a, stop, &a); });
    std::jthread second([&] { SendBacklog(engine.get(), FloodOf("b", mix), backlog_b, stop, &b); });
    std::this_thread::sleep_for(std::chrono::milliseconds(500));
    const double before_a = rows(0), before_b = rows(1);
    std::this_thread::sleep_for(std::chrono::duration<double>(2 * flags.seconds));
    const double x = rows(0) - before_a, y = (rows(1) - before_b) / weight_b;
    stop = true;
    const double jain = (x + y) * (x + y) / (2 * (x * x + y * y));
    verdict->Expect(jain >= kLeastJain, what, jain, kLeastJain);
  }
  Drain(engine.get(), a);
  Drain(engine.get(), b);
}

// Tokens that a, which has nothing cached itself, finds cached of what b has sent.
int64_t ForeignHits(Engine* engine) {
  std::promise<void> flushed;
  engine->FlushCache("a", [&flushed](FlushResult) { flushed.set_value(); });
  flushed.get_future().wait();
  int64_t hits = 0;
  for (int i = 0; i < kPrefixes; ++i) {
    std::promise<int64_t> cached[2];
    for (int t = 0; t < 2; ++t) {
      engine->CountTokens(MakeRequest(t == 0 ? "a" : "b", Shared(i), 1), [&, t](auto counts) {
        cached[t].set_value(counts.ok() ? counts->cached_prompt_tokens : -1);
      });
    }
    const int64_t foreign = cached[0].get_future().get(), own = cached[1].get_future().get();
    if (foreign < 0 || own <= 0) return -1;
    hits += foreign;
  }
  return hits;
}

int Run(const Flags& flags) {
  ConfigureLog(LogLevel::kError, LogFormat::kText);
  setlinebuf(stdout);
  Verdict verdict;
  {
    const auto engine = Serve(flags, 1, 1);
    if (engine == nullptr) return 2;
    std::printf("level %s, %d threads, %d pages\n", engine->runtime_info().level.c_str(),
                engine->runtime_info().threads, engine->Stats()->total_pages);
    RunFlood(engine.get(), flags, {"unique prompts", 400, 1}, &verdict);
    RunFlood(engine.get(), flags, {"long answers", 32, 200}, &verdict);
    const int64_t foreign = ForeignHits(engine.get());
    verdict.Expect(foreign == 0, "tokens hit across tenants", static_cast<double>(foreign), 0);
  }
  RunJain(flags, "Jain's index, weights 1:1", 1, 100, 100, &verdict);
  RunJain(flags, "Jain's index, weights 1:3", 3, 100, 100, &verdict);
  RunJain(flags, "Jain's index, ten times the requests", 1, 250, 25, &verdict);
  return flags.check && verdict.missed() > 0 ? 1 : 0;
}

}  // namespace
}  // namespace prefixd

int main(int argc, char** argv) {
  prefixd::Flags flags;
  CLI::App app{"What a tenant keeps of the engine beside a greedy one"};
  app.add_option("--model", flags.model, "Model directory")->capture_default_str();
  app.add_option("--level", flags.level, "CPU level")->capture_default_str();
  app.add_option("--kv-mib", flags.kv_mib, "KV memory, MiB")->capture_default_str();
  app.add_option("--rounds", flags.rounds, "Rounds of alone and beside")
      ->check(CLI::Range(1, 100))
      ->capture_default_str();
  app.add_option("--seconds", flags.seconds, "Length of a measurement")
      ->check(CLI::Range(0.5, 600.0))
      ->capture_default_str();
  app.add_flag("--check", flags.check, "Exit 1 if a bar is missed");
  CLI11_PARSE(app, argc, argv);
  return prefixd::Run(flags);
}
