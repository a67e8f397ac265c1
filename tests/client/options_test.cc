#include "client/prefixctl/options.h"

#include <cstdlib>

#include <gtest/gtest.h>

#include "client/prefixctl/retention_options.h"

namespace prefixd::ctl {
namespace {

Options Parse(const std::vector<std::string>& arguments) {
  auto parsed = ParseOptions(arguments);
  if (auto* const exit = std::get_if<EarlyExit>(&parsed)) {
    ADD_FAILURE() << exit->err;
    return {};
  }
  return std::get<Options>(std::move(parsed));
}

// The first line of the error; fails the test if there is none.
std::string UsageErrorOf(const std::vector<std::string>& arguments) {
  auto parsed = ParseOptions(arguments);
  auto* const exit = std::get_if<EarlyExit>(&parsed);
  if (exit == nullptr) {
    ADD_FAILURE() << "no usage error";
    return "";
  }
  EXPECT_EQ(exit->exit_code, 2);
  EXPECT_EQ(exit->out, "");
  return exit->err.substr(0, exit->err.find('\n'));
}

TEST(Options, TakesWhatConcernsTheCache) {
  const Options run = Parse({"run", "hi", "--prefix", "cat", "--no-cache", "--cache-salt", "s"});
  EXPECT_EQ(run.prefix, "cat");
  EXPECT_TRUE(run.no_cache);
  EXPECT_EQ(run.cache_salt, "s");
  EXPECT_EQ(Parse({"count", "hi", "--prefix", "cat"}).prefix, "cat");
  EXPECT_FALSE(Parse({"run", "hi"}).no_cache);
}

TEST(Options, TakesPrefixCommands) {
  const Options create = Parse({"prefix", "create", "Look:", "--id", "cat", "--ttl", "90s", "-i",
                                "a.png", "-i", "b.png", "--system", "s", "--cache-salt", "x"});
  EXPECT_EQ(create.command, Command::kPrefixCreate);
  EXPECT_EQ(create.prompt, "Look:");
  EXPECT_EQ(create.prefix_id, "cat");
  EXPECT_EQ(create.ttl, absl::Seconds(90));
  EXPECT_EQ(create.images, (std::vector<std::string>{"a.png", "b.png"}));
  EXPECT_EQ(create.system, "s");
  EXPECT_EQ(create.cache_salt, "x");
  // The picture from stdin needs no text.
  EXPECT_EQ(Parse({"prefix", "create", "-i", "-"}).images, std::vector<std::string>{"-"});
  EXPECT_EQ(Parse({"prefix"}).command, Command::kPrefixList);
  EXPECT_EQ(Parse({"prefix", "list"}).command, Command::kPrefixList);
  EXPECT_EQ(Parse({"cache", "prefixes", "--json"}).command, Command::kPrefixList);
  const Options show = Parse({"prefix", "show", "cat"});
  EXPECT_EQ(show.command, Command::kPrefixShow);
  EXPECT_EQ(show.prefix, "cat");
  const Options touch = Parse({"prefix", "touch", "cat", "--ttl", "1h"});
  EXPECT_EQ(touch.command, Command::kPrefixTouch);
  EXPECT_EQ(touch.ttl, absl::Hours(1));
  EXPECT_EQ(Parse({"prefix", "release", "cat"}).command, Command::kPrefixRelease);
}

TEST(Options, RefusesPrefixCommandsThatAreNone) {
  EXPECT_EQ(UsageErrorOf({"prefix", "relaese", "cat"}),
            "prefixctl: unknown command \"relaese\"; did you mean \"release\"?");
  EXPECT_NE(UsageErrorOf({"prefix", "show"}), "");
  EXPECT_NE(UsageErrorOf({"prefix", "create", "x", "--ttl", "soon"}), "");
}

TEST(Options, TakesOnePromptAndItsFlagsInAnyOrder) {
  const Options options = Parse({"run",           "-i",
                                 "a.png",         "What is it?",
                                 "--image",       "-",
                                 "--server",      "h:1",
                                 "--model",       "m",
                                 "--system",      "s",
                                 "--max-tokens",  "7",
                                 "--temperature", "0.25",
                                 "--top-p",       "0.5",
                                 "--top-k",       "3",
                                 "--seed",        "18446744073709551615",
                                 "--logprobs",    "0",
                                 "--stop",        "x",
                                 "--stop",        "y",
                                 "--json"});
  EXPECT_EQ(options.command, Command::kRun);
  EXPECT_EQ(options.prompt, "What is it?");
  EXPECT_EQ(options.images, (std::vector<std::string>{"a.png", "-"}));
  EXPECT_EQ(options.server, "h:1");
  EXPECT_EQ(options.model, "m");
  EXPECT_EQ(options.system, "s");
  EXPECT_EQ(options.generation.max_tokens, 7);
  EXPECT_EQ(options.generation.temperature, 0.25f);
  EXPECT_EQ(options.generation.top_p, 0.5f);
  EXPECT_EQ(options.generation.top_k, 3);
  EXPECT_EQ(options.generation.seed, 18446744073709551615u);
  EXPECT_EQ(options.generation.logprobs, 0);
  EXPECT_EQ(options.generation.stop, (std::vector<std::string>{"x", "y"}));
  EXPECT_TRUE(options.json);
}

TEST(Options, LeavesTheServerToChooseWhatIsNotGiven) {
  const Options options = Parse({"run", "hi"});
  EXPECT_FALSE(options.generation.temperature.has_value());
  v1::SamplingParams sampling;
  v1::StoppingParams stopping;
  v1::OutputParams output;
  Apply(options.generation, &sampling, &stopping, &output);
  EXPECT_EQ(sampling.ByteSizeLong() + stopping.ByteSizeLong() + output.ByteSizeLong(), 0u);
}

TEST(Options, TakesWhatConcernsRetention) {
  const Options options = Parse({"run", "hi", "--retention", "shared", "--budget", "0.2",
                                 "--policy", "h2o", "--profile", "llava-v1.5-7b"});
  v1::GenerateRequest request;
  Apply(options.retention, &request);
  EXPECT_EQ(request.ShortDebugString(),
            "retention { scope: RETENTION_SCOPE_SHARED budget: 0.2 policy: \"h2o\" profile: "
            "\"llava-v1.5-7b\" }");
  // Nothing is sent of what is not given; an empty profile is given.
  v1::GenerateRequest none, one;
  Apply(Parse({"run", "hi"}).retention, &none);
  EXPECT_EQ(none.ByteSizeLong(), 0u);
  Apply(Parse({"run", "hi", "--profile", ""}).retention, &one);
  EXPECT_TRUE(one.retention().has_profile());
  EXPECT_FALSE(one.retention().has_scope());
  v1::GenerateRequest off, exact;
  Apply(Parse({"run", "hi", "--retention", "off"}).retention, &off);
  EXPECT_EQ(off.retention().scope(), v1::RETENTION_SCOPE_OFF);
  Apply(Parse({"run", "hi", "--retention=exact"}).retention, &exact);
  EXPECT_EQ(exact.retention().scope(), v1::RETENTION_SCOPE_EXACT);
}

TEST(Options, RefusesRetentionThatIsNone) {
  EXPECT_EQ(UsageErrorOf({"run", "hi", "--retention", "on"}),
            "prefixctl: --retention: expected off, exact or shared, not on");
  UsageErrorOf({"run", "hi", "--budget", "20%"});
  UsageErrorOf({"run", "hi", "--budget", "little"});
  EXPECT_EQ(UsageErrorOf({"run", "--bugdet", "0.2", "hi"}),
            "prefixctl: unknown flag --bugdet; did you mean --budget?");
  UsageErrorOf({"count", "hi", "--budget", "0.2"});
}

TEST(Options, SendsAZeroThatWasGiven) {
  v1::SamplingParams sampling;
  v1::StoppingParams stopping;
  v1::OutputParams output;
  Apply({.temperature = 0, .seed = 0, .logprobs = 0}, &sampling, &stopping, &output);
  EXPECT_TRUE(sampling.has_temperature());
  EXPECT_TRUE(sampling.has_seed());
  EXPECT_TRUE(output.has_logprobs());
}

TEST(Options, KeepsAnEmptyPromptApartFromNone) {
  EXPECT_EQ(Parse({"run", ""}).prompt, "");
  EXPECT_EQ(Parse({"run"}).prompt, std::nullopt);
}

TEST(Options, TakesAPromptThatBeginsWithADashAfterTwoDashes) {
  EXPECT_EQ(Parse({"run", "--json", "--", "--help me"}).prompt, "--help me");
}

TEST(Options, TakesTheServerFromTheEnvironmentUnlessTheFlagIsThere) {
  setenv("PREFIXD_SERVER", "env:2", 1);
  EXPECT_EQ(Parse({"ps"}).server, "env:2");
  EXPECT_EQ(Parse({"ps", "--server", "flag:3"}).server, "flag:3");
  unsetenv("PREFIXD_SERVER");
  EXPECT_EQ(Parse({"ps"}).server, "127.0.0.1:50051");
}

TEST(Options, KnowsEveryCommand) {
  EXPECT_EQ(Parse({"models"}).command, Command::kModelsList);
  EXPECT_EQ(Parse({"models", "list"}).command, Command::kModelsList);
  EXPECT_EQ(Parse({"models", "show", "m"}).command, Command::kModelsShow);
  EXPECT_EQ(Parse({"models", "show", "m"}).model, "m");
  EXPECT_EQ(Parse({"ps"}).command, Command::kPs);
  EXPECT_EQ(Parse({"health"}).command, Command::kHealth);
  EXPECT_EQ(Parse({"wait"}).command, Command::kWait);
  EXPECT_EQ(Parse({"version"}).command, Command::kVersion);
  EXPECT_EQ(Parse({"doctor", "--model-dir", "d"}).model_directory, "d");
  EXPECT_EQ(Parse({"count", "hi"}).command, Command::kCount);
}

TEST(Options, ReadsTimesWithAndWithoutUnit) {
  EXPECT_EQ(Parse({"wait", "--timeout", "30"}).timeout, absl::Seconds(30));
  EXPECT_EQ(Parse({"wait", "--timeout", "1.5"}).timeout, absl::Milliseconds(1500));
  EXPECT_EQ(Parse({"wait", "--timeout", "200ms"}).timeout, absl::Milliseconds(200));
  EXPECT_EQ(Parse({"--timeout", "2m", "wait"}).timeout, absl::Minutes(2));
  for (const char* const bad : {"0", "-1s", "soon", "nan", "inf"}) {
    EXPECT_EQ(
        UsageErrorOf({"wait", "--timeout", bad}),
        std::string("prefixctl: --timeout: expected a time above zero such as 30s, not ") + bad);
  }
}

TEST(Options, GuessesWhatWasMeant) {
  EXPECT_EQ(UsageErrorOf({"rum", "hi"}),
            "prefixctl: unknown command \"rum\"; did you mean \"run\"?");
  EXPECT_EQ(UsageErrorOf({"models", "shwo"}),
            "prefixctl: unknown command \"shwo\"; did you mean \"show\"?");
  EXPECT_EQ(UsageErrorOf({"run", "--temprature", "1"}),
            "prefixctl: unknown flag --temprature; did you mean --temperature?");
  EXPECT_EQ(UsageErrorOf({"run", "--sever=h:1", "x"}),
            "prefixctl: unknown flag --sever; did you mean --server?");
  EXPECT_EQ(UsageErrorOf({"run", "--quux", "x"}), "prefixctl: unknown flag --quux");
}

TEST(Options, ExplainsUsageErrors) {
  EXPECT_EQ(UsageErrorOf({}), "prefixctl: a command is missing");
  EXPECT_EQ(UsageErrorOf({"run", "what", "is"}),
            "prefixctl: unexpected argument \"is\"; a prompt of several words goes in quotes");
  EXPECT_EQ(UsageErrorOf({"run", "x", "-i", "-", "-i", "-"}),
            "prefixctl: only one image can come from stdin (-i -)");
  EXPECT_EQ(UsageErrorOf({"run", "-i", "-"}),
            "prefixctl: with the image from stdin (-i -) the prompt must be an argument");
  UsageErrorOf({"run", "x", "--temperature", "warm"});
  UsageErrorOf({"run", "x", "--max-tokens", "99999999999"});
  UsageErrorOf({"run", "x", "-i"});
}

TEST(Options, HelpIsNoError) {
  for (const std::vector<std::string>& arguments : {std::vector<std::string>{"--help"},
                                                    {"run", "--help"},
                                                    {"models", "show", "--help"},
                                                    {"--version"}}) {
    auto parsed = ParseOptions(arguments);
    auto* const exit = std::get_if<EarlyExit>(&parsed);
    ASSERT_NE(exit, nullptr);
    EXPECT_EQ(exit->exit_code, 0);
    EXPECT_NE(exit->out, "");
    EXPECT_EQ(exit->err, "");
  }
}

TEST(Suggest, FindsTheNearestWordOrNone) {
  EXPECT_EQ(Suggest("helth", {"run", "health", "wait"}), "health");
  EXPECT_EQ(Suggest("xyzzy", {"run", "health", "wait"}), "");
  EXPECT_EQ(Suggest("", {"run"}), "");
  EXPECT_EQ(Suggest(std::string(100'000, 'r'), {"run"}), "");
}

}  // namespace
}  // namespace prefixd::ctl
