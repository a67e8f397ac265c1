#include "client/prefixctl/classify_options.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace prefixd::ctl {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

Options Parse(const std::vector<std::string>& arguments) {
  auto parsed = ParseOptions(arguments);
  if (auto* const exit = std::get_if<EarlyExit>(&parsed)) {
    ADD_FAILURE() << exit->err;
    return {};
  }
  return std::get<Options>(std::move(parsed));
}

// The first line of the error without "prefixctl: "; fails the test if there is none.
std::string UsageErrorOf(const std::vector<std::string>& arguments) {
  auto parsed = ParseOptions(arguments);
  auto* const exit = std::get_if<EarlyExit>(&parsed);
  if (exit == nullptr) {
    ADD_FAILURE() << "no usage error";
    return "";
  }
  EXPECT_EQ(exit->exit_code, 2);
  EXPECT_EQ(exit->out, "");
  EXPECT_EQ(exit->err.substr(0, 11), "prefixctl: ");
  return exit->err.substr(11, exit->err.find('\n') - 11);
}

TEST(ClassifyOptions, LeaveWhatIsNotSaidToTheServer) {
  const Options options = Parse({"classify", "--names", "a,b", "-i", "x.jpg"});
  EXPECT_EQ(options.command, Command::kClassify);
  const Classification& classification = options.classification;
  EXPECT_EQ(classification.names, "a,b");
  EXPECT_THAT(options.images, ElementsAre("x.jpg"));
  EXPECT_FALSE(options.prompt || classification.question || classification.label_prefix ||
               classification.top_k || classification.temperature || classification.ensemble);
  EXPECT_FALSE(classification.plain || classification.score_end || classification.all ||
               classification.no_probabilities || classification.csv || options.no_cache);
  EXPECT_EQ(classification.normalization, v1::NORMALIZATION_UNSPECIFIED);
  EXPECT_EQ(classification.mode, v1::SCORING_MODE_UNSPECIFIED);
}

TEST(ClassifyOptions, TakeEverything) {
  const Options options = Parse({"classify",
                                 "look",
                                 "--names-file",
                                 "n.txt",
                                 "--question",
                                 "Is {text}?",
                                 "--plain",
                                 "--system",
                                 "s",
                                 "--label-prefix",
                                 " ",
                                 "--normalization",
                                 "pmi",
                                 "--score-end",
                                 "--top-k",
                                 "3",
                                 "--all",
                                 "--temperature",
                                 "0.5",
                                 "--ensemble",
                                 "4",
                                 "--seed",
                                 "18446744073709551615",
                                 "--mode",
                                 "token-by-token",
                                 "--no-probabilities",
                                 "--csv",
                                 "--model",
                                 "demo",
                                 "--no-cache",
                                 "--cache-salt",
                                 "x",
                                 "-i",
                                 "a.jpg",
                                 "b.jpg"});
  const Classification& classification = options.classification;
  EXPECT_EQ(options.prompt, "look");
  EXPECT_EQ(classification.names_file, "n.txt");
  EXPECT_EQ(classification.question, "Is {text}?");
  EXPECT_TRUE(classification.plain);
  EXPECT_EQ(options.system, "s");
  EXPECT_EQ(classification.label_prefix, " ");
  EXPECT_EQ(classification.normalization, v1::NORMALIZATION_PMI);
  EXPECT_TRUE(classification.score_end);
  EXPECT_EQ(classification.top_k, 3);
  EXPECT_TRUE(classification.all);
  EXPECT_EQ(classification.temperature, 0.5);
  EXPECT_EQ(classification.ensemble, 4);
  EXPECT_EQ(classification.seed, 18446744073709551615u);
  EXPECT_EQ(classification.mode, v1::SCORING_MODE_TOKEN_BY_TOKEN);
  EXPECT_TRUE(classification.no_probabilities);
  EXPECT_TRUE(classification.csv);
  EXPECT_EQ(options.model, "demo");
  EXPECT_TRUE(options.no_cache);
  EXPECT_EQ(options.cache_salt, "x");
  EXPECT_THAT(options.images, ElementsAre("a.jpg", "b.jpg"));
}

