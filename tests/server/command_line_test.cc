#include "server/command_line.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "server/option_table.h"

namespace prefixd {
namespace {

using ::testing::HasSubstr;

std::string Error(const std::vector<std::string>& arguments) {
  return std::string(ParseCommandLine(arguments).status().message());
}

TEST(CommandLine, CollectsFlagsAsText) {
  const auto line = ParseCommandLine(
      {"--model", "demo", "--kv-memory=32MiB", "--no-reflection", "--insecure", "--threads", "2x"});
  ASSERT_TRUE(line.ok()) << line.status();
  EXPECT_EQ(line->command, Command::kServe);
  std::vector<std::string> flags;
  for (const FlagValue& flag : line->flags) flags.push_back(flag.name + "=" + flag.text);
  EXPECT_THAT(flags,
              ::testing::UnorderedElementsAre("model=demo", "kv-memory=32MiB", "reflection=false",
                                              "insecure=true", "threads=2x"));
}

TEST(CommandLine, TakesNumbersBelowZero) {
  for (const std::vector<std::string>& arguments :
       {std::vector<std::string>{"--retention-distance", "-25"}, {"--retention-distance=-25"}}) {
    const auto line = ParseCommandLine(arguments);
    ASSERT_TRUE(line.ok()) << line.status();
    ASSERT_EQ(line->flags.size(), 1u);
    EXPECT_EQ(line->flags[0].text, "-25");
  }
}

TEST(CommandLine, TakesBooleansWithAValue) {
  const auto line = ParseCommandLine({"--reflection=false"});
  ASSERT_TRUE(line.ok()) << line.status();
  ASSERT_EQ(line->flags.size(), 1u);
  EXPECT_EQ(line->flags[0].text, "false");
}

TEST(CommandLine, GuessesWhatAnUnknownFlagMeant) {
  EXPECT_EQ(Error({"--kv-memroy", "32MiB"}), "unknown flag --kv-memroy; did you mean --kv-memory?");
  EXPECT_EQ(Error({"--quite-unknown=1"}), "unknown flag --quite-unknown; see --help");
}

TEST(CommandLine, RefusesAFlagTwiceOrWithoutValue) {
  EXPECT_FALSE(Error({"--threads", "1", "--threads", "2"}).empty());
  EXPECT_FALSE(Error({"--insecure", "--insecure"}).empty());
  EXPECT_FALSE(Error({"--threads"}).empty());
  EXPECT_FALSE(Error({"stray"}).empty());
  EXPECT_EQ(Error({"--threads", "1", "--threads", "2"}).find('\n'), std::string::npos);
}

TEST(CommandLine, KnowsTheConfigCommands) {
  const auto print = ParseCommandLine({"config", "print", "--origin", "--threads", "2"});
  ASSERT_TRUE(print.ok()) << print.status();
  EXPECT_EQ(print->command, Command::kConfigPrint);
  EXPECT_TRUE(print->show_origin);
  ASSERT_EQ(print->flags.size(), 1u);
  const auto check = ParseCommandLine({"config", "check", "file.yaml"});
  ASSERT_TRUE(check.ok()) << check.status();
  EXPECT_EQ(check->command, Command::kConfigCheck);
  EXPECT_EQ(check->check_file, "file.yaml");
  EXPECT_THAT(ParseCommandLine({"config", "reference"})->text, HasSubstr("# Configuration"));
  EXPECT_FALSE(ParseCommandLine({"config"}).ok());
  EXPECT_FALSE(ParseCommandLine({"config", "check"}).ok());
}

TEST(CommandLine, PrintsHelpAndVersion) {
  const auto help = ParseCommandLine({"--help"});
  ASSERT_TRUE(help.ok()) << help.status();
  EXPECT_EQ(help->command, Command::kPrintText);
  for (const OptionSpec& spec : OptionTable()) EXPECT_THAT(help->text, HasSubstr(spec.Flag()));
  EXPECT_EQ(ParseCommandLine({"--version"})->text, "prefixd " PREFIXD_VERSION "\n");
  const nlohmann::json json = nlohmann::json::parse(ParseCommandLine({"--help-json"})->text);
  ASSERT_EQ(json["options"].size(), OptionTable().size());
  EXPECT_EQ(json["options"][1]["flag"], "--listen");
  EXPECT_EQ(json["options"][1]["default"], "127.0.0.1:50051");
}

}  // namespace
}  // namespace prefixd
