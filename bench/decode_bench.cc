// Decode through the whole engine against what the memory gives in the same run: a single stream of
// a random model (tools/make_random_model --shape 135m), its weight bytes per second divided by a
// memory-read probe taken before and after every round. Prints the CPU level; exits 1 under
// --floor.
#include <condition_variable>
#include <cstdio>
#include <mutex>
#include <string>
#include <vector>

#include "CLI/CLI.hpp"
#include "base/clock.h"
#include "base/log.h"
#include "bench/probes.h"
#include "engine/backend/cpu/level.h"
#include "engine/engine.h"

namespace prefixd {
namespace {

struct Flags {
  std::string model;
  std::string level = "auto";
  int threads = 0;
  int rounds = 7;
  int prompt_tokens = 64;
  int new_tokens = 64;
  int streams = 1;
  double floor = 0;
};

// Notes when tokens arrive, for all streams together.
class TokenClock final : public EventSink {
 public:
  void OnEvent(Event event) override {
    std::lock_guard lock(mutex_);
    if (const auto* delta = std::get_if<DeltaEvent>(&event)) {
      const double now = NowSeconds();
      if (tokens_ == 0) first_ = now;
      last_ = now;
      tokens_ += static_cast<int>(delta->token_ids.size());
    } else if (const auto* failed = std::get_if<FailedEvent>(&event)) {
      std::fprintf(stderr, "%s\n", std::string(failed->status.message()).c_str());
      done_ = true;
    } else if (std::holds_alternative<FinishedEvent>(event)) {
      done_ = true;
    }
    changed_.notify_all();
  }

  void Wait() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return done_; });
  }
  // The first token belongs to the prefill.
  double SecondsPerToken() const { return (last_ - first_) / (tokens_ - 1); }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  double first_ = 0, last_ = 0;
  int tokens_ = 0;
  bool done_ = false;
};

Request MakeRequest(const Flags& flags, int index) {
  TokenInput input;
  for (int i = 0; i < flags.prompt_tokens; ++i) input.ids.push_back(1 + (i * 7 + index) % 200);
  Request request;
  request.id = std::to_string(index);
  request.input = std::move(input);
  request.stopping.max_tokens = flags.new_tokens;
  request.stopping.ignore_eos = true;
  request.output.token_ids = true;
  return request;
}

// Seconds a step takes while all streams decode.
double DecodeRound(Engine* engine, const Flags& flags) {
  std::vector<std::shared_ptr<TokenClock>> clocks;
  for (int i = 0; i < flags.streams; ++i) {
    clocks.push_back(std::make_shared<TokenClock>());
    if (!engine->Submit(MakeRequest(flags, i), clocks.back()).ok()) return -1;
  }
  std::vector<double> steps;
  for (const auto& clock : clocks) {
    clock->Wait();
    steps.push_back(clock->SecondsPerToken());
  }
  return Median(steps);
}

int Run(const Flags& flags) {
  ConfigureLog(LogLevel::kError, LogFormat::kText);
  EngineOptions options;
  options.model_path = flags.model;
  options.backend = "cpu";
  options.cpu_level = flags.level;
  options.threads = flags.threads;
  const MonotonicClock clock;
  auto engine = Engine::Open(options, &clock);
  if (!engine.ok()) {
    std::fprintf(stderr, "%s\n", std::string(engine.status().message()).c_str());
    return 2;
  }
  const absl::Status loaded = (*engine)->LoadWeights([](uint64_t, uint64_t) { return true; });
  if (!loaded.ok()) {
    std::fprintf(stderr, "%s\n", std::string(loaded.message()).c_str());
    return 2;
  }
  const EngineRuntimeInfo& runtime = (*engine)->runtime_info();
  const double weight_bytes = static_cast<double>((*engine)->model_info().weight_bytes);
  Probes probes(cpu::SelectLevel(runtime.level)->kernels, runtime.threads);
  std::printf("level %s, %d threads, %s weights %.1f MB, %d stream(s), context %d..%d\n",
              runtime.level.c_str(), runtime.threads, (*engine)->model_info().weights_dtype.c_str(),
              weight_bytes * 1e-6, flags.streams, flags.prompt_tokens,
              flags.prompt_tokens + flags.new_tokens);

  DecodeRound(engine->get(), flags);  // Warm-up.
  std::vector<double> ratios;
  for (int round = 0; round < flags.rounds; ++round) {
    const double before = probes.ReadBytesPerSecond();
    const double step = DecodeRound(engine->get(), flags);
    const double after = probes.ReadBytesPerSecond();
    const double read = (before + after) / 2;
    ratios.push_back(weight_bytes / step / read);
    std::printf(
        "round %d: step %.2f ms, %.1f tokens/s, weights %.1f GB/s, probe %.1f GB/s, ratio %.2f\n",
        round, step * 1e3, flags.streams / step, weight_bytes / step * 1e-9, read * 1e-9,
        ratios.back());
  }
  const double ratio = Median(ratios);
  std::printf("decode/probe ratio %.2f (median of %d)\n", ratio, flags.rounds);
  return ratio >= flags.floor ? 0 : 1;
}

}  // namespace
}  // namespace prefixd

int main(int argc, char** argv) {
  prefixd::Flags flags;
  CLI::App app{"Decode speed of a model against a memory-read probe of the same run"};
  app.add_option("--model", flags.model, "Model directory")->required();
  app.add_option("--level", flags.level, "CPU level")->capture_default_str();
  app.add_option("--threads", flags.threads, "Threads; 0: all")->capture_default_str();
  app.add_option("--rounds", flags.rounds, "Rounds")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  app.add_option("--prompt-tokens", flags.prompt_tokens, "Prompt tokens")->capture_default_str();
  app.add_option("--new-tokens", flags.new_tokens, "Tokens to decode")
      ->check(CLI::Range(2, 4096))
      ->capture_default_str();
  app.add_option("--streams", flags.streams, "Streams at once")
      ->check(CLI::Range(1, 64))
      ->capture_default_str();
  app.add_option("--floor", flags.floor, "Exit 1 below this ratio")->capture_default_str();
  CLI11_PARSE(app, argc, argv);
  return prefixd::Run(flags);
}
