#include "server/command_line.h"

#include <exception>

#include <CLI/CLI.hpp>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "base/status_macros.h"
#include "server/config_reference.h"
#include "server/option_table.h"

namespace prefixd {
namespace {

constexpr char kAbout[] =
    "prefixd serves a vision-language model over gRPC.\n"
    "Every flag can also be set as PREFIXD_<NAME> or in the file named by --config.";

bool IsBool(const OptionSpec& spec) { return spec.TypeName() == "boolean"; }

// Adds one flag for each option of the table, in order.
std::vector<CLI::Option*> AddTableFlags(CLI::App* app) {
  const ServerOptions defaults;
  std::vector<CLI::Option*> flags;
  for (const OptionSpec& spec : OptionTable()) {
    const std::string range = spec.Range();
    const std::string value = FormatOption(spec, defaults);
    const std::string help =
        absl::StrCat(spec.help, range.empty() ? "" : absl::StrCat(" Range: ", range, "."),
                     value.empty() ? "" : absl::StrCat(" Default: ", value, "."));
    CLI::Option* flag = IsBool(spec)
                            ? app->add_flag(absl::StrCat(spec.Flag(), ",!--no-", spec.name))
                            : app->add_option(spec.Flag());
    flag->description(help)->group(std::string(spec.group));
    if (!IsBool(spec)) flag->expected(1)->type_name(absl::StrCat("<", spec.TypeName(), ">"));
    flags.push_back(flag);
  }
  return flags;
}

// Takes the texts of the flags that were given.
absl::StatusOr<std::vector<FlagValue>> CollectFlags(const std::vector<CLI::Option*>& flags) {
  std::vector<FlagValue> values;
  for (size_t i = 0; i < flags.size(); ++i) {
    if (flags[i]->count() == 0) continue;
    const OptionSpec& spec = OptionTable()[i];
    if (flags[i]->results().size() != 1) {
      return absl::InvalidArgumentError(absl::StrCat(spec.Flag(), " is given more than once"));
    }
    values.push_back({std::string(spec.name), flags[i]->results()[0]});
  }
  return values;
}

// Names the first argument that is no flag of ours, with what may have been meant.
std::string DescribeError(const std::vector<std::string>& arguments, const std::string& message) {
  std::vector<std::string> known = {"--help", "--help-json", "--version", "--origin"};
  for (const OptionSpec& spec : OptionTable()) {
    known.push_back(spec.Flag());
    if (IsBool(spec)) known.push_back(absl::StrCat("--no-", spec.name));
  }
  for (const std::string& argument : arguments) {
    const std::string name = argument.substr(0, argument.find('='));
    if (name.rfind("--", 0) != 0 || std::find(known.begin(), known.end(), name) != known.end()) {
      continue;
    }
    const std::string guess = ClosestName(name, known);
    return absl::StrCat(
        "unknown flag ", name.substr(0, 128),
        guess.empty() ? "; see --help" : absl::StrCat("; did you mean ", guess, "?"));
  }
  return absl::StrReplaceAll(message, {{"\n", " "}});
}

absl::StatusOr<CommandLine> Parse(const std::vector<std::string>& arguments) {
  CLI::App app(kAbout, "prefixd");
  app.set_help_flag("");
  CLI::Option* help = app.add_flag("-h,--help")->description("Prints this help.");
  CLI::Option* help_json = app.add_flag("--help-json")->description("Prints the options as JSON.");
  CLI::Option* version = app.add_flag("--version")->description("Prints the version.");
  const std::vector<CLI::Option*> flags = AddTableFlags(&app);

  CLI::App* config = app.add_subcommand("config", "Looks at options instead of serving.");
  config->fallthrough()->require_subcommand(1);
  config->set_help_flag("");
  CommandLine line;
  CLI::App* print = config->add_subcommand("print", "Prints the options in force.");
  print->add_flag("--origin", line.show_origin, "Says where each value comes from.");
  CLI::App* check = config->add_subcommand("check", "Checks a configuration file.");
  check->add_option("file", line.check_file, "The file.")->required();
  CLI::App* reference = config->add_subcommand("reference", "Prints the reference of options.");
  for (CLI::App* sub : {print, check, reference}) {
    sub->fallthrough();
    sub->set_help_flag("");
  }

  // CLI11 takes the arguments in reverse order.
  app.parse(std::vector<std::string>(arguments.rbegin(), arguments.rend()));

  line.command = Command::kPrintText;
  if (help->count() > 0) {
    line.text = app.help();
  } else if (help_json->count() > 0) {
    line.text = OptionReferenceJson();
  } else if (version->count() > 0) {
    line.text = absl::StrCat("prefixd ", PREFIXD_VERSION, "\n");
  } else if (reference->parsed()) {
    line.text = OptionReferenceMarkdown();
  } else if (check->parsed()) {
    line.command = Command::kConfigCheck;
  } else {
    line.command = print->parsed() ? Command::kConfigPrint : Command::kServe;
  }
  PREFIXD_ASSIGN_OR_RETURN(line.flags, CollectFlags(flags));
  return line;
}

}  // namespace

absl::StatusOr<CommandLine> ParseCommandLine(const std::vector<std::string>& arguments) {
  try {
    return Parse(arguments);
  } catch (const CLI::Error& e) {
    return absl::InvalidArgumentError(DescribeError(arguments, e.what()));
  } catch (const std::exception& e) {
    return absl::InvalidArgumentError(absl::StrCat("command line: ", e.what()));
  }
}

}  // namespace prefixd
