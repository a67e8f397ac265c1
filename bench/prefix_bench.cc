// What sharing prefixes gives and costs, through the whole engine: later questions about a
// picture, many sessions on one picture, prompts that share nothing, and cancelled requests. Prints
// the CPU level; --check makes a missed bar an error.
#include <cstdio>
#include <string>

#include "CLI/CLI.hpp"
#include "base/file.h"
#include "base/log.h"
#include "bench/sharing.h"

namespace prefixd {
namespace {

constexpr size_t kMaxPictureBytes = 16 << 20;

struct Flags {
  std::string text_model, vision_model, demo, picture;
  std::string level = "auto";
  std::string only;
  int threads = 0;
  int rounds = 9;
  int session_rounds = 1;
  int cancels = 1000;
  bool check = false;
};

class PrefixBench {
 public:
  PrefixBench(const Flags& flags, std::string picture)
      : flags_(flags), picture_(std::move(picture)) {}

  absl::Status Run();
  bool missed() const { return bars_.missed(); }

 private:
  bool Wanted(const std::string& part) const { return flags_.only.empty() || flags_.only == part; }
  absl::StatusOr<std::unique_ptr<EngineClient>> Open(const std::string& model, uint64_t kv_bytes);

  const Flags flags_;
  const std::string picture_;
  Bars bars_;
};

absl::StatusOr<std::unique_ptr<EngineClient>> PrefixBench::Open(const std::string& model,
                                                                uint64_t kv_bytes) {
  EngineOptions options;
  options.model_path = model;
  options.backend = "cpu";
  options.cpu_level = flags_.level;
  options.threads = flags_.threads;
  options.kv_memory_bytes = kv_bytes;
  auto client = EngineClient::Open(options);
  if (client.ok()) {
    const EngineRuntimeInfo& runtime = (*client)->engine().runtime_info();
    std::printf("--- %s: level %s, %d threads\n", (*client)->engine().model_info().name.c_str(),
                runtime.level.c_str(), runtime.threads);
  }
  return client;
}

absl::Status PrefixBench::Run() {
  if (Wanted("question") || Wanted("sessions")) {
    auto client = Open(flags_.vision_model, uint64_t{4} << 30);
    if (!client.ok()) return client.status();
    if (Wanted("question")) {
      MeasureLaterQuestions(client->get(), picture_, flags_.rounds, &bars_);
    }
    if (Wanted("sessions")) {
      MeasureSessions(client->get(), "llava-135m", picture_, flags_.session_rounds, 10, &bars_);
    }
  }
  if (Wanted("sessions") || Wanted("cancel")) {
    auto client = Open(flags_.demo, uint64_t{1} << 30);
    if (!client.ok()) return client.status();
    if (Wanted("sessions")) {
      MeasureSessions(client->get(), "demo", picture_, flags_.rounds, 5, &bars_);
    }
    if (Wanted("cancel")) MeasureCancel(client->get(), picture_, flags_.cancels, &bars_);
  }
  if (Wanted("overhead")) {
    // Room for some rounds: later ones evict.
    auto client = Open(flags_.text_model, uint64_t{256} << 20);
    if (!client.ok()) return client.status();
    MeasureOverhead(client->get(), flags_.rounds, &bars_);
  }
  return absl::OkStatus();
}

int Main(const Flags& flags) {
  ConfigureLog(LogLevel::kError, LogFormat::kText);
  auto picture = ReadFile(flags.picture, kMaxPictureBytes);
  absl::Status status = picture.status();
  bool missed = false;
  if (status.ok()) {
    PrefixBench bench(flags, *std::move(picture));
    status = bench.Run();
    missed = bench.missed();
  }
  if (!status.ok()) {
    std::fprintf(stderr, "%s\n", std::string(status.message()).c_str());
    return 2;
  }
  return missed && flags.check ? 1 : 0;
}

}  // namespace
}  // namespace prefixd

int main(int argc, char** argv) {
  prefixd::Flags flags;
  CLI::App app{"What sharing prefixes gives and costs"};
  app.add_option("--text-model", flags.text_model, "Directory of a text model")->required();
  app.add_option("--vision-model", flags.vision_model, "Directory of a large LLaVA")->required();
  app.add_option("--demo", flags.demo, "Directory of the demo model")->required();
  app.add_option("--picture", flags.picture, "A picture")->required();
  app.add_option("--level", flags.level, "CPU level")->capture_default_str();
  app.add_option("--threads", flags.threads, "Threads; 0: all")->capture_default_str();
  app.add_option("--only", flags.only, "One part")
      ->check(CLI::IsMember({"question", "sessions", "cancel", "overhead"}));
  app.add_option("--rounds", flags.rounds, "Rounds")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  app.add_option("--session-rounds", flags.session_rounds, "Rounds of 64 sessions, large model")
      ->check(CLI::Range(1, 100))
      ->capture_default_str();
  app.add_option("--cancels", flags.cancels, "Cancelled requests or groups of them")
      ->check(CLI::Range(1, 1000000))
      ->capture_default_str();
  app.add_flag("--check", flags.check, "Exit 1 if a bar is missed");
  CLI11_PARSE(app, argc, argv);
  return prefixd::Main(flags);
}
