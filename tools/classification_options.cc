#include "tools/classification_options.h"

#include <map>

#include <CLI/CLI.hpp>

#include "tools/classification_data.h"

namespace prefixd::tools {
namespace {

const std::map<std::string, ClassificationStyle> kStyles = {
    {"plain", ClassificationStyle::kPlain},
    {"imagenet", ClassificationStyle::kImageNet},
    {"hateful-memes", ClassificationStyle::kHatefulMemes}};
const std::map<std::string, Normalization> kNormalizations = {{"mean", Normalization::kMean},
                                                              {"sum", Normalization::kSum},
                                                              {"chars", Normalization::kChars},
                                                              {"pmi", Normalization::kPmi}};
const std::map<std::string, ScoringMode> kModes = {{"packed", ScoringMode::kPacked},
                                                   {"token-by-token", ScoringMode::kTokenByToken},
                                                   {"uncached", ScoringMode::kUncached}};

template <typename T>
std::string NameIn(const std::map<std::string, T>& names, T value) {
  for (const auto& [name, named] : names) {
    if (named == value) return name;
  }
  return "";
}

void AddData(CLI::App* app, ClassificationEvaluationOptions* options) {
  app->add_option("--data", options->data,
                  "A directory with a folder of pictures for each class, or JSON lines with image, "
                  "text and label")
      ->type_name("PATH")
      ->required();
  app->add_option("--images", options->images,
                  "Directory of the pictures of JSON lines (default: the file's)")
      ->type_name("DIR");
  app->add_option("--names", options->names,
                  "Class names, one a line (default: the style's, or the labels found)")
      ->type_name("FILE");
  app->add_option("--limit", options->limit, "Take so many pictures at random; 0: all")
      ->type_name("N")
      ->check(CLI::Range(size_t{0}, ClassificationData::kMaxEntries));
  app->add_option("--seed", options->seed, "Of what is drawn")
      ->type_name("N")
      ->capture_default_str();
  app->add_flag("--restart", options->restart, "Forget what an interrupted run has computed");
}

void AddPrompt(CLI::App* app, ClassificationEvaluationOptions* options) {
  app->add_option("--style", options->style, "plain (--question), imagenet or hateful-memes")
      ->transform(CLI::CheckedTransformer(kStyles))
      ->type_name("STYLE")
      ->default_str("plain");
  app->add_option("--question", options->prompt.question,
                  "What stands behind the picture; {text} is the picture's text")
      ->type_name("TEXT");
  app->add_option("--system", options->prompt.system, "A system message in front")
      ->type_name("TEXT");
  app->add_flag("--no-chat-template", options->prompt.plain,
                "One text without turns although the model has a chat template");
  app->add_option("--separator", options->prompt.separator,
                  "Behind the label of each demonstration, without a chat template")
      ->type_name("TEXT")
      ->default_str("a new line");
  app->add_option("--label-prefix", options->label_prefix, "In front of every name")
      ->type_name("TEXT");
  app->add_option("--demonstrations", options->demonstrations,
                  "Solved examples before the question: JSON lines like those of --data")
      ->type_name("FILE");
  app->add_option("--shots", options->shots,
                  "Of these so many, drawn once; with --rices for each picture; 0: all")
      ->type_name("N")
      ->check(CLI::Range(0, 1024));
  app->add_flag("--rices", options->rices,
                "Shots whose pictures are most like the question's, the most similar last");
  app->add_option("--ensemble", options->ensemble, "Mean over so many orders of the shots")
      ->type_name("N")
      ->check(CLI::Range(1, 6))
      ->capture_default_str();
}

void AddScores(CLI::App* app, ClassificationEvaluationOptions* options) {
  app->add_option("--normalization", options->normalization, "mean, sum, chars or pmi")
      ->transform(CLI::CheckedTransformer(kNormalizations))
      ->type_name("NAME")
      ->default_str("mean");
  app->add_option("--null-text", options->null_text,
                  "What stands for {text} in the context that pmi compares with")
      ->type_name("TEXT");
  app->add_flag("--score-end", options->score_end, "Score the end of the answer too");
  app->add_option("--mode", options->mode, "packed, token-by-token or uncached")
      ->transform(CLI::CheckedTransformer(kModes))
      ->type_name("MODE")
      ->default_str("packed");
}

}  // namespace

std::vector<std::string> ClassificationEvaluationOptions::usual_names() const {
  if (style == ClassificationStyle::kHatefulMemes) return {"no", "yes"};
  return {};
}

void AddClassificationOptions(CLI::App* app, ClassificationEvaluationOptions* options) {
  AddData(app, options);
  AddPrompt(app, options);
  AddScores(app, options);
}

std::string CompleteClassificationOptions(ClassificationEvaluationOptions* options) {
  std::string& question = options->prompt.question;
  if (question.empty()) {
    switch (options->style) {
      case ClassificationStyle::kPlain:
        return "--question is missing; --style imagenet and hateful-memes have one";
      case ClassificationStyle::kImageNet:
        question = "Output:";
        break;
      case ClassificationStyle::kHatefulMemes:
        question = "is an image with: '{text}' written on it. Is it hateful? Answer:";
        break;
    }
  }
  if (options->demonstrations.empty() && (options->shots > 0 || options->rices)) {
    return "--shots and --rices need --demonstrations";
  }
  if (options->rices && options->shots == 0) return "--rices needs --shots";
  if (!options->null_text.empty() && options->normalization != Normalization::kPmi) {
    return "--null-text needs --normalization pmi";
  }
  return "";
}

std::string NameOf(Normalization normalization) { return NameIn(kNormalizations, normalization); }

std::string NameOf(ScoringMode mode) { return NameIn(kModes, mode); }

}  // namespace prefixd::tools
