#include "client/prefixctl/options.h"

#include <algorithm>
#include <sstream>

#include <CLI/CLI.hpp>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "client/prefixctl/classify_options.h"
#include "client/prefixctl/exit_code.h"
#include "client/prefixctl/prefix_options.h"
#include "client/prefixctl/retention_options.h"
#include "client/prefixctl/tools.h"

namespace prefixd::ctl {
namespace {

constexpr char kRunExamples[] =
    "Examples:\n"
    "  prefixctl run -i cat.jpg \"What is this?\"     one answer\n"
    "  prefixctl run -i cat.jpg                     a conversation (on a terminal)\n"
    "  echo \"Say hello.\" | prefixctl run            the prompt from a pipe\n"
    "  curl -s URL | prefixctl run -i - \"And this?\" the image from a pipe\n"
    "  prefixctl run --retention exact --budget 0.2 -i cat.jpg \"And now?\"  on a fifth of the KV\n"
    "  prefixctl run --detect --svg out.svg -i hall.jpg \"detect shoe ; lamp\"   boxes\n"
    "  prefixctl run --json \"Hi\" | tail -n 1        the whole answer with usage and timings\n"
    "A prompt that begins with a dash goes after \"--\".";

constexpr char kExitCodes[] =
    "Exit codes: 0 done, 1 request failed, 2 usage, 3 unavailable, 4 not ready, 5 deadline,\n"
    "6 invalid input, 7 refused for lack of room, 130 interrupted.";

void AddCommonOptions(CLI::App* app, Options* options) {
  app->add_option("--server", options->server, "Server to ask")
      ->type_name("HOST:PORT")
      ->envname("PREFIXD_SERVER")
      ->capture_default_str();
  app->add_flag("--json", options->json, "One JSON object a line");
  app->add_flag("-q,--quiet", options->quiet, "No messages but errors");
  app->add_flag("--verbose", options->verbose, "Usage and timings on stderr");
  app->add_flag("--no-color", options->no_color, "No colours (as NO_COLOR)");
  app->add_option_function<std::string>(
         "--timeout", [options](const std::string& text) { options->timeout = ParseTimeout(text); },
         "Give up after this time, such as 30s or 2m (default: run, classify, score: the server's, "
         "wait: none, others: 10s)")
      ->type_name("TIME")
      ->check([](const std::string& text) {
        return ParseTimeout(text) ? std::string()
                                  : "expected a time above zero such as 30s, not " + text;
      });
}

void AddConnectionOptions(CLI::App* app, Options* options) {
  app->add_option("--admin-server", options->admin_server,
                  "Server for ps, version and doctor, if AdminService has an address of its own")
      ->type_name("HOST:PORT")
      ->envname("PREFIXD_ADMIN_SERVER");
  app->add_option("--token-file", options->token_file,
                  "File with the token to send (or the token itself in PREFIXD_TOKEN)")
      ->type_name("FILE")
      ->envname("PREFIXD_TOKEN_FILE");
  app->add_flag("--tls", options->tls, "Encrypt; trust the system's authorities");
  app->add_option("--tls-ca", options->tls_ca, "Encrypt; trust the authorities of this PEM file")
      ->type_name("FILE");
  app->add_option("--tls-cert", options->tls_cert, "Certificate to show to the server (PEM)")
      ->type_name("FILE");
  app->add_option("--tls-key", options->tls_key, "Its key (PEM)")->type_name("FILE");
  app->add_flag("--insecure", options->insecure,
                "Send the token to other machines without encryption");
}

void AddInputOptions(CLI::App* run, Options* options) {
  run->add_option("prompt", options->prompt, "The question; default: stdin if it is a pipe");
  run->add_option("-i,--image", options->images, "JPEG or PNG file, - for stdin; can be repeated")
      ->type_name("FILE")
      ->allow_extra_args(false);
  run->add_option("--system", options->system, "System message")->type_name("TEXT");
  run->add_flag(
      "--raw", options->raw,
      "Send the text as it is, without a chat template: for models that go on from a text");
  run->add_option("--model", options->model, "Model to ask (default: the only one)")
      ->type_name("NAME");
}

void AddGenerationOptions(CLI::App* run, Options* options) {
  Generation& generation = options->generation;
  run->add_option("--max-tokens", generation.max_tokens, "The most tokens of the answer")
      ->type_name("N");
  run->add_option("--temperature", generation.temperature, "0: always the most likely token")
      ->type_name("T");
  run->add_option("--top-p", generation.top_p, "Nucleus sampling")->type_name("P");
  run->add_option("--top-k", generation.top_k, "Sample among this many tokens; 0: all")
      ->type_name("N");
  run->add_option("--num-beams", generation.num_beams, "Beam search with this many hypotheses")
      ->type_name("N");
  run->add_option("--length-penalty", generation.length_penalty,
                  "Power of the length that a hypothesis is divided by (beam search)")
      ->type_name("X");
  run->add_flag("--no-kv-cache", options->no_kv_cache,
                "Compute everything again for each token, as an experiment");
  run->add_option("--seed", generation.seed, "Same seed, same answer")->type_name("N");
  run->add_option("--logprobs", generation.logprobs,
                  "Show log-probabilities and this many alternatives")
      ->type_name("N");
  run->add_option("--stop", generation.stop, "Text that ends the answer; can be repeated")
      ->type_name("TEXT")
      ->allow_extra_args(false);
  run->add_flag("--no-wrap", options->no_wrap, "Do not wrap lines at words on a terminal");
}

void AddDetectOptions(CLI::App* run, Options* options) {
  auto* const detect = run->add_flag("--detect", options->detect,
                                     "Read boxes from the answer (PaliGemma); prints them as JSON");
  run->add_option("--svg", options->svg, "With --detect: write the picture with its boxes")
      ->type_name("FILE")
      ->needs(detect);
}

void AddCacheFlushOptions(CLI::App* flush, Options* options) {
  flush->add_option("--tenant", options->tenant, "Only of this tenant")->type_name("NAME");
  flush->add_flag("-y,--yes", options->yes, "Do not ask first");
}

void AddTopOptions(CLI::App* top, Options* options) {
  top->add_option_function<std::string>(
         "--interval",
         [options](const std::string& text) { options->interval = *ParseTimeout(text); },
         "Time between two looks (default: 1s)")
      ->type_name("TIME")
      ->check([](const std::string& text) {
        const auto time = ParseTimeout(text);
        const bool good = time && *time >= absl::Milliseconds(100) && *time <= absl::Hours(1);
        return good ? std::string() : "expected a time from 0.1s to 1h, not " + text;
      });
  top->add_flag("--once", options->once, "Print one frame and end, as off a terminal");
}

struct Parser {
  explicit Parser(Options* options);

