// What ranking names over one cached context costs: the packed pass over their tree against our own
// ways of doing it a token at a time and a name at a time, and what demonstrations shared by many
// clients give. Prints the CPU level; --check makes a missed bar an error.
#include <png.h>

#include <atomic>
#include <cstdio>
#include <functional>
#include <future>
#include <random>
#include <string>
#include <thread>

#include "CLI/CLI.hpp"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/check.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "bench/bars.h"
#include "bench/probes.h"
#include "engine/engine.h"

namespace prefixd {
namespace {

constexpr int kContextTokens = 640;
constexpr int kNameTokens = 3;

struct Flags {
  std::string text_model, demo, names;
  std::string level = "auto", activations = "auto", only;
  int threads = 0;
  int rounds = 3;
  int pictures = 100;
  bool check = false;
};

// Three tokens for each name: its first three bytes, the next three, and the rest, each piece by a
// hash. So names share tokens as they share letters, whatever the model's vocabulary.
std::vector<std::vector<int32_t>> TokensOf(const std::string& names, int32_t vocab_size) {
  std::vector<std::vector<int32_t>> sequences;
  for (const absl::string_view name : absl::StrSplit(names, '\n', absl::SkipEmpty())) {
    std::vector<int32_t> tokens;
    for (size_t i = 0; i < kNameTokens; ++i) {
      const absl::string_view rest = name.substr(std::min(3 * i, name.size()));
      uint64_t hash = 14695981039346656037u + i;  // FNV-1a.
      for (const char c : i + 1 < kNameTokens ? rest.substr(0, 3) : rest) {
        hash = (hash ^ static_cast<uint8_t>(c)) * 1099511628211u;
      }
      tokens.push_back(300 + static_cast<int32_t>(hash % static_cast<uint64_t>(vocab_size - 300)));
    }
    sequences.push_back(std::move(tokens));
  }
  return sequences;
}

// A picture of a few rectangles, unlike any other.
std::string MakePicture(uint32_t seed) {
  constexpr uint32_t kSide = 96;
  std::mt19937 random(seed);
  std::vector<uint8_t> rgb(kSide * kSide * 3);
  for (int shape = 0; shape < 6; ++shape) {
    const uint32_t x = random() % 72, y = random() % 72, size = 8 + random() % 16;
    const uint32_t colour = random();
    for (uint32_t r = y; r < y + size; ++r) {
      for (uint32_t c = x; c < x + size; ++c) {
        for (uint32_t i = 0; i < 3; ++i) {
          rgb[(r * kSide + c) * 3 + i] = static_cast<uint8_t>(colour >> (8 * i));
        }
      }
    }
  }
  png_image image{};
  image.version = PNG_IMAGE_VERSION;
  image.width = image.height = kSide;
  image.format = PNG_FORMAT_RGB;
  png_alloc_size_t bytes = PNG_IMAGE_PNG_SIZE_MAX(image);
  std::string png(bytes, '\0');
  PREFIXD_CHECK(png_image_write_to_memory(&image, png.data(), &bytes, 0, rgb.data(), 0, nullptr) !=
                0);
  png.resize(bytes);
  return png;
}

class ClassificationBench {
 public:
  explicit ClassificationBench(const Flags& flags) : flags_(flags) {}

  absl::Status Run() {
    if (Wanted("names")) PREFIXD_CHECK(MeasureNames().ok());
    if (Wanted("sharing")) PREFIXD_CHECK(MeasureSharing().ok());
    return absl::OkStatus();
  }
  bool missed() const { return bars_.missed(); }

 private:
  bool Wanted(const std::string& part) const { return flags_.only.empty() || flags_.only == part; }

  std::unique_ptr<Engine> Open(const std::string& model, uint64_t kv_bytes) {
    EngineOptions options;
    options.model_path = model;
    options.backend = "cpu";
    options.cpu_level = flags_.level;
    options.activation_dtype = flags_.activations;
    options.threads = flags_.threads;
    options.kv_memory_bytes = kv_bytes;
    options.max_images = 16;
    auto engine = Engine::Open(options, &clock_);
    if (!engine.ok()) {
      std::fprintf(stderr, "%s\n", std::string(engine.status().message()).c_str());
      std::exit(2);
    }
    PREFIXD_CHECK((*engine)->LoadWeights([](uint64_t, uint64_t) { return true; }).ok());
    const EngineRuntimeInfo& runtime = (*engine)->runtime_info();
    std::printf("--- %s: level %s, activations %s, %d threads\n",
                (*engine)->model_info().name.c_str(), runtime.level.c_str(),
                runtime.activation_dtype.c_str(), runtime.threads);
    level_ = runtime.level;
    bf16_ = runtime.activation_dtype == "bf16";
    return *std::move(engine);
  }

