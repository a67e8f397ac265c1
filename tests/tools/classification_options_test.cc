#include "tools/classification_options.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tools/command_line.h"

namespace prefixd::tools {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::variant<Options, EarlyExit> ParseWith(const std::vector<std::string>& more) {
  std::vector<std::string> arguments = {"evaluate", "classification", "--model", "m", "--data",
                                        "d",        "--out",          "o"};
  arguments.insert(arguments.end(), more.begin(), more.end());
  return ParseOptions(arguments);
}

Options Parse(const std::vector<std::string>& more) {
  const auto parsed = ParseWith(more);
  const Options* options = std::get_if<Options>(&parsed);
  if (options != nullptr) return *options;
  ADD_FAILURE() << std::get<EarlyExit>(parsed).err;
  return {};
}

std::string Error(const std::vector<std::string>& more) {
  const auto parsed = ParseWith(more);
  const EarlyExit* exit = std::get_if<EarlyExit>(&parsed);
  if (exit == nullptr) return "was taken";
  EXPECT_EQ(exit->exit_code, 2);
  return exit->err;
}

TEST(ClassificationOptions, StylesBringTheirQuestions) {
  const Options imagenet = Parse({"--style", "imagenet"});
  EXPECT_EQ(imagenet.command, Command::kEvaluateClassification);
  EXPECT_EQ(imagenet.engine.model_path, "m");
  EXPECT_EQ(imagenet.out, "o");
  EXPECT_EQ(imagenet.classification.data, "d");
  EXPECT_EQ(imagenet.classification.prompt.question, "Output:");
  EXPECT_THAT(imagenet.classification.usual_names(), ElementsAre());
  const Options memes = Parse({"--style", "hateful-memes"});
  EXPECT_EQ(memes.classification.prompt.question,
            "is an image with: '{text}' written on it. Is it hateful? Answer:");
  EXPECT_THAT(memes.classification.usual_names(), ElementsAre("no", "yes"));
  EXPECT_EQ(Parse({"--style", "imagenet", "--question", "What?"}).classification.prompt.question,
            "What?");
}

TEST(ClassificationOptions, TakesEverything) {
  const Options options = Parse({"--question",
                                 "What is it?",
                                 "--names",
                                 "n.txt",
                                 "--images",
                                 "i",
                                 "--demonstrations",
                                 "s.jsonl",
                                 "--shots",
                                 "4",
                                 "--rices",
                                 "--ensemble",
                                 "3",
                                 "--normalization",
                                 "pmi",
                                 "--null-text",
                                 "N",
                                 "--score-end",
                                 "--label-prefix",
                                 " ",
                                 "--mode",
                                 "token-by-token",
                                 "--limit",
                                 "7",
                                 "--seed",
                                 "9",
                                 "--system",
                                 "S",
                                 "--no-chat-template",
                                 "--separator",
                                 "<|endofchunk|>",
                                 "--in-flight",
                                 "300",
                                 "--restart"});
  const ClassificationEvaluationOptions& own = options.classification;
  EXPECT_EQ(own.names, "n.txt");
  EXPECT_EQ(own.images, "i");
  EXPECT_EQ(own.demonstrations, "s.jsonl");
  EXPECT_EQ(own.shots, 4);
  EXPECT_TRUE(own.rices);
  EXPECT_EQ(own.ensemble, 3);
  EXPECT_EQ(own.normalization, Normalization::kPmi);
  EXPECT_EQ(own.null_text, "N");
  EXPECT_TRUE(own.score_end);
  EXPECT_EQ(own.label_prefix, " ");
  EXPECT_EQ(own.mode, ScoringMode::kTokenByToken);
  EXPECT_EQ(own.limit, 7u);
  EXPECT_EQ(own.seed, 9u);
  EXPECT_EQ(own.prompt.system, "S");
  EXPECT_TRUE(own.prompt.plain);
  EXPECT_EQ(own.prompt.separator, "<|endofchunk|>");
  EXPECT_TRUE(own.restart);
  EXPECT_EQ(options.in_flight, 300);
  EXPECT_EQ(options.engine.Validate(), absl::OkStatus());
}

TEST(ClassificationOptions, DefaultsAreThoseOfTheReference) {
  const ClassificationEvaluationOptions own = Parse({"--question", "?"}).classification;
  EXPECT_EQ(own.normalization, Normalization::kMean);
  EXPECT_EQ(own.mode, ScoringMode::kPacked);
  EXPECT_EQ(own.ensemble, 1);
  EXPECT_FALSE(own.score_end);
  EXPECT_EQ(own.label_prefix, "");
  EXPECT_EQ(own.prompt.separator, "\n");
  EXPECT_EQ(NameOf(own.normalization), "mean");
  EXPECT_EQ(NameOf(own.mode), "packed");
}

TEST(ClassificationOptions, RefusesWhatDoesNotFit) {
  EXPECT_THAT(Error({}), HasSubstr("--question is missing"));
  EXPECT_THAT(Error({}), HasSubstr("see prefixd-tools evaluate classification --help"));
  EXPECT_THAT(Error({"--style", "imagenet", "--shots", "2"}), HasSubstr("need --demonstrations"));
  EXPECT_THAT(Error({"--style", "imagenet", "--demonstrations", "d", "--rices"}),
              HasSubstr("--rices needs --shots"));
  EXPECT_THAT(Error({"--style", "imagenet", "--null-text", "x"}), HasSubstr("pmi"));
  EXPECT_THAT(Error({"--style", "other"}), HasSubstr("other"));
  EXPECT_THAT(Error({"--style", "imagenet", "--ensemble", "7"}), HasSubstr("--ensemble"));
  EXPECT_THAT(Error({"--style", "imagenet", "--policies", "local"}), HasSubstr("--policies"));
}

TEST(ClassificationOptions, EvaluateAloneStaysAsItWas) {
  const auto parsed = ParseOptions({"evaluate", "--model", "m", "--data", "d.json", "--out", "o"});
  ASSERT_TRUE(std::holds_alternative<Options>(parsed));
  EXPECT_EQ(std::get<Options>(parsed).command, Command::kEvaluate);
  const auto help = ParseOptions({"evaluate", "--help"});
  EXPECT_THAT(std::get<EarlyExit>(help).out, HasSubstr("evaluate classification"));
  const auto own_help = ParseOptions({"evaluate", "classification", "--help"});
  EXPECT_THAT(std::get<EarlyExit>(own_help).out, HasSubstr("--rices"));
}

}  // namespace
}  // namespace prefixd::tools