  CLI::App app{"Asks a prefixd server about pictures and text.", "prefixctl"};
  std::vector<std::pair<CLI::App*, Command>> commands;
};

Parser::Parser(Options* options) {
  app.require_subcommand(1);
  app.fallthrough();
  app.set_version_flag("--version", std::string("prefixctl ") + PREFIXD_VERSION);
  app.footer(kExitCodes);
  AddCommonOptions(&app, options);
  AddConnectionOptions(&app, options);
  const auto add = [this](Command command, CLI::App* parent, const char* name, const char* help) {
    CLI::App* const sub = parent->add_subcommand(name, help);
    sub->fallthrough();
    commands.emplace_back(sub, command);
    return sub;
  };
  CLI::App* const run =
      add(Command::kRun, &app, "run", "Ask once, or hold a conversation on a terminal");
  AddInputOptions(run, options);
  AddGenerationOptions(run, options);
  AddDetectOptions(run, options);
  AddRetentionOptions(run, &options->retention);
  AddCacheOptions(run, options);
  run->footer(kRunExamples);
  CLI::App* const count = add(Command::kCount, &app, "count", "Count the tokens of a prompt");
  AddInputOptions(count, options);
  AddCacheOptions(count, options);

  CLI::App* const models = app.add_subcommand("models", "List the models or show one");
  models->fallthrough();
  models->require_subcommand(0, 1);
  add(Command::kModelsList, models, "list", "List the models (the default)");
  add(Command::kModelsShow, models, "show", "Show what a model can do, its limits and defaults")
      ->add_option("model", options->model, "Name (default: the only model)");
  commands.emplace_back(models, Command::kModelsList);

  add(Command::kPs, &app, "ps", "List the requests that run or wait");
  CLI::App* const cache = app.add_subcommand("cache", "Look at the caches or empty them");
  cache->fallthrough();
  cache->require_subcommand(0, 1);
  add(Command::kCacheStats, cache, "stats",
      "Show how memory is used and what was hit (the default)");
  AddCacheFlushOptions(
      add(Command::kCacheFlush, cache, "flush", "Drop everything cached that nothing uses"),
      options);
  commands.emplace_back(cache, Command::kCacheStats);

  AddTopOptions(add(Command::kTop, &app, "top", "Watch requests, rates and the cache"), options);
  add(Command::kHealth, &app, "health", "Ask whether the server is ready")
      ->add_option("--service", options->service, "Ask for this service of grpc.health.v1")
      ->capture_default_str();
  add(Command::kWait, &app, "wait", "Wait until the server is ready");
  add(Command::kVersion, &app, "version", "Show the versions of client and server");
  add(Command::kDoctor, &app, "doctor", "Look for what is wrong and say how to fix it")
      ->add_option("--model-dir", options->model_directory, "Look at this model directory too")
      ->type_name("DIR");
  AddClassificationCommands(&app, options, &commands);
  AddPrefixCommands(&app, options, &commands);
  // Here for help and guesses: main() hands them on before anything is parsed.
  for (const ToolsCommand& tools : kToolsCommands) {
    CLI::App* const sub = app.add_subcommand(tools.name, tools.help);
    sub->fallthrough(false)->allow_extras()->set_help_flag("");
  }
}

// Names of the subcommands and flags that could have been meant at `app`.
std::vector<std::string> Names(const CLI::App& app) {
  std::vector<std::string> names;
  for (const CLI::App* sub : app.get_subcommands(nullptr)) names.push_back(sub->get_name());
  for (const CLI::App* at = &app; at != nullptr; at = at->get_parent()) {
    for (const CLI::Option* option : at->get_options()) {
      for (const std::string& name : option->get_lnames()) {
        names.push_back(absl::StrCat("--", name));
      }
    }
  }
  return names;
}

// The innermost subcommand that was given.
const CLI::App& Innermost(const CLI::App& app) {
  const CLI::App* at = &app;
  while (!at->get_subcommands().empty()) at = at->get_subcommands().front();
  return *at;
}

std::string ExplainExtra(const CLI::App& app, const std::string& extra) {
  const CLI::App& inner = Innermost(app);
  if (extra.size() > 1 && extra[0] == '-') {
    const std::string flag = extra.substr(0, extra.find('='));
    const std::string near = Suggest(flag, Names(inner));
    return absl::StrCat("unknown flag ", flag,
                        near.empty() ? "" : absl::StrCat("; did you mean ", near, "?"));
  }
  if (&inner == &app || !inner.get_subcommands(nullptr).empty()) {
    const std::string near = Suggest(extra, Names(inner));
    return absl::StrCat("unknown command \"", extra, "\"",
                        near.empty() ? "" : absl::StrCat("; did you mean \"", near, "\"?"));
  }
  return absl::StrCat(
      "unexpected argument \"", extra, "\"",
      inner.get_name() == "run" ? "; a prompt of several words goes in quotes" : "");
}

EarlyExit UsageError(const CLI::App& app, absl::string_view message) {
  std::string command = "prefixctl";
  if (const CLI::App& inner = Innermost(app); &inner != &app) {
    command = absl::StrCat(command, " ", inner.get_name());
    const CLI::App* const parent = inner.get_parent();
    if (parent != &app)
      command = absl::StrCat("prefixctl ", parent->get_name(), " ", inner.get_name());
  }
  return {.exit_code = kExitUsage,
          .err = absl::StrCat("prefixctl: ", message, "\n  see ", command, " --help\n")};
}

// CLI11 reports by exceptions; here they become an EarlyExit.
EarlyExit Explain(const CLI::App& app, const CLI::ParseError& error) {
  if (error.get_exit_code() == 0) {
    std::ostringstream out, err;
    app.exit(error, out, err);
    return {.exit_code = kExitOk, .out = out.str(), .err = err.str()};
  }
  const std::vector<std::string> extras = app.remaining(true);
  if (!extras.empty()) return UsageError(app, ExplainExtra(app, extras.front()));
  if (app.get_subcommands().empty()) return UsageError(app, "a command is missing");
  return UsageError(app, error.what());
}

absl::string_view CheckCombination(const Options& options) {
  if (options.command == Command::kTop && options.json) {
    return "top has no JSON; `cache stats --json` and `ps --json` tell the same";
  }
  const bool stdin_image = std::count(options.images.begin(), options.images.end(), "-") > 0;
  if (std::count(options.images.begin(), options.images.end(), "-") > 1) {
    return "only one image can come from stdin (-i -)";
  }
  if (options.detect && options.images.size() != 1) {
    return "--detect needs exactly one picture (-i FILE)";
  }
  const bool asks = options.command == Command::kRun || options.command == Command::kCount;
  if (asks && stdin_image && !options.prompt) {
    return "with the image from stdin (-i -) the prompt must be an argument";
  }
  return CheckClassification(options);
}

}  // namespace

std::optional<absl::Duration> ParseTimeout(const std::string& text) {
  double seconds = 0;
  absl::Duration duration;
  if (absl::SimpleAtod(text, &seconds)) {
    duration = absl::Seconds(seconds);
  } else if (!absl::ParseDuration(text, &duration)) {
    return std::nullopt;
  }
  if (duration <= absl::ZeroDuration() || duration > absl::Hours(24 * 365)) return std::nullopt;
  return duration;
}

void Apply(const Generation& generation, v1::SamplingParams* sampling, v1::StoppingParams* stopping,
           v1::OutputParams* output) {
  if (generation.temperature) sampling->set_temperature(*generation.temperature);
  if (generation.top_p) sampling->set_top_p(*generation.top_p);
  if (generation.top_k) sampling->set_top_k(*generation.top_k);
  if (generation.num_beams) sampling->set_num_beams(*generation.num_beams);
  if (generation.length_penalty) sampling->set_length_penalty(*generation.length_penalty);
  if (generation.seed) sampling->set_seed(*generation.seed);
  if (generation.max_tokens) stopping->set_max_tokens(*generation.max_tokens);
  for (const std::string& stop : generation.stop) stopping->add_stop(stop);
  if (generation.logprobs) output->set_logprobs(*generation.logprobs);
}

std::variant<Options, EarlyExit> ParseOptions(const std::vector<std::string>& arguments) {
  Options options;
  Parser parser(&options);
  try {
    // CLI11 takes them last first.
    parser.app.parse(std::vector<std::string>(arguments.rbegin(), arguments.rend()));
  } catch (const CLI::ParseError& error) {
    return Explain(parser.app, error);
  }
  for (const ToolsCommand& tools : kToolsCommands) {
    if (parser.app.got_subcommand(tools.name)) {
      return UsageError(parser.app,
                        absl::StrCat(tools.name, " comes first and takes flags of its own"));
    }
  }
  for (const auto& [sub, command] : parser.commands) {
    if (sub->parsed()) {
      options.command = command;
      break;
    }
  }
  const absl::string_view wrong = CheckCombination(options);
  if (!wrong.empty()) return UsageError(parser.app, wrong);
  return options;
}

}  // namespace prefixd::ctl