  ScoreResult Score(Engine* engine, ScoringMode mode,
                    absl::Span<const std::vector<int32_t>> names) {
    ScoreRequest request{.id = absl::StrCat("score ", ++calls_), .mode = mode};
    TokenInput context;
    for (int i = 0; i < kContextTokens; ++i) context.ids.push_back(300 + (i * 37) % 1000);
    request.input = std::move(context);
    for (const std::vector<int32_t>& name : names) request.continuations.emplace_back(name);
    std::promise<absl::StatusOr<ScoreResult>> promise;
    engine->classifier()->Score(std::move(request), [&promise](absl::StatusOr<ScoreResult> r) {
      promise.set_value(std::move(r));
    });
    absl::StatusOr<ScoreResult> result = promise.get_future().get();
    if (!result.ok()) std::fprintf(stderr, "%s\n", std::string(result.status().message()).c_str());
    PREFIXD_CHECK(result.ok());
    return *std::move(result);
  }

  absl::Status MeasureNames();
  absl::Status MeasureSharing();
  double QueriesPerSecond(Engine* engine, bool shared, int pictures_each, int first_picture);

  const Flags flags_;
  const MonotonicClock clock_;
  Bars bars_;
  std::string level_;
  bool bf16_ = false;
  std::atomic<int> calls_{0};
};

absl::Status ClassificationBench::MeasureNames() {
  const std::unique_ptr<Engine> engine = Open(flags_.text_model, uint64_t{1} << 30);
  const std::string text = *ReadFile(flags_.names, 1 << 20);
  const auto names = TokensOf(text, engine->model_info().vocab_size);
  Score(engine.get(), ScoringMode::kPacked, absl::MakeConstSpan(names).subspan(0, 2));  // Context.
  std::vector<double> packed, sequential, by_token;
  ScoreResult one_pass;
  double worst = 0;
  for (int round = 0; round < flags_.rounds; ++round) {
    double begin = NowSeconds();
    one_pass = Score(engine.get(), ScoringMode::kPacked, names);
    packed.push_back(NowSeconds() - begin);
    begin = NowSeconds();
    for (size_t k = 0; k < names.size(); ++k) {
      const ScoreResult alone =
          Score(engine.get(), ScoringMode::kPacked, absl::MakeConstSpan(names).subspan(k, 1));
      worst = std::max(
          worst, std::abs(alone.continuations[0].log_prob - one_pass.continuations[k].log_prob));
    }
    sequential.push_back(NowSeconds() - begin);
    begin = NowSeconds();
    Score(engine.get(), ScoringMode::kTokenByToken, names);
    by_token.push_back(NowSeconds() - begin);
    std::printf("round %d: packed %.2f s, name by name %.2f s, token by token %.2f s\n", round + 1,
                packed.back(), sequential.back(), by_token.back());
  }
  std::printf(
      "%zu names of %d tokens over %d cached tokens: %lld rows in %d passes, %lld saved, "
      "context hits %d, largest difference to a name alone %.2g\n",
      names.size(), kNameTokens, kContextTokens,
      static_cast<long long>(one_pass.scoring.computed_rows), one_pass.scoring.passes,
      static_cast<long long>(one_pass.scoring.saved_rows), one_pass.scoring.context_hits, worst);
  bars_.AtLeast("against token by token", Median(by_token) / Median(packed), 5);
  const double bar = bf16_ ? 8 : level_ == "avx512" || level_ == "avx512bf16" ? 4 : 2;
  bars_.AtLeast("against name by name", Median(sequential) / Median(packed), bar);
  return absl::OkStatus();
}

double ClassificationBench::QueriesPerSecond(Engine* engine, bool shared, int pictures_each,
                                             int first_picture) {
  constexpr int kClients = 8;
  const double begin = NowSeconds();
  std::vector<std::jthread> clients;
  for (int client = 0; client < kClients; ++client) {
    clients.emplace_back([=, this] {
      for (int i = 0; i < pictures_each; ++i) {
        const uint32_t number = static_cast<uint32_t>(first_picture + i * kClients + client);
        ClassifyRequest request{.id = absl::StrCat("query ", ++calls_)};
        request.context = ClassQuery{.image = ImagePart{MakePicture(number), ""}, .text = ""};
        request.class_set = "classSets/bench";
        request.bypass_prefix_cache = !shared;
        std::promise<absl::Status> done;
        engine->classifier()->Classify(
            std::move(request),
            [&done](const absl::StatusOr<ClassifyResult>& r) { done.set_value(r.status()); });
        PREFIXD_CHECK(done.get_future().get().ok());
      }
    });
  }
  clients.clear();
  return kClients * pictures_each / (NowSeconds() - begin);
}

absl::Status ClassificationBench::MeasureSharing() {
  const std::unique_ptr<Engine> engine = Open(flags_.demo, uint64_t{512} << 20);
  ClassSetSpec spec{.id = "bench", .prompt = {.question = "Describe the image."}};
  for (const char* colour : {"red", "green", "blue", "yellow"}) {
    for (const char* shape : {"circle", "square", "ring", "triangle"}) {
      spec.names.push_back(absl::StrCat("a ", colour, " ", shape));
    }
  }
  for (uint32_t i = 0; i < 8; ++i) {
    spec.demonstrations.push_back(
        {.image = ImagePart{MakePicture(1000000 + i), ""}, .text = "", .label = spec.names[2 * i]});
  }
  std::promise<absl::Status> created;
  engine->classifier()->CreateClassSet(
      std::move(spec),
      [&created](const absl::StatusOr<ClassSetInfo>& info) { created.set_value(info.status()); });
  PREFIXD_CHECK(created.get_future().get().ok());
  const uint64_t towers_before = engine->Stats()->cache.tower_runs;
  const uint64_t computed_before = engine->Stats()->cache.computed_tokens;
  const double shared = QueriesPerSecond(engine.get(), true, flags_.pictures, 0);
  const uint64_t queries = static_cast<uint64_t>(8 * flags_.pictures);
  const auto stats = engine->Stats();
  std::printf(
      "shared: %.1f queries/s, %.2f towers and %.0f rows of context a query (set: 8 "
      "demonstrations, %llu towers)\n",
      shared,
      static_cast<double>(stats->cache.tower_runs - towers_before) / static_cast<double>(queries),
      static_cast<double>(stats->cache.computed_tokens - computed_before) /
          static_cast<double>(queries),
      static_cast<unsigned long long>(towers_before));
  // The demonstrations ran through the tower once, when the set was made.
  bars_.AtMost("towers run in all less one a query",
               static_cast<double>(stats->cache.tower_runs - queries), 8);
  const int few = std::max(1, flags_.pictures / 5);  // It takes long.
  const double alone = QueriesPerSecond(engine.get(), false, few, 0);
  std::printf("not shared: %.1f queries/s\n", alone);
  bars_.AtLeast("queries per second, shared against not", shared / alone, 3);
  return absl::OkStatus();
}

}  // namespace
}  // namespace prefixd

