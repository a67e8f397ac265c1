#include "tools/command_line.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace prefixd::tools {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

Options Parse(const std::vector<std::string>& arguments) {
  const auto parsed = ParseOptions(arguments);
  if (const EarlyExit* exit = std::get_if<EarlyExit>(&parsed)) {
    ADD_FAILURE() << exit->err;
    return {};
  }
  return std::get<Options>(parsed);
}

EarlyExit Exit(const std::vector<std::string>& arguments) {
  const auto parsed = ParseOptions(arguments);
  const EarlyExit* exit = std::get_if<EarlyExit>(&parsed);
  if (exit != nullptr) return *exit;
  ADD_FAILURE() << "was taken";
  return {};
}

// What every command needs.
std::vector<std::string> With(const std::string& command, std::vector<std::string> more) {
  std::vector<std::string> arguments = {command, "--model", "m", "--data", "d.json", "--out", "o"};
  arguments.insert(arguments.end(), more.begin(), more.end());
  return arguments;
}

std::string Error(const std::vector<std::string>& arguments) {
  const EarlyExit exit = Exit(arguments);
  EXPECT_EQ(exit.exit_code, 2);
  EXPECT_EQ(exit.out, "");
  return exit.err;
}

TEST(ToolsCommandLine, EvaluateHasDefaults) {
  const Options options = Parse(With("evaluate", {}));
  EXPECT_EQ(options.command, Command::kEvaluate);
  EXPECT_EQ(options.engine.model_path, "m");
  EXPECT_EQ(options.data.path, "d.json");
  EXPECT_EQ(options.data.half, DatasetHalf::kAll);
  EXPECT_EQ(options.out, "o");
  EXPECT_THAT(options.policies, ElementsAre());
  EXPECT_FALSE(options.full_only);
  EXPECT_THAT(options.budgets, ElementsAre(0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9));
  EXPECT_EQ(options.max_new_tokens, 1024);
  EXPECT_TRUE(options.prefix_cache);
  EXPECT_EQ(options.engine.max_running, options.in_flight);
  EXPECT_EQ(options.engine.Validate(), absl::OkStatus());
}

TEST(ToolsCommandLine, EvaluateTakesEverything) {
  const Options options = Parse(With("evaluate", {"--policies",
                                                  "prefixkv,prefixkv@cats,local,local",
                                                  "--budgets",
                                                  "50,12.5,50",
                                                  "--profiles",
                                                  "p",
                                                  "--half",
                                                  "second",
                                                  "--limit",
                                                  "7",
                                                  "--images",
                                                  "i",
                                                  "--kv-memory",
                                                  "64MiB",
                                                  "--threads",
                                                  "2",
                                                  "--in-flight",
                                                  "300",
                                                  "--no-prefix-cache",
                                                  "--start-size",
                                                  "4",
                                                  "--max-new-tokens",
                                                  "9"}));
  EXPECT_THAT(options.policies, ElementsAre("prefixkv", "prefixkv@cats", "local"));
  EXPECT_THAT(options.budgets, ElementsAre(0.125, 0.5));
  EXPECT_EQ(options.engine.retention_profiles, "p");
  EXPECT_EQ(options.data.half, DatasetHalf::kSecond);
  EXPECT_EQ(options.data.limit, 7u);
  EXPECT_EQ(options.data.images, "i");
  EXPECT_EQ(options.engine.kv_memory_bytes, uint64_t{64} << 20);
  EXPECT_EQ(options.engine.threads, 2);
  EXPECT_EQ(options.in_flight, 300);
  EXPECT_FALSE(options.prefix_cache);
  EXPECT_EQ(options.engine.retention_start_size, 4);
  EXPECT_EQ(options.max_new_tokens, 9);
  EXPECT_EQ(options.engine.Validate(), absl::OkStatus()) << "steps hold what is in flight";
}

TEST(ToolsCommandLine, NoneIsTheFullCacheAlone) {
  const Options options = Parse(With("evaluate", {"--policies", "none"}));
  EXPECT_TRUE(options.full_only);
  EXPECT_THAT(options.policies, ElementsAre());
}

TEST(ToolsCommandLine, CalibrateTakesNameAndRestart) {
  const Options options =
      Parse(With("calibrate", {"--name", "llava-v1.5-7b", "--restart", "--half=first"}));
  EXPECT_EQ(options.command, Command::kCalibrate);
  EXPECT_EQ(options.name, "llava-v1.5-7b");
  EXPECT_TRUE(options.restart);
  EXPECT_EQ(options.data.half, DatasetHalf::kFirst);
}

