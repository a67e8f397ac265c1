#include "client/prefixctl/prefix_options.h"

#include <optional>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"

namespace prefixd::ctl {
namespace {

constexpr char kExamples[] =
    "Examples:\n"
    "  prefixctl prefix create --id cat -i cat.jpg        computed once, kept for 10 minutes\n"
    "  prefixctl run --prefix cat \"What is this?\"         answered from there on\n"
    "  prefixctl run --prefix cat \"What colour is it?\"    and again\n"
    "  prefixctl prefix release cat";

void AddTtl(CLI::App* command, Options* options, const std::string& help) {
  command
      ->add_option_function<std::string>(
          "--ttl", [options](const std::string& text) { options->ttl = ParseTimeout(text); }, help)
      ->type_name("TIME")
      ->check([](const std::string& text) {
        return ParseTimeout(text) ? std::string()
                                  : "expected a time above zero such as 10m, not " + text;
      });
}

void AddName(CLI::App* command, Options* options) {
  command->add_option("name", options->prefix, "Its name, such as cat or prefixes/cat")->required();
}

}  // namespace

void AddCacheOptions(CLI::App* command, Options* options) {
  command
      ->add_option("--prefix", options->prefix,
                   "Go on from a pinned prefix (see `prefixctl prefix create`)")
      ->type_name("NAME");
  command->add_flag("--no-cache", options->no_cache, "Neither read nor feed the prefix cache");
  command
      ->add_option("--cache-salt", options->cache_salt,
                   "Share cached prefixes only with requests of the same salt")
      ->type_name("TEXT");
}

void AddPrefixCommands(CLI::App* app, Options* options,
                       std::vector<std::pair<CLI::App*, Command>>* commands) {
  CLI::App* const prefix = app->add_subcommand("prefix", "Pin what many questions begin with");
  prefix->fallthrough();
  prefix->require_subcommand(0, 1);
  prefix->footer(kExamples);
  const auto add = [&](Command command, CLI::App* parent, const char* name, const char* help) {
    CLI::App* const sub = parent->add_subcommand(name, help);
    sub->fallthrough();
    commands->emplace_back(sub, command);
    return sub;
  };
  CLI::App* const create =
      add(Command::kPrefixCreate, prefix, "create", "Compute a prefix and keep it");
  create->add_option("text", options->prompt, "Text of the user, after the pictures");
  create
      ->add_option("-i,--image", options->images, "JPEG or PNG file, - for stdin; can be repeated")
      ->type_name("FILE")
      ->allow_extra_args(false);
  create->add_option("--system", options->system, "System message")->type_name("TEXT");
  create->add_option("--id", options->prefix_id, "1 to 63 of a-z, 0-9 and - (default: drawn)")
      ->type_name("ID");
  AddTtl(create, options, "Keep it this long, 1s to 24h (default: 10m)");
  create->add_option("--cache-salt", options->cache_salt, "Salt of the requests that will use it")
      ->type_name("TEXT");
  create->add_option("--model", options->model, "Model that computes it (default: the only one)")
      ->type_name("NAME");
  create->footer(kExamples);

  add(Command::kPrefixList, prefix, "list", "List the pinned prefixes (the default)");
  AddName(add(Command::kPrefixShow, prefix, "show", "Show one"), options);
  CLI::App* const touch = add(Command::kPrefixTouch, prefix, "touch", "Start its time anew");
  AddName(touch, options);
  AddTtl(touch, options, "Keep it this long, 1s to 24h (default: as before)");
  AddName(add(Command::kPrefixRelease, prefix, "release", "Let it go"), options);
  // After its own commands: the first that was parsed counts.
  commands->emplace_back(prefix, Command::kPrefixList);

  CLI::App* cache = nullptr;
  for (CLI::App* sub : app->get_subcommands(nullptr)) {
    if (sub->check_name("cache")) cache = sub;
  }
  if (cache == nullptr) {
    cache = app->add_subcommand("cache", "Look into the cache");
    cache->fallthrough();
    cache->require_subcommand(1);
  }
  // Before the command `cache` itself may have an entry.
  CLI::App* const list = cache->add_subcommand("prefixes", "List the pinned prefixes");
  list->fallthrough();
  commands->emplace(commands->begin(), list, Command::kPrefixList);
}

std::string FullPrefixName(absl::string_view name) {
  if (name.empty() || absl::StartsWith(name, "prefixes/")) return std::string(name);
  return absl::StrCat("prefixes/", name);
}

}  // namespace prefixd::ctl
