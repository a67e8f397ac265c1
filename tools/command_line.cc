#include "tools/command_line.h"

#include <algorithm>
#include <map>
#include <sstream>

#include <CLI/CLI.hpp>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "tools/checkpoint_options.h"
#include "tools/exit_code.h"
#include "tools/profile_files.h"

namespace prefixd::tools {
namespace {

constexpr char kNone[] = "none";
constexpr int32_t kMaxDemonstrations = 65536;
constexpr uint64_t kMaxSetBytes = uint64_t{4} << 30;

// As they were typed.
struct Typed {
  std::vector<std::string> policies;
  std::vector<double> budgets = {10, 20, 30, 40, 50, 60, 70, 80, 90};  // Percent.
};

void AddEngineOptions(CLI::App* app, Options* options) {
  EngineOptions& engine = options->engine;
  app->add_option("--model", engine.model_path, "Model directory (Hugging Face layout)")
      ->type_name("DIR")
      ->required();
  app->add_option("--chat-template", engine.chat_template,
                  "Built-in chat template or .jinja file (default: the model's own)")
      ->type_name("NAME");
  app->add_option("--backend", engine.backend, "auto, cpu, cuda or ref")->capture_default_str();
  app->add_option("--threads", engine.threads, "Threads; 0: one per usable CPU")
      ->type_name("N")
      ->check(CLI::Range(0, 256))
      ->capture_default_str();
  app->add_option("--kv-dtype", engine.kv_dtype, "auto, f32, bf16; with cuda f16")
      ->capture_default_str();
  app->add_option("--kv-memory", engine.kv_memory_bytes,
                  "Memory for KV, such as 512MiB (default: a quarter of what is free)")
      ->type_name("SIZE")
      ->transform(CLI::AsSizeValue(false));
  app->add_option("--in-flight", options->in_flight, "Requests at once")
      ->type_name("N")
      ->check(CLI::Range(1, 1024))
      ->capture_default_str();
  app->add_option("--start-size", engine.retention_start_size,
                  "Leading tokens that are always kept")
      ->type_name("N")
      ->check(CLI::Range(0, 1024))
      ->capture_default_str();
  app->add_option("--protect", engine.retention_protect,
                  "Trailing tokens of the prompt that are always kept")
      ->type_name("N")
      ->check(CLI::Range(1, 1024))
      ->capture_default_str();
  app->add_flag("!--no-prefix-cache", options->prefix_cache, "Compute every prompt anew");
}

void AddOut(CLI::App* app, Options* options) {
  app->add_option("--out", options->out, "Directory for what is written")
      ->type_name("DIR")
      ->required();
}

void AddDataOptions(CLI::App* app, Options* options) {
  const std::map<std::string, DatasetHalf> halves = {{"first", DatasetHalf::kFirst},
                                                     {"second", DatasetHalf::kSecond}};
  app->add_option("--data", options->data.path, "Questions and answers, JSON in LLaVA's form")
      ->type_name("FILE")
      ->required();
  app->add_option("--images", options->data.images, "Directory of the pictures (default: FILE's)")
      ->type_name("DIR");
  app->add_option("--half", options->data.half, "Take only the first or the second half")
      ->type_name("first|second")
      ->transform(CLI::CheckedTransformer(halves));
  app->add_option("--limit", options->data.limit, "Take at most so many entries; 0: all")
      ->type_name("N")
      ->check(CLI::Range(size_t{0}, Dataset::kMaxEntries));
  AddOut(app, options);
}

void AddEvaluateOptions(CLI::App* app, Options* options, Typed* typed) {
  app->add_option("--policies", typed->policies,
                  "Policies, comma-separated, NAME or NAME@PROFILE; none: the full cache alone "
                  "(default: all, with counts from each prompt)")
      ->type_name("LIST")
      ->delimiter(',');
  app->add_option("--budgets", typed->budgets, "KV kept in percent, comma-separated")
      ->type_name("LIST")
      ->delimiter(',')
      ->default_str("10,20,30,40,50,60,70,80,90");
  app->add_option("--profiles", options->engine.retention_profiles, "Directory of offline profiles")
      ->type_name("DIR");
  app->add_option("--distance", options->engine.retention_distance,
                  "Where drops begin while decoding")
      ->type_name("N")
      ->check(CLI::Range(-65536, 65536))
      ->capture_default_str();
  app->add_option("--max-new-tokens", options->max_new_tokens, "The most tokens of a greedy answer")
      ->type_name("N")
      ->check(CLI::Range(1, 65536))
      ->capture_default_str();
}

void AddEvaluateClassification(CLI::App* evaluate, Options* options) {
  evaluate->require_subcommand(1);
  CLI::App* const app = evaluate->add_subcommand(
      "classification",
      "Rank class names for labelled pictures: accuracy, ROC-AUC, times; goes "
      "on after a stop");
  AddEngineOptions(app, options);
  AddClassificationOptions(app, &options->classification);
  AddOut(app, options);
  app->footer(kExitCodes);
}

void AddCalibrateOptions(CLI::App* app, Options* options) {
  app->add_option("--name", options->name, "Name of the profile (default: the model's)")
      ->type_name("NAME")
      ->check([](const std::string& name) {
        return IsProfileName(name) ? std::string() : "expected 1 to 64 of [A-Za-z0-9._-]";
      });
  app->add_flag("--restart", options->restart, "Forget what an interrupted run has measured");
}

void AddExperimentOptions(CLI::App* app, Options* options) {
  KvCacheExperimentOptions& experiment = options->kv_cache;
  app->require_subcommand(1);
  CLI::App* const kv_cache = app->add_subcommand(
      "kv-cache", "Generate the same tokens with and without a KV cache, and compare times");
  AddEngineOptions(kv_cache, options);
  kv_cache->add_option("--prompt", experiment.prompt, "Text to go on from")->required();
  kv_cache->add_option("--new-tokens", experiment.new_tokens, "Tokens to generate")
      ->type_name("N")
      ->check(CLI::Range(1, 65536))
      ->capture_default_str();
  kv_cache->add_option("--repeat", experiment.repeat, "Runs of each kind, taking turns")
      ->type_name("N")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  kv_cache->add_option("--out", options->out, "Directory for kv_cache.csv and kv_cache.svg")
      ->type_name("DIR");
  kv_cache->footer(kExitCodes);
}

Command CommandOf(const CLI::App& app) {
  const CLI::App* const command = app.get_subcommands().front();
  const std::string& name = command->get_name();
  if (name == "evaluate") {
    return command->get_subcommands().empty() ? Command::kEvaluate
                                              : Command::kEvaluateClassification;
  }
  if (name == "experiment") return Command::kExperiment;
  if (name == "inspect") return Command::kInspect;
  if (name == "calibrate") return Command::kCalibrate;
  return command->got_subcommand("llava") ? Command::kConvertLlava : Command::kConvertOpenFlamingo;
}

// Quoted where a shell would read it differently.
std::string ShellWord(const std::string& word) {
  const bool plain = !word.empty() && word.find_first_not_of(
                                          "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                          "0123456789_-+=./,:@%") == std::string::npos;
  return plain ? word : absl::StrCat("'", absl::StrReplaceAll(word, {{"'", "'\\''"}}), "'");
}

EarlyExit UsageError(const CLI::App& app, absl::string_view message) {
  std::string command = "prefixd-tools";
  for (const CLI::App* at = &app; !at->get_subcommands().empty();) {
    at = at->get_subcommands().front();
    absl::StrAppend(&command, " ", at->get_name());
  }
  return {.exit_code = kExitUsage,
          .err = absl::StrCat("prefixd-tools: ", absl::StrReplaceAll(message, {{"\n", " "}}),
                              "\n  see ", command, " --help\n")};
}

// CLI11 reports by exceptions; here they become an EarlyExit.
EarlyExit Explain(const CLI::App& app, const CLI::ParseError& error) {
  if (error.get_exit_code() == 0) {
    std::ostringstream out, err;
    app.exit(error, out, err);
    return {.exit_code = kExitOk, .out = out.str(), .err = err.str()};
  }
  const std::vector<std::string> extras = app.remaining(true);
  if (app.get_subcommands().empty()) {
    return UsageError(
        app, extras.empty() ? "a command is missing: evaluate, calibrate, experiment, convert or "
                              "inspect"
                            : absl::StrCat("unknown command \"", extras[0], "\""));
  }
  if (!extras.empty()) return UsageError(app, absl::StrCat("unknown argument ", extras[0]));
  return UsageError(app, error.what());
}

// Takes over lists, and what CLI11 cannot check. Returns what is wrong.
std::string Complete(const Typed& typed, Options* options) {
  for (const double percent : typed.budgets) {
    if (!(percent >= 0.1 && percent <= 100)) {
      return absl::StrCat("--budgets: ", percent, " is not in [0.1, 100]");
    }
    options->budgets.push_back(percent / 100);
  }
  std::sort(options->budgets.begin(), options->budgets.end());
  options->budgets.erase(std::unique(options->budgets.begin(), options->budgets.end()),
                         options->budgets.end());
  for (const std::string& policy : typed.policies) {
    if (policy.empty()) return "--policies: an empty name";
    if (std::find(options->policies.begin(), options->policies.end(), policy) ==
        options->policies.end()) {
      options->policies.push_back(policy);
    }
  }
  if (options->policies == std::vector<std::string>{kNone}) {
    options->policies.clear();
    options->full_only = true;
  }
  if (options->command == Command::kEvaluateClassification) {
    const std::string wrong = CompleteClassificationOptions(&options->classification);
    if (!wrong.empty()) return wrong;
  }
  options->engine.max_running = options->in_flight;
  options->engine.max_batch_tokens = std::max(options->engine.max_batch_tokens, options->in_flight);
  // Answers are as long as the data has them, and so are sets of demonstrations.
  options->engine.max_output_tokens = static_cast<int32_t>(Dataset::kMaxTextBytes);
  options->engine.classification.max_demonstrations = kMaxDemonstrations;
  options->engine.classification.max_set_bytes = kMaxSetBytes;
  return "";
}

}  // namespace

std::variant<Options, EarlyExit> ParseOptions(const std::vector<std::string>& arguments) {
  Options options;
  Typed typed;
  CLI::App app("Measures models, makes profiles of them, converts and inspects checkpoints.",
               "prefixd-tools");
  app.require_subcommand(1);
  app.set_version_flag("--version", std::string("prefixd-tools ") + PREFIXD_VERSION);
  app.footer(kExitCodes);
  CLI::App* const evaluate = app.add_subcommand(
      "evaluate", "Perplexity and ROUGE-L of policies and budgets, as CSV, JSON, Markdown and SVG");
  CLI::App* const calibrate = app.add_subcommand(
      "calibrate", "Write the profile prefixkv_NAME_0.1.json .. 0.9.json; goes on after a stop");
  // What `evaluate` requires would be required of its own command too, so it has either.
  const bool classification =
      arguments.size() > 1 && arguments[0] == "evaluate" && arguments[1] == "classification";
  if (classification) {
    AddEvaluateClassification(evaluate, &options);
  } else {
    AddEngineOptions(evaluate, &options);
    AddDataOptions(evaluate, &options);
    AddEvaluateOptions(evaluate, &options, &typed);
    evaluate->footer(absl::StrCat("evaluate classification ranks class names.\n", kExitCodes));
  }
  AddEngineOptions(calibrate, &options);
  AddDataOptions(calibrate, &options);
  AddCalibrateOptions(calibrate, &options);
  calibrate->footer(kExitCodes);
  CLI::App* const experiment =
      app.add_subcommand("experiment", "Show what the KV cache does: experiment kv-cache");
  AddExperimentOptions(experiment, &options);
  AddConvertOptions(
      app.add_subcommand("convert", "Make a model directory of checkpoints in other forms"),
      &options);
  AddInspectOptions(app.add_subcommand("inspect", "Show what a checkpoint holds"), &options);
  try {
    // CLI11 takes them last first.
    app.parse(std::vector<std::string>(arguments.rbegin(), arguments.rend()));
  } catch (const CLI::ParseError& error) {
    return Explain(app, error);
  }
  options.command = CommandOf(app);
  options.command_line = absl::StrCat(
      "prefixd-tools ", absl::StrJoin(arguments, " ", [](std::string* out, const auto& word) {
        absl::StrAppend(out, ShellWord(word));
      }));
  const std::string wrong = Complete(typed, &options);
  if (!wrong.empty()) return UsageError(app, wrong);
  return options;
}

}  // namespace prefixd::tools