TEST(ToolsCommandLine, TellsHowToDoItAgain) {
  EXPECT_EQ(Parse(With("evaluate", {"--images", "my pictures/it's"})).command_line,
            "prefixd-tools evaluate --model m --data d.json --out o --images "
            "'my pictures/it'\\''s'");
}

TEST(ToolsCommandLine, RefusesWithExitCodeTwoAndOneReason) {
  EXPECT_THAT(Error({}), HasSubstr("prefixd-tools: a command is missing"));
  EXPECT_THAT(Error({"evalaute"}), HasSubstr("unknown command \"evalaute\""));
  EXPECT_THAT(Error({"evaluate"}), HasSubstr("required"));
  EXPECT_THAT(Error(With("evaluate", {"--nothing"})), HasSubstr("unknown argument --nothing"));
  EXPECT_THAT(Error(With("evaluate", {"--nothing"})), HasSubstr("see prefixd-tools evaluate"));
  EXPECT_THAT(Error(With("evaluate", {"--budgets", "0"})), HasSubstr("0 is not in [0.1, 100]"));
  EXPECT_THAT(Error(With("evaluate", {"--budgets", "101"})), HasSubstr("[0.1, 100]"));
  EXPECT_THAT(Error(With("evaluate", {"--budgets", "nan"})), HasSubstr("[0.1, 100]"));
  EXPECT_THAT(Error(With("evaluate", {"--budgets", "ten"})), HasSubstr("ten"));
  EXPECT_THAT(Error(With("evaluate", {"--half", "third"})), HasSubstr("third"));
  EXPECT_THAT(Error(With("evaluate", {"--in-flight", "0"})), HasSubstr("--in-flight"));
  EXPECT_THAT(Error(With("evaluate", {"--limit", "-1"})), HasSubstr("--limit"));
  EXPECT_THAT(Error(With("evaluate", {"--restart"})), HasSubstr("unknown argument --restart"));
  EXPECT_THAT(Error(With("calibrate", {"--name", "../x"})), HasSubstr("[A-Za-z0-9._-]"));
  EXPECT_THAT(Error(With("calibrate", {"--policies", "local"})), HasSubstr("--policies"));
}

TEST(ToolsCommandLine, HelpAndVersionGoToStdout) {
  for (const std::vector<std::string>& arguments :
       {std::vector<std::string>{"--help"}, {"evaluate", "--help"}, {"calibrate", "-h"}}) {
    const EarlyExit exit = Exit(arguments);
    EXPECT_EQ(exit.exit_code, 0);
    EXPECT_EQ(exit.err, "");
    EXPECT_THAT(exit.out, HasSubstr("Exit codes: 0 done"));
  }
  EXPECT_THAT(Exit({"evaluate", "--help"}).out, HasSubstr("10,20,30,40,50,60,70,80,90"));
  EXPECT_EQ(Exit({"--version"}).out, "prefixd-tools " PREFIXD_VERSION "\n");
}

TEST(ToolsCommandLine, ConvertsAndInspects) {
  Options options = Parse({"convert", "llava", "--model", "m", "--out", "o"});
  EXPECT_EQ(options.command, Command::kConvertLlava);
  EXPECT_EQ(options.llava.model, "m");
  EXPECT_EQ(options.llava.vision_tower, "");
  EXPECT_EQ(options.llava.out, "o");
  options = Parse({"convert", "openflamingo", "--checkpoint", "c.pt", "--language-model", "l",
                   "--vision-tower", "t.pt", "--vision-heads", "16", "--out", "o"});
  EXPECT_EQ(options.command, Command::kConvertOpenFlamingo);
  EXPECT_EQ(options.openflamingo.checkpoint, "c.pt");
  EXPECT_EQ(options.openflamingo.language_model, "l");
  EXPECT_EQ(options.openflamingo.vision_tower, "t.pt");
  EXPECT_EQ(options.openflamingo.vision_heads, 16);
  EXPECT_EQ(options.openflamingo.attention_heads, 8);
  options = Parse({"inspect", "m.gguf", "--json"});
  EXPECT_EQ(options.command, Command::kInspect);
  EXPECT_EQ(options.inspect.path, "m.gguf");
  EXPECT_TRUE(options.inspect.json);
  EXPECT_THAT(Error({"convert"}), HasSubstr("subcommand"));
  EXPECT_THAT(Error({"convert", "openflamingo", "--checkpoint", "c", "--language-model", "l",
                     "--out", "o"}),
              HasSubstr("--vision-tower"));
  EXPECT_THAT(Error({"inspect"}), HasSubstr("path"));
}

}  // namespace
}  // namespace prefixd::tools