TEST(ClassifyOptions, TakeAllWordsAfterDashIAsPictures) {
  const Options options =
      Parse({"classify", "-i", "a.jpg", "b.jpg", "--class-set", "pets", "-i", "c.jpg"});
  EXPECT_THAT(options.images, ElementsAre("a.jpg", "b.jpg", "c.jpg"));
  EXPECT_EQ(options.classification.class_set, "pets");
  EXPECT_FALSE(options.prompt);
  const Options text = Parse({"classify", "--class-set", "pets", "-i", "a.jpg", "--", "look"});
  EXPECT_THAT(text.images, ElementsAre("a.jpg"));
  EXPECT_EQ(text.prompt, "look");
  EXPECT_THAT(Parse({"classify", "--class-set", "pets", "look"}).images, IsEmpty());
}

TEST(ClassifyOptions, NeedNamesFromOnePlace) {
  EXPECT_EQ(UsageErrorOf({"classify", "-i", "a.jpg"}),
            "the names are missing: --names A,B, --names-file FILE or --class-set NAME");
  for (const std::vector<std::string>& two :
       {std::vector<std::string>{"--names", "a,b", "--class-set", "c"},
        std::vector<std::string>{"--names-file", "n", "--class-set", "c"},
        std::vector<std::string>{"--names", "a,b", "--names-file", "n"}}) {
    std::vector<std::string> arguments = {"classify", "text"};
    arguments.insert(arguments.end(), two.begin(), two.end());
    EXPECT_EQ(UsageErrorOf(arguments), "--names, --names-file and --class-set exclude each other");
  }
}

TEST(ClassifyOptions, RefuseWhatDoesNotGoTogether) {
  EXPECT_EQ(UsageErrorOf({"classify", "--names", "a,b"}),
            "there is nothing to classify: neither picture (-i FILE) nor text");
  EXPECT_EQ(UsageErrorOf({"classify", "x", "--names", "a,b", "--csv", "--json"}),
            "--csv and --json exclude each other");
  for (const std::vector<std::string>& prompt :
       {std::vector<std::string>{"--question", "q"}, std::vector<std::string>{"--plain"},
        std::vector<std::string>{"--system", "s"}}) {
    std::vector<std::string> arguments = {"classify", "x", "--class-set", "c"};
    arguments.insert(arguments.end(), prompt.begin(), prompt.end());
    EXPECT_EQ(UsageErrorOf(arguments),
              "--question, --plain and --system belong to the class set: give them to `prefixctl "
              "class-sets create`");
  }
  EXPECT_EQ(UsageErrorOf({"classify", "x", "--names", "a,b", "--question", "Is it?"}),
            "the question has no {text} that the text could take the place of");
  EXPECT_EQ(UsageErrorOf({"classify", "--names-file", "-", "-i", "-"}),
            "only one of names and picture can come from stdin");
  EXPECT_EQ(UsageErrorOf({"classify", "--names", "a,b", "-i", "-", "-"}),
            "only one image can come from stdin (-i -)");
}

TEST(ClassifyOptions, ListWhatWordsThereAre) {
  EXPECT_EQ(UsageErrorOf({"classify", "x", "--names", "a,b", "--normalization", "median"}),
            "--normalization: expected mean|sum|chars|pmi, not median");
  EXPECT_EQ(UsageErrorOf({"classify", "x", "--names", "a,b", "--mode", "fast"}),
            "--mode: expected packed|token-by-token|uncached, not fast");
  EXPECT_EQ(UsageErrorOf({"classify", "x", "--names", "a,b", "--tok-k", "3"}),
            "unknown flag --tok-k; did you mean --top-k?");
  EXPECT_EQ(UsageErrorOf({"clasify"}), "unknown command \"clasify\"; did you mean \"classify\"?");
}

