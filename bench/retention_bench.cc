// What KV budgets give and cost, through the whole engine: sessions that fit in a pool, pages that
// come back, second sessions on a snapshot, prefill with scores, and decoding. Prints the CPU
// level; --check makes a missed bar an error.
#include <cstdio>
#include <string>

#include "CLI/CLI.hpp"
#include "base/file.h"
#include "base/log.h"
#include "base/status_macros.h"
#include "bench/retention_parts.h"

namespace prefixd {
namespace {

constexpr size_t kMaxPictureBytes = 16 << 20;
constexpr char kProfile[] = "llava-v1.5-7b";

struct Flags {
  std::string models, demo, profiles, picture;
  std::string level = "auto";
  std::string only;
  int threads = 0;
  int rounds = 9;
  int prefill_rounds = 15;
  int decode_rounds = 5;
  int full_sessions = 16;
  bool check = false;
};

class RetentionBench {
 public:
  RetentionBench(const Flags& flags, std::string picture)
      : flags_(flags), picture_(std::move(picture)) {}

  absl::Status Run();
  bool missed() const { return bars_.missed(); }

 private:
  bool Wanted(const std::string& part) const { return flags_.only.empty() || flags_.only == part; }
  std::string Random(const std::string& shape) const { return flags_.models + "/random-" + shape; }
  absl::StatusOr<std::unique_ptr<EngineClient>> Open(const std::string& model,
                                                     EngineOptions options) const;
  absl::StatusOr<std::unique_ptr<EngineClient>> Open(const std::string& model, uint64_t kv_bytes) {
    EngineOptions options;
    options.kv_memory_bytes = kv_bytes;
    return Open(model, options);
  }
  absl::Status Sessions();
  absl::Status Freed();
  absl::Status Shared();
  absl::Status Importance();
  absl::Status Decode();

  const Flags flags_;
  const std::string picture_;
  Bars bars_;
};

absl::StatusOr<std::unique_ptr<EngineClient>> RetentionBench::Open(const std::string& model,
                                                                   EngineOptions options) const {
  options.model_path = model;
  options.backend = "cpu";
  options.cpu_level = flags_.level;
  options.threads = flags_.threads;
  auto client = EngineClient::Open(options);
  if (client.ok()) {
    const EngineRuntimeInfo& runtime = (*client)->engine().runtime_info();
    std::printf("--- %s: level %s, %d threads, %d pages\n",
                (*client)->engine().model_info().name.c_str(), runtime.level.c_str(),
                runtime.threads, (*client)->engine().Stats()->total_pages);
  }
  return client;
}

absl::Status RetentionBench::Sessions() {
  // The larger the pool, the less the room for one prompt at full KV counts.
  const std::pair<std::string, int> cases[] = {{"llava-7b-profile", 2 * flags_.full_sessions},
                                               {"llava-135m", flags_.full_sessions}};
  for (const auto& [shape, full_sessions] : cases) {
    const EngineOpener open = [&](const EngineOptions& options) {
      return Open(Random(shape), options);
    };
    PREFIXD_RETURN_IF_ERROR(
        MeasureSessionsThatFit(open, shape, picture_, full_sessions, 4.5, &bars_));
  }
  return absl::OkStatus();
}

absl::Status RetentionBench::Freed() {
  EngineOptions options;
  options.kv_memory_bytes = uint64_t{256} << 20;
  options.retention_profiles = flags_.profiles;
  PREFIXD_ASSIGN_OR_RETURN(const auto client, Open(Random("llava-7b-profile"), options));
  MeasureFreedPages(client.get(), picture_, kProfile, &bars_);
  return absl::OkStatus();
}

absl::Status RetentionBench::Shared() {
  {
    PREFIXD_ASSIGN_OR_RETURN(const auto client, Open(flags_.demo, uint64_t{256} << 20));
    MeasureSecondSession(client.get(), "demo", picture_, flags_.rounds, &bars_);
  }
  PREFIXD_ASSIGN_OR_RETURN(const auto client, Open(Random("llava-135m"), uint64_t{1} << 30));
  MeasureSecondSession(client.get(), "llava-135m", picture_, 3, &bars_);
  return absl::OkStatus();
}

absl::Status RetentionBench::Importance() {
  for (const std::string shape : {"llava-135m", "135m"}) {
    PREFIXD_ASSIGN_OR_RETURN(const auto client, Open(Random(shape), uint64_t{1} << 30));
    MeasureImportance(client.get(), shape, shape == "135m" ? "" : picture_, flags_.prefill_rounds,
                      &bars_);
  }
  return absl::OkStatus();
}

absl::Status RetentionBench::Decode() {
  const struct {
    const char* shape;
    bool picture;
    double least;
  } cases[] = {{"many-kv-heads", false, 1.3}, {"135m", false, 1.3}, {"llava-135m", true, 0}};
  for (const auto& of : cases) {
    PREFIXD_ASSIGN_OR_RETURN(const auto client, Open(Random(of.shape), uint64_t{2} << 30));
    MeasureDecode(client.get(), of.shape, of.picture ? picture_ : "", flags_.decode_rounds,
                  of.least, &bars_);
  }
  return absl::OkStatus();
}

absl::Status RetentionBench::Run() {
  if (Wanted("freed")) PREFIXD_RETURN_IF_ERROR(Freed());
  if (Wanted("shared")) PREFIXD_RETURN_IF_ERROR(Shared());
  if (Wanted("importance")) PREFIXD_RETURN_IF_ERROR(Importance());
  if (Wanted("decode")) PREFIXD_RETURN_IF_ERROR(Decode());
  if (Wanted("sessions")) PREFIXD_RETURN_IF_ERROR(Sessions());
  return absl::OkStatus();
}

int Main(const Flags& flags) {
  ConfigureLog(LogLevel::kError, LogFormat::kText);
  auto picture = ReadFile(flags.picture, kMaxPictureBytes);
  absl::Status status = picture.status();
  bool missed = false;
  if (status.ok()) {
    RetentionBench bench(flags, *std::move(picture));
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
  CLI::App app{"What KV budgets give and cost"};
  app.add_option("--models", flags.models, "Directory of random-SHAPE")->required();
  app.add_option("--demo", flags.demo, "Directory of the demo model")->required();
  app.add_option("--profiles", flags.profiles, "Directory of offline profiles")->required();
  app.add_option("--picture", flags.picture, "A picture")->required();
  app.add_option("--level", flags.level, "CPU level")->capture_default_str();
  app.add_option("--threads", flags.threads, "Threads; 0: all")->capture_default_str();
  app.add_option("--only", flags.only, "One part")
      ->check(CLI::IsMember({"sessions", "freed", "shared", "importance", "decode"}));
  app.add_option("--rounds", flags.rounds, "Rounds of second sessions, demo model")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  app.add_option("--prefill-rounds", flags.prefill_rounds, "Rounds of prefills")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  app.add_option("--decode-rounds", flags.decode_rounds, "Rounds of decoding")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  app.add_option("--full-sessions", flags.full_sessions, "Sessions of full KV in the pool")
      ->check(CLI::Range(4, 20))
      ->capture_default_str();
  app.add_flag("--check", flags.check, "Exit 1 if a bar is missed");
  CLI11_PARSE(app, argc, argv);
  return prefixd::Main(flags);
}