int main(int argc, char** argv) {
  prefixd::Flags flags;
  CLI::App app{"What ranking names over one cached context costs"};
  app.add_option("--text-model", flags.text_model, "Directory of a text model")->required();
  app.add_option("--demo", flags.demo, "Directory of the demo model")->required();
  app.add_option("--names", flags.names, "File of names, one a line")->required();
  app.add_option("--level", flags.level, "CPU level")->capture_default_str();
  app.add_option("--activations", flags.activations, "f32 or bf16")->capture_default_str();
  app.add_option("--threads", flags.threads, "Threads; 0: all")->capture_default_str();
  app.add_option("--only", flags.only, "One part")->check(CLI::IsMember({"names", "sharing"}));
  app.add_option("--rounds", flags.rounds, "Rounds")->check(CLI::Range(1, 100));
  app.add_option("--pictures", flags.pictures, "Pictures a client")->check(CLI::Range(5, 10000));
  app.add_flag("--check", flags.check, "Exit 1 if a bar is missed");
  CLI11_PARSE(app, argc, argv);
  prefixd::ConfigureLog(prefixd::LogLevel::kError, prefixd::LogFormat::kText);
  prefixd::ClassificationBench bench(flags);
  if (!bench.Run().ok()) return 2;
  return bench.missed() && flags.check ? 1 : 0;
}
