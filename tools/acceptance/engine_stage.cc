// Stage engine: a small random LLaVA on the CPU and on the card, through the engine's own door.
#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/file.h"
#include "base/status_macros.h"
#include "tools/acceptance/play.h"
#include "tools/acceptance/stages.h"
#include "tools/random_model.h"

namespace prefixd::acceptance {
namespace {

struct Engines {
  std::unique_ptr<Engine> cpu, exact, fast;  // f32; f32, deterministic; bf16.
};

// Of a random model of that shape, with all that is f32. The model is written first.
absl::StatusOr<EngineOptions> OptionsFor(const StageSettings& settings, const std::string& shape) {
  EngineOptions options = {.model_path = absl::StrCat(settings.out, "/", shape),
                           .kv_memory_bytes = 64 << 20};
  options.feature_cache_memory = 8 << 20;
  options.check_invariants = true;
  options.kv_dtype = options.activation_dtype = "f32";
  PREFIXD_RETURN_IF_ERROR(WriteRandomModel({.shape = shape}, options.model_path));
  return options;
}

absl::StatusOr<Engines> OpenEngines(const StageSettings& settings) {
  PREFIXD_ASSIGN_OR_RETURN(EngineOptions options, OptionsFor(settings, "tiny-llava"));
  Engines engines;
  options.backend = "cpu";
  PREFIXD_ASSIGN_OR_RETURN(engines.cpu, OpenAndLoad(settings.open_engine, options));
  options.backend = "cuda";
  options.cuda_deterministic = true;
  PREFIXD_ASSIGN_OR_RETURN(engines.exact, OpenAndLoad(settings.open_engine, options));
  options.cuda_deterministic = false;
  options.kv_dtype = options.activation_dtype = "bf16";
  PREFIXD_ASSIGN_OR_RETURN(engines.fast, OpenAndLoad(settings.open_engine, options));
  return engines;
}

class Checks {
 public:
  Checks(const StageSettings& settings, StageReport* report)
      : settings_(settings), report_(report) {}

  absl::Status Run() {
    PREFIXD_ASSIGN_OR_RETURN(engines_, OpenEngines(settings_));
    PREFIXD_ASSIGN_OR_RETURN(
        picture_,
        ReadFile(absl::StrCat(settings_.source, "/models/demo/pictures/picture-01.png"), 1 << 24));
    PREFIXD_RETURN_IF_ERROR(Logits(engines_.cpu.get(), engines_.exact.get(), "f32", 1e-3));
    PREFIXD_RETURN_IF_ERROR(Logits(engines_.cpu.get(), engines_.fast.get(), "bf16", 0.1));
    PREFIXD_RETURN_IF_ERROR(Greedy());
    PREFIXD_RETURN_IF_ERROR(Sampling());
    PREFIXD_RETURN_IF_ERROR(Prefix());
    PREFIXD_RETURN_IF_ERROR(Budget());
    for (const std::string& shape : settings_.families) {
      PREFIXD_RETURN_IF_ERROR(Family(shape));
    }
    return absl::OkStatus();
  }

 private:
  Request New(const Engine& engine, uint32_t seed, int tokens, bool picture = true) {
    return NewRequest(engine, absl::StrCat(++next_id_),
                      TokensOf(seed, tokens, engine.model_info().vocab_size),
                      settings_.engine_tokens, picture ? picture_ : "");
  }
  void Note(absl::string_view what, bool good, absl::string_view found) {
    report_->facts.emplace_back(
        what, absl::StrCat(good ? "yes" : "NO", found.empty() ? "" : ", ", found));
    if (!good) report_->Fail(absl::StrCat("not so: ", what, found.empty() ? "" : "; ", found));
  }

  // Log-probabilities of the same forced tokens.
  absl::Status Logits(Engine* cpu, Engine* engine, const std::string& what, double bar) {
    double worst = 0;
    const auto forced = TokensOf(5, settings_.engine_tokens, engine->model_info().vocab_size);
    const bool picture = engine->model_info().image_token_id >= 0;
    std::vector<Answer> both;
    for (Engine* const one : {cpu, engine}) {
      Request request = New(*one, 3, 40, picture);
      request.forced_output = forced;
      request.output.logprobs = 5;
      PREFIXD_ASSIGN_OR_RETURN(Answer answer, PlayOne(one, std::move(request)));
      both.push_back(std::move(answer));
    }
    const auto& expected = both[0].logprobs;
    const auto& actual = both[1].logprobs;
    bool comparable = expected.size() == forced.size() && actual.size() == forced.size();
    for (size_t i = 0; comparable && i < expected.size(); ++i) {
      const double difference = std::abs(expected[i].sampled.logprob - actual[i].sampled.logprob);
      worst = std::isfinite(difference) ? std::max(worst, difference) : 1e9;
    }
    Note(absl::StrCat("log-probabilities are the CPU's within ", bar, ", ", what),
         comparable && worst <= bar, absl::StrFormat("largest difference %.2g", worst));
    return absl::OkStatus();
  }