TEST(ClassSetOptions, TakeEverything) {
  EXPECT_EQ(Parse({"class-sets"}).command, Command::kClassSetList);
  EXPECT_EQ(Parse({"class-sets", "list"}).command, Command::kClassSetList);
  const Options get = Parse({"class-sets", "get", "pets", "--names-only"});
  EXPECT_EQ(get.command, Command::kClassSetGet);
  EXPECT_EQ(get.classification.set, "pets");
  EXPECT_TRUE(get.classification.names_only);
  const Options gone = Parse({"class-sets", "delete", "classSets/pets", "--json"});
  EXPECT_EQ(gone.command, Command::kClassSetDelete);
  EXPECT_EQ(gone.classification.set, "classSets/pets");
  const Options create = Parse({"class-sets",
                                "create",
                                "pets",
                                "--names-file",
                                "n.txt",
                                "--question",
                                "q",
                                "--label-prefix",
                                " ",
                                "--plain",
                                "--separator",
                                "\n\n",
                                "--demonstrations",
                                "d.jsonl",
                                "--shots",
                                "4",
                                "--null-text",
                                "N/A",
                                "--system",
                                "s",
                                "--model",
                                "m"});
  EXPECT_EQ(create.command, Command::kClassSetCreate);
  const Classification& classification = create.classification;
  EXPECT_EQ(classification.set, "pets");
  EXPECT_EQ(classification.names_file, "n.txt");
  EXPECT_EQ(classification.question, "q");
  EXPECT_EQ(classification.label_prefix, " ");
  EXPECT_TRUE(classification.plain);
  EXPECT_EQ(classification.separator, "\n\n");
  EXPECT_EQ(classification.demonstrations, "d.jsonl");
  EXPECT_EQ(classification.shots, 4);
  EXPECT_EQ(classification.null_text, "N/A");
  EXPECT_EQ(create.system, "s");
  EXPECT_EQ(create.model, "m");
}

TEST(ClassSetOptions, SayWhatIsMissing) {
  EXPECT_EQ(UsageErrorOf({"class-sets", "create", "pets"}),
            "the names are missing: --names A,B or --names-file FILE");
  EXPECT_EQ(UsageErrorOf({"class-sets", "create", "pets", "--names", "a,b", "--names-file", "n"}),
            "--names and --names-file exclude each other");
  EXPECT_EQ(UsageErrorOf({"class-sets", "create", "--names", "a,b"}), "id is required");
  EXPECT_EQ(UsageErrorOf({"class-sets", "get"}), "name is required");
  EXPECT_EQ(UsageErrorOf({"class-sets", "remove", "pets"}), "unknown command \"remove\"");
}

TEST(ScoreOptions, TakeEverything) {
  const Options options = Parse({"score",
                                 "-i",
                                 "a.jpg",
                                 "What?",
                                 "--continuation",
                                 "A cat.",
                                 "--continuation",
                                 "",
                                 "--prompt-logprobs",
                                 "--mode",
                                 "uncached",
                                 "--prefix",
                                 "p",
                                 "--no-cache",
                                 "--cache-salt",
                                 "x",
                                 "--system",
                                 "s",
                                 "--model",
                                 "m"});
  EXPECT_EQ(options.command, Command::kScore);
  EXPECT_EQ(options.prompt, "What?");
  EXPECT_THAT(options.images, ElementsAre("a.jpg"));
  EXPECT_THAT(options.classification.continuations, ElementsAre("A cat.", ""));
  EXPECT_TRUE(options.classification.prompt_logprobs);
  EXPECT_EQ(options.classification.mode, v1::SCORING_MODE_UNCACHED);
  EXPECT_EQ(options.prefix, "p");
  EXPECT_TRUE(Parse({"score", "What?", "--raw", "--prompt-logprobs"}).raw);
}

TEST(ScoreOptions, SayWhatIsWrong) {
  EXPECT_EQ(UsageErrorOf({"score", "--continuation", "a"}), "text is required");
  EXPECT_EQ(UsageErrorOf({"score", "What?"}),
            "there is nothing to score: give --continuation TEXT or --prompt-logprobs");
  EXPECT_EQ(UsageErrorOf({"score", "What?", "--continuation", "a", "--raw", "--system", "s"}),
            "--raw sends no conversation: it does not go with --system");
}

TEST(FullClassSetName, AddsWhatIsMissing) {
  EXPECT_EQ(FullClassSetName("pets"), "classSets/pets");
  EXPECT_EQ(FullClassSetName("classSets/pets"), "classSets/pets");
  EXPECT_EQ(FullClassSetName(""), "");
}

}  // namespace
}  // namespace prefixd::ctl
