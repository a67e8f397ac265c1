#include "client/prefixctl/classify_options.h"

#include <algorithm>
#include <map>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "client/prefixctl/prefix_options.h"

namespace prefixd::ctl {
namespace {

constexpr char kClassifyExamples[] =
    "Examples:\n"
    "  prefixctl classify --names cat,dog -i pet.jpg       a table\n"
    "  prefixctl classify --names-file names.txt --question \"A photo of\" -i *.jpg  a line each\n"
    "  prefixctl classify --class-set pets -i 'photos/*.jpg' --csv > pets.csv\n"
    "  prefixctl classify --names positive,negative \"I liked it.\"   a text alone\n"
    "All words after -i are pictures: a text goes before it, or after \"--\".";

constexpr char kClassSetExamples[] =
    "Examples:\n"
    "  prefixctl class-sets create pets --names-file names.txt --question \"A photo of\"\n"
    "  prefixctl class-sets create pets --names-file names.txt --demonstrations solved.jsonl "
    "--shots 4\n"
    "  prefixctl classify --class-set pets -i pet.jpg\n"
    "A line of solved.jsonl: {\"image\":\"a.jpg\",\"text\":\"...\",\"label\":\"cat\"}";

constexpr char kScoreExamples[] =
    "Examples:\n"
    "  prefixctl score -i pet.jpg \"What is this?\" --continuation \"A cat.\" --continuation \"A "
    "dog.\"\n"
    "  prefixctl score --raw --prompt-logprobs \"The cat sat on the mat.\"";

// An option that takes one of `words`.
template <typename Value>
void AddWord(CLI::App* command, const char* name, Value* value,
             const std::map<std::string, Value>& words, const std::string& type,
             const std::string& help) {
  command
      ->add_option_function<std::string>(
          name, [value, words](const std::string& word) { *value = words.at(word); }, help)
      ->type_name(type)
      ->check([words, type](const std::string& word) {
        return words.count(word) > 0 ? std::string()
                                     : absl::StrCat("expected ", type, ", not ", word);
      });
}

void AddMode(CLI::App* command, v1::ScoringMode* mode) {
  AddWord<v1::ScoringMode>(command, "--mode", mode,
                           {{"packed", v1::SCORING_MODE_PACKED},
                            {"token-by-token", v1::SCORING_MODE_TOKEN_BY_TOKEN},
                            {"uncached", v1::SCORING_MODE_UNCACHED}},
                           "packed|token-by-token|uncached",
                           "How scores are computed, to compare (default: packed)");
}

void AddModel(CLI::App* command, Options* options) {
  command->add_option("--model", options->model, "Model to ask (default: the only one)")
      ->type_name("NAME");
}

// What class-sets create and classify say about names and their prompt.
void AddNames(CLI::App* command, Options* options) {
  Classification& classification = options->classification;
  command->add_option("--names", classification.names, "The names, with commas between them")
      ->type_name("A,B,...");
  command
      ->add_option("--names-file", classification.names_file,
                   "File with a name on each line, - for stdin")
      ->type_name("FILE");
  command
      ->add_option("--question", classification.question,
                   "What follows the picture; {text} stands for the text")
      ->type_name("TEXT");
  command->add_flag("--plain", classification.plain,
                    "No chat template: picture, question and name are one text");
  command->add_option("--system", options->system, "System message")->type_name("TEXT");
  command
      ->add_option("--label-prefix", classification.label_prefix,
                   "Stands before each name, such as a space")
      ->type_name("TEXT");
}

void AddRanking(CLI::App* command, Classification* classification) {
  AddWord<v1::Normalization>(command, "--normalization", &classification->normalization,
                             {{"mean", v1::NORMALIZATION_MEAN},
                              {"sum", v1::NORMALIZATION_SUM},
                              {"chars", v1::NORMALIZATION_CHARS},
                              {"pmi", v1::NORMALIZATION_PMI}},
                             "mean|sum|chars|pmi",
                             "How log-probabilities of tokens become a score (default: mean)");
  command->add_flag("--score-end", classification->score_end,
                    "Score the end of the answer behind each name");
  command->add_option("--top-k", classification->top_k, "Show so many of the best (default: 5)")
      ->type_name("N");
  command->add_flag("--all", classification->all, "Show all; --json: scores in their order too");
  command
      ->add_option("--temperature", classification->temperature,
                   "Softens the probabilities (default: 1)")
      ->type_name("T");
  command
      ->add_option("--ensemble", classification->ensemble,
                   "Mean over so many orders of the set's demonstrations, 1 to 6")
      ->type_name("N");
  command->add_option("--seed", classification->seed, "Of these orders")->type_name("N");
  command->add_flag("--no-probabilities", classification->no_probabilities,
                    "Names that cannot be among the best need not be computed");
  command->add_flag("--csv", classification->csv, "Rows of file,rank,name,probability,score");
}

void AddClassify(CLI::App* command, Options* options) {
  command->add_option("text", options->prompt, "Takes the place of {text} in the question");
  command
      ->add_option("-i,--image", options->images,
                   "JPEG or PNG files, patterns such as '*.jpg', - for stdin")
      ->type_name("FILE");
  AddNames(command, options);
  command
      ->add_option("--class-set", options->classification.class_set,
                   "Names that the server holds (see `prefixctl class-sets`)")
      ->type_name("NAME");
  AddRanking(command, &options->classification);
  AddMode(command, &options->classification.mode);
  AddModel(command, options);
  command->add_flag("--no-cache", options->no_cache, "Neither read nor feed the prefix cache");
  command
      ->add_option("--cache-salt", options->cache_salt,
                   "Share cached prefixes only with requests of the same salt")
      ->type_name("TEXT");
  command->footer(kClassifyExamples);
}

void AddScore(CLI::App* command, Options* options) {
  Classification& classification = options->classification;
  command->add_option("text", options->prompt, "The prompt")->required();
  command
      ->add_option("-i,--image", options->images, "JPEG or PNG file, - for stdin; can be repeated")
      ->type_name("FILE")
      ->allow_extra_args(false);
  command
      ->add_option("--continuation", classification.continuations,
                   "Text to score behind the prompt; can be repeated")
      ->type_name("TEXT")
      ->allow_extra_args(false);
  command->add_flag("--prompt-logprobs", classification.prompt_logprobs,
                    "Score the tokens of the prompt too");
  command->add_flag("--raw", options->raw, "Send the text as it is, without a chat template");
  command->add_option("--system", options->system, "System message")->type_name("TEXT");
  AddMode(command, &classification.mode);
  AddModel(command, options);
  AddCacheOptions(command, options);
  command->footer(kScoreExamples);
}

void AddClassSetCreate(CLI::App* command, Options* options) {
  Classification& classification = options->classification;
  command->add_option("id", classification.set, "1 to 63 of a-z, 0-9 and -")->required();
  AddNames(command, options);
  command
      ->add_option("--separator", classification.separator,
                   "Follows each demonstration with --plain (default: a line feed)")
      ->type_name("TEXT");
  command
      ->add_option("--demonstrations", classification.demonstrations,
                   "File of JSON lines: image (a path from that file), text, label")
      ->type_name("FILE");
  command
      ->add_option("--shots", classification.shots,
                   "Choose so many for each picture, the most similar (default: all, as given)")
      ->type_name("N");
  command
      ->add_option("--null-text", classification.null_text,
                   "Stands for picture and question in --normalization pmi")
      ->type_name("TEXT");
  AddModel(command, options);
  command->footer(kClassSetExamples);
}

void AddSetName(CLI::App* command, Options* options) {
  command
      ->add_option("name", options->classification.set, "Its name, such as pets or classSets/pets")
      ->required();
}

absl::string_view CheckNames(const Options& options) {
  const Classification& classification = options.classification;
  const bool set = !classification.class_set.empty();
  const int sources =
      (classification.names ? 1 : 0) + (classification.names_file.empty() ? 0 : 1) + (set ? 1 : 0);
  const bool create = options.command == Command::kClassSetCreate;
  if (sources == 0) {
    return create ? "the names are missing: --names A,B or --names-file FILE"
                  : "the names are missing: --names A,B, --names-file FILE or --class-set NAME";
  }
  if (sources > 1) {
    return create ? "--names and --names-file exclude each other"
                  : "--names, --names-file and --class-set exclude each other";
  }
  if (set && (classification.question || classification.plain || !options.system.empty())) {
    return "--question, --plain and --system belong to the class set: give them to `prefixctl "
           "class-sets create`";
  }
  const bool stdin_image = std::count(options.images.begin(), options.images.end(), "-") > 0;
  if (classification.names_file == "-" && stdin_image) {
    return "only one of names and picture can come from stdin";
  }
  return "";
}

absl::string_view CheckClassify(const Options& options) {
  const Classification& classification = options.classification;
  const absl::string_view wrong = CheckNames(options);
  if (!wrong.empty()) return wrong;
  if (options.images.empty() && !options.prompt) {
    return "there is nothing to classify: neither picture (-i FILE) nor text";
  }
  if (classification.csv && options.json) return "--csv and --json exclude each other";
  if (options.prompt && classification.question &&
      !absl::StrContains(*classification.question, "{text}")) {
    return "the question has no {text} that the text could take the place of";
  }
  return "";
}

absl::string_view CheckScore(const Options& options) {
  if (options.classification.continuations.empty() && !options.classification.prompt_logprobs) {
    return "there is nothing to score: give --continuation TEXT or --prompt-logprobs";
  }
  if (options.raw && !options.system.empty()) {
    return "--raw sends no conversation: it does not go with --system";
  }
  return "";
}

}  // namespace

void AddClassificationCommands(CLI::App* app, Options* options,
                               std::vector<std::pair<CLI::App*, Command>>* commands) {
  const auto add = [&](Command command, CLI::App* parent, const char* name, const char* help) {
    CLI::App* const sub = parent->add_subcommand(name, help);
    sub->fallthrough();
    commands->emplace_back(sub, command);
    return sub;
  };
  AddClassify(add(Command::kClassify, app, "classify", "Rank names for pictures or a text"),
              options);
  CLI::App* const sets = app->add_subcommand("class-sets", "Keep names that are ranked often");
  sets->fallthrough();
  sets->require_subcommand(0, 1);
  sets->footer(kClassSetExamples);
  add(Command::kClassSetList, sets, "list", "List the class sets (the default)");
  CLI::App* const get = add(Command::kClassSetGet, sets, "get", "Show one with its names");
  AddSetName(get, options);
  get->add_flag("--names-only", options->classification.names_only, "Only the names, one a line");
  AddClassSetCreate(add(Command::kClassSetCreate, sets, "create", "Store one"), options);
  AddSetName(add(Command::kClassSetDelete, sets, "delete", "Forget one"), options);
  // After its own commands: the first that was parsed counts.
  commands->emplace_back(sets, Command::kClassSetList);
  AddScore(add(Command::kScore, app, "score", "Log-probabilities of given texts"), options);
}

absl::string_view CheckClassification(const Options& options) {
  switch (options.command) {
    case Command::kClassify:
      return CheckClassify(options);
    case Command::kClassSetCreate:
      return CheckNames(options);
    case Command::kScore:
      return CheckScore(options);
    default:
      return "";
  }
}

std::string FullClassSetName(absl::string_view name) {
  if (name.empty() || absl::StartsWith(name, "classSets/")) return std::string(name);
  return absl::StrCat("classSets/", name);
}

}  // namespace prefixd::ctl