  absl::Status Family(const std::string& shape) {
    absl::StatusOr<EngineOptions> options = OptionsFor(settings_, shape);
    if (absl::IsInvalidArgument(options.status())) {
      report_->facts.emplace_back(shape, "no such shape: passed over");
      return absl::OkStatus();
    }
    PREFIXD_RETURN_IF_ERROR(options.status());
    std::unique_ptr<Engine> engines[2];
    for (const bool card : {false, true}) {
      options->backend = card ? "cuda" : "cpu";
      PREFIXD_ASSIGN_OR_RETURN(engines[card], OpenAndLoad(settings_.open_engine, *options));
    }
    return Logits(engines[0].get(), engines[1].get(), absl::StrCat("f32, ", shape), 1e-3);
  }

  absl::Status Greedy() {
    std::vector<Answer> both;
    for (Engine* const one : {engines_.cpu.get(), engines_.exact.get()}) {
      Request request = New(*one, 8, 50);
      request.output.logprobs = 2;
      PREFIXD_ASSIGN_OR_RETURN(Answer answer, PlayOne(one, std::move(request)));
      both.push_back(std::move(answer));
    }
    const auto [a, b] = std::mismatch(both[0].tokens.begin(), both[0].tokens.end(),
                                      both[1].tokens.begin(), both[1].tokens.end());
    std::string found;
    bool good = static_cast<int>(both[0].tokens.size()) == settings_.engine_tokens &&
                a == both[0].tokens.end() && b == both[1].tokens.end();
    if (!good && a != both[0].tokens.end()) {
      const auto i = static_cast<size_t>(a - both[0].tokens.begin());
      const auto& top = both[0].logprobs[i].top;
      const double margin = top.size() < 2 ? 1e9 : top[0].logprob - top[1].logprob;
      found = absl::StrFormat(
          "the first other token is number %d, where the best two differ by "
          "%.2g nats",
          i, margin);
      good = margin < 1e-3;  // As good as equal.
    }
    Note(absl::StrCat(settings_.engine_tokens, " greedy tokens are the CPU's, f32"), good, found);
    return absl::OkStatus();
  }

  absl::Status Sampling() {
    Engine* const engine = engines_.exact.get();
    const auto sampled = [&] {
      Request request = New(*engine, 21, 30);
      request.sampling = {.temperature = 0.9f, .top_k = 50, .top_p = 0.95f, .seed = 77};
      return request;
    };
    PREFIXD_ASSIGN_OR_RETURN(const Answer first, PlayOne(engine, sampled()));
    PREFIXD_ASSIGN_OR_RETURN(const Answer second, PlayOne(engine, sampled()));
    Note("the same seed draws the same tokens twice", first.tokens == second.tokens, "");
    std::vector<Request> mates;
    for (uint32_t i = 0; i < 7; ++i) mates.push_back(New(*engine, 100 + i, 20 + 9 * i, i % 2 == 0));
    mates.push_back(sampled());
    PREFIXD_ASSIGN_OR_RETURN(const std::vector<Answer> answers, Play(engine, std::move(mates)));
    for (const Answer& answer : answers) PREFIXD_RETURN_IF_ERROR(answer.status);
    Note("and beside seven others in the batch", first.tokens == answers.back().tokens, "");
    return absl::OkStatus();
  }

  absl::Status Prefix() {
    Engine* const engine = engines_.exact.get();
    Flush(engine);
    PREFIXD_ASSIGN_OR_RETURN(const Answer cold, PlayOne(engine, New(*engine, 33, 120)));
    PREFIXD_ASSIGN_OR_RETURN(const Answer warm, PlayOne(engine, New(*engine, 33, 120)));
    Note("a prefix hit answers as the cold run does",
         cold.tokens == warm.tokens && warm.finished.cache.hit_tokens > 0,
         absl::StrCat(warm.finished.cache.hit_tokens, " tokens hit"));
    return absl::OkStatus();
  }

  absl::Status Budget() {
    std::vector<Answer> both;
    for (Engine* const one : {engines_.cpu.get(), engines_.exact.get()}) {
      Request request = New(*one, 55, 150);
      request.retention.scope = RetentionScope::kExact;
      request.retention.budget = 0.3;
      request.retention.policy = "prefixkv";
      PREFIXD_ASSIGN_OR_RETURN(Answer answer, PlayOne(one, std::move(request)));
      both.push_back(std::move(answer));
    }
    const RetentionReceipt& cpu = both[0].finished.retention;
    const RetentionReceipt& cuda = both[1].finished.retention;
    Note("PrefixKV (exact, 30 %) keeps as many tokens a layer as on the CPU",
         cpu.selected_from > 0 && cpu.kept_tokens == cuda.kept_tokens, "");
    Note("and answers the same", both[0].tokens == both[1].tokens,
         absl::StrFormat("score mass %.6f and %.6f", cpu.score_mass, cuda.score_mass));
    return absl::OkStatus();
  }

  const StageSettings& settings_;
  StageReport* const report_;
  Engines engines_;
  std::string picture_;
  uint64_t next_id_ = 0;
};

}  // namespace

StageReport RunEngineStage(const StageSettings& settings) {
  StageReport report;
  Checks checks(settings, &report);
  report.FailUnless(checks.Run());
  return report;
}

}  // namespace prefixd::acceptance
