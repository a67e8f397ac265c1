// `prefixctl classify`, `class-sets` and `score`: the real program against a server in this
// process.
#include <algorithm>
#include <filesystem>
#include <fstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "tests/client/fake_server.h"
#include "tests/client/run_prefixctl.h"

namespace prefixd::testing {
namespace {

using nlohmann::json;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::MatchesRegex;
using ::testing::Not;
using ::testing::StartsWith;

class ClassificationCommandsTest : public ::testing::Test {
 protected:
  ClassificationCommandsTest() : path_(mkdtemp(name_)) {}
  ~ClassificationCommandsTest() override { std::filesystem::remove_all(path_); }

  std::string Write(const std::string& name, const std::string& text) const {
    const std::string path = absl::StrCat(path_, "/", name);
    std::ofstream(path, std::ios::binary) << text;
    return path;
  }
  RunResult Run(std::vector<std::string> arguments, const std::string& input = "") {
    arguments.insert(arguments.end(), {"--server", server_.address()});
    return RunPrefixctl(arguments, input);
  }
  // All that a terminal of so many columns shows.
  std::string RunOnTerminal(std::vector<std::string> arguments, int columns) {
    arguments.insert(arguments.end(), {"--server", server_.address()});
    return absl::StrReplaceAll(Prefixctl::OnTerminal(arguments, columns).Wait().out,
                               {{"\r\n", "\n"}});
  }
  v1::ClassifyRequest last() { return server_.classification().requests().back(); }

  char name_[32] = "/tmp/classification_XXXXXX";
  const std::string path_;
  FakeServer server_;
};

constexpr char kTable[] =
    "RANK  NAME  PROBABILITY                              SCORE\n"
    "1     cat       50.00 %  ████████████████████████  -1.0000\n"
    "2     dog       25.00 %  ████████████              -2.0000\n"
    "3     cow       12.50 %  ██████                    -3.0000\n";

constexpr char kSummary[] =
    "3 names; context 20 tokens, 18 cached; 7 rows computed, 5 saved; 12.5 ms\n";

TEST_F(ClassificationCommandsTest, RanksNamesForAPicture) {
  const std::string picture = Write("a.png", "PNG");
  const RunResult run = Run({"classify", "--names", "cat,dog,cow", "-i", picture});
  EXPECT_EQ(run.exit_status, 0);
  EXPECT_EQ(run.out, kTable);
  EXPECT_EQ(run.err, kSummary);
  EXPECT_EQ(last().query().image().data(), "PNG");
  EXPECT_THAT(last().names().names(), ElementsAre("cat", "dog", "cow"));
  EXPECT_FALSE(last().has_top_k() || last().has_label_prefix() || last().has_temperature() ||
               last().has_ensemble() || last().all_scores());
  EXPECT_EQ(Run({"classify", "--names", "cat,dog,cow", "-i", picture, "--quiet"}).err, "");
}

TEST_F(ClassificationCommandsTest, SendsEveryFlag) {
  const std::string names = Write("names.txt", "cat\ndog\n");
  EXPECT_EQ(Run({"classify",
                 "Look.",
                 "--names-file",
                 names,
                 "--question",
                 "Is {text}?",
                 "--plain",
                 "--system",
                 "s",
                 "--label-prefix",
                 " ",
                 "--normalization",
                 "chars",
                 "--score-end",
                 "--top-k",
                 "1",
                 "--all",
                 "--temperature",
                 "0.5",
                 "--ensemble",
                 "4",
                 "--seed",
                 "7",
                 "--mode",
                 "uncached",
                 "--model",
                 "demo",
                 "--no-cache",
                 "--cache-salt",
                 "x"})
                .exit_status,
            0);
  const v1::ClassifyRequest request = last();
  EXPECT_EQ(request.query().text(), "Look.");
  EXPECT_FALSE(request.query().has_image());
  EXPECT_THAT(request.names().names(), ElementsAre("cat", "dog"));
  EXPECT_EQ(request.names().prompt().question(), "Is {text}?");
  EXPECT_TRUE(request.names().prompt().plain());
  EXPECT_EQ(request.names().prompt().system(), "s");
  EXPECT_EQ(request.label_prefix(), " ");
  EXPECT_EQ(request.normalization(), v1::NORMALIZATION_CHARS);
  EXPECT_TRUE(request.score_end());
  EXPECT_EQ(request.top_k(), 1);
  EXPECT_TRUE(request.all_scores());
  EXPECT_EQ(request.temperature(), 0.5);
  EXPECT_EQ(request.ensemble(), 4);
  EXPECT_EQ(request.seed(), 7u);
  EXPECT_EQ(request.mode(), v1::SCORING_MODE_UNCACHED);
  EXPECT_EQ(request.model(), "demo");
  EXPECT_TRUE(request.bypass_prefix_cache());
  EXPECT_EQ(request.cache_salt(), "x");
}

TEST_F(ClassificationCommandsTest, RanksNamesForATextAlone) {
  const RunResult run = Run({"classify", "--names", "cat,dog,cow", "It purrs."});
  EXPECT_EQ(run.out, kTable);
  EXPECT_EQ(last().query().text(), "It purrs.");
  EXPECT_EQ(last().names().prompt().question(), "{text}");  // The text is the question.
}

TEST_F(ClassificationCommandsTest, RanksAClassSet) {
  EXPECT_EQ(Run({"classify", "--class-set", "pets", "It purrs."}).out, kTable);
  EXPECT_EQ(last().class_set(), "classSets/pets");
  EXPECT_EQ(last().query().text(), "It purrs.");
  EXPECT_FALSE(last().has_names());
}

TEST_F(ClassificationCommandsTest, TakesNamesOrPictureFromStdin) {
  EXPECT_EQ(Run({"classify", "--names-file", "-", "x"}, "a\nb\n").exit_status, 0);
  EXPECT_THAT(last().names().names(), ElementsAre("a", "b"));
  EXPECT_EQ(Run({"classify", "--names", "a,b", "-i", "-"}, "JPEG").exit_status, 0);
  EXPECT_EQ(last().query().image().data(), "JPEG");
}

TEST_F(ClassificationCommandsTest, ShowsAllNamesWithAll) {
  EXPECT_EQ(Run({"classify", "--names", "a,b,c,d,e,f,g", "x", "--quiet"}).out.find("\n6 "),
            std::string::npos);
  EXPECT_THAT(Run({"classify", "--names", "a,b,c,d,e,f,g", "x", "--all"}).out,
              HasSubstr("\n7     g"));
}

TEST_F(ClassificationCommandsTest, WritesJsonAndCsv) {
  const std::string picture = Write("a,b.png", "PNG");
  const RunResult run = Run({"classify", "--names", "cat,dog", "-i", picture, "--json"});
  EXPECT_EQ(run.exit_status, 0);
  EXPECT_EQ(run.err, "");
  const json line = json::parse(run.out);
  EXPECT_EQ(line["event"], "ranking");
  EXPECT_EQ(line["file"], picture);
  EXPECT_EQ(line["top"], json::parse(R"([{"rank":1,"index":0,"name":"cat","probability":0.5,
      "score":-1.0,"log_prob":-2.0,"num_tokens":2},{"rank":2,"index":1,"name":"dog",
      "probability":0.25,"score":-2.0,"log_prob":-4.0,"num_tokens":2}])"));
  EXPECT_FALSE(line.contains("scores"));
  const json all = json::parse(Run({"classify", "--names", "cat,dog", "x", "--json", "--all"}).out);
  EXPECT_EQ(all["scores"], json::parse("[-1.0,-2.0]"));
  EXPECT_EQ(all["probabilities"], json::parse("[0.5,0.25]"));
  EXPECT_FALSE(all.contains("file"));

  const RunResult csv = Run({"classify", "--names", "cat,dog", "-i", picture, "--csv"});
  EXPECT_EQ(csv.out, absl::StrCat("file,rank,name,probability,score\n\"", picture,
                                  "\",1,cat,0.5,-1.0\n\"", picture, "\",2,dog,0.25,-2.0\n"));
  EXPECT_EQ(csv.err, "");
  EXPECT_EQ(Run({"classify", "--names", "cat,dog", "x", "--csv", "--no-probabilities"}).out,
            "file,rank,name,probability,score\n,1,cat,,-1.0\n,2,dog,,-2.0\n");
}

TEST_F(ClassificationCommandsTest, HasALineForEachOfManyPictures) {
  for (const char* name : {"b.png", "a.png", "c.jpg"}) Write(name, name);
  const std::string jpg = absl::StrCat(path_, "/c.jpg");
  const RunResult run =
      Run({"classify", "--names", "cat,dog,cow", "-i", jpg, absl::StrCat(path_, "/*.png")});
  EXPECT_EQ(run.exit_status, 0);
  const std::string rest = "  cat 50.00 %  dog 25.00 %  cow 12.50 %\n";
  EXPECT_EQ(run.out, absl::StrCat(jpg, rest, path_, "/a.png", rest, path_, "/b.png", rest));
  EXPECT_THAT(run.err, MatchesRegex("3 pictures, 0 failed; 9 names; 3 contexts of 60 tokens, 54 "
                                    "cached; 21 rows computed, 15 saved; [0-9.]+ ms\n"));
}

TEST_F(ClassificationCommandsTest, KeepsTheOrderOfHundredsOfPictures) {
  server_.classification().OnClassify(
      [](const v1::ClassifyRequest& request, v1::ClassifyResponse* response) {
        v1::ClassScore* const score = response->add_top();
        score->set_name(request.query().image().data());
        score->set_probability(1);
        return grpc::Status::OK;
      });
  std::string expected;
  for (int i = 100; i < 400; ++i) {
    const std::string file = Write(absl::StrCat(i, ".png"), absl::StrCat("bytes", i));
    absl::StrAppend(&expected, file, "  bytes", i, " 100.00 %\n");
  }
  // Sent as bytes, so that the answer can tell what it saw.
  EXPECT_EQ(Run({"classify", "--class-set", "x", "-i", absl::StrCat(path_, "/*")}).out, expected);
}

TEST_F(ClassificationCommandsTest, PutsErrorsOnLinesOfTheirOwn) {
  server_.classification().OnClassify(
      [](const v1::ClassifyRequest& request, v1::ClassifyResponse* response) {
        if (request.query().image().data() != "BAD") return RankInOrder(request, response);
        return ToStatus({.code = grpc::StatusCode::FAILED_PRECONDITION,
                         .message = "it is \x1b[2Jcut off",
                         .reason = "IMAGE_CORRUPT"});
      });
  const std::string a = Write("a.png", "A");
  const std::string bad = Write("bad.png", "BAD");
  const std::string none = absl::StrCat(path_, "/none.png");
  const std::string z = Write("z.png", "Z");
  const std::vector<std::string> arguments = {"classify", "--names", "cat,dog", "-i",
                                              a,          bad,       none,      z};
  RunResult run = Run(arguments);
  EXPECT_EQ(run.exit_status, 1);  // That of the first.
  EXPECT_EQ(run.out,
            absl::StrCat(a, "  cat 50.00 %  dog 25.00 %\n", z, "  cat 50.00 %  dog 25.00 %\n"));
  const std::vector<std::string> err = absl::StrSplit(run.err, '\n');
  ASSERT_EQ(err.size(), 4u) << run.err;
  EXPECT_EQ(err[0], absl::StrCat("prefixctl: ", bad, ": it is \uFFFD[2Jcut off"));
  EXPECT_THAT(err[1], StartsWith(absl::StrCat("prefixctl: image ", none, ": ")));
  EXPECT_THAT(err[2], HasSubstr("4 pictures, 2 failed; 4 names; "));

  std::vector<std::string> with_json = arguments;
  with_json.push_back("--json");
  server_.ForgetImage("BAD");  // It comes as bytes again, by which the handler knows it.
  run = Run(with_json);
  EXPECT_EQ(run.exit_status, 1);
  EXPECT_EQ(run.err, "");
  std::vector<std::string> events;
  for (const absl::string_view line : absl::StrSplit(run.out, '\n', absl::SkipEmpty())) {
    const json event = json::parse(line.begin(), line.end());
    events.push_back(
        absl::StrCat(event["event"].get<std::string>(), " ",
                     std::filesystem::path(event["file"].get<std::string>()).filename().string(),
                     " ", event.value("reason", "")));
  }
  EXPECT_THAT(events, ElementsAre("ranking a.png ", "error bad.png IMAGE_CORRUPT",
                                  "error none.png IMAGE_UNREADABLE", "ranking z.png "));

  run = Run({"classify", "--names", "cat,dog", "--csv", "-i", none, z});
  EXPECT_EQ(run.exit_status, 6);
  EXPECT_EQ(run.out, absl::StrCat("file,rank,name,probability,score\n", z, ",1,cat,0.5,-1.0\n", z,
                                  ",2,dog,0.25,-2.0\n"));
  EXPECT_THAT(run.err, HasSubstr("2 pictures, 1 failed\n"));
}

TEST_F(ClassificationCommandsTest, SaysOnceWhatConcernsAllPictures) {
  server_.classification().OnClassify([](const v1::ClassifyRequest&, v1::ClassifyResponse*) {
    return ToStatus({.code = grpc::StatusCode::NOT_FOUND,
                     .message = "there is no classSets/pets",
                     .reason = "CLASS_SET_NOT_FOUND"});
  });
  const std::string a = Write("a.png", "A");
  const RunResult run = Run({"classify", "--class-set", "pets", "-i", a, a, a});
  EXPECT_EQ(run.exit_status, 1);
  EXPECT_EQ(run.out, "");
  EXPECT_EQ(run.err,
            "prefixctl: there is no classSets/pets\n"
            "  `prefixctl class-sets` lists those that there are; store it with `prefixctl "
            "class-sets create`\n");
}

TEST_F(ClassificationCommandsTest, EndsWithTheStatusOfItsCall) {
  const std::string a = Write("a.png", "A");
  server_.classification().EndBatchAfter(0, ToStatus({.code = grpc::StatusCode::RESOURCE_EXHAUSTED,
                                                      .message = "256 requests wait",
                                                      .reason = "QUEUE_FULL"}));
  RunResult run = Run({"classify", "--names", "cat,dog", "-i", a, a});
  EXPECT_EQ(run.exit_status, 7);
  EXPECT_EQ(run.err,
            "prefixctl: 256 requests wait\n  too many requests wait; `prefixctl ps` lists them\n");

  server_.classification().OnClassify([](const v1::ClassifyRequest&, v1::ClassifyResponse*) {
    return ToStatus({.code = grpc::StatusCode::INVALID_ARGUMENT,
                     .message = "ensemble: 9 is not in [1, 6]",
                     .reason = "PARAMETER_OUT_OF_RANGE",
                     .violations = {{"ensemble", "9 is not in [1, 6]"}}});
  });
  run = Run({"classify", "--names", "cat,dog", "-i", a, "--ensemble", "9"});
  EXPECT_EQ(run.exit_status, 6);
  EXPECT_EQ(run.err, "prefixctl: --ensemble: 9 is not in [1, 6]\n");
  EXPECT_EQ(run.out, "");
  EXPECT_EQ(json::parse(Run({"classify", "--names", "a,b", "x", "--json"}).out)["reason"],
            "PARAMETER_OUT_OF_RANGE");
  EXPECT_EQ(
      RunPrefixctl({"classify", "--names", "a,b", "x", "--server", "127.0.0.1:1"}).exit_status, 3);
}

TEST_F(ClassificationCommandsTest, SaysWhatIsWrongBeforeItAsks) {
  RunResult run = Run({"classify", "--names", "cat", "x"});
  EXPECT_EQ(run.exit_status, 6);
  EXPECT_EQ(run.err, "prefixctl: at least 2 names are needed, there is 1\n");
  run = Run({"classify", "--names", "a,b", "-i", absl::StrCat(path_, "/*.gif")});
  EXPECT_EQ(run.exit_status, 6);
  EXPECT_EQ(run.err, absl::StrCat("prefixctl: no file matches ", path_, "/*.gif\n"));
  run = Run({"classify", "--names", "a,b", "-i", absl::StrCat(path_, "/none.png")});
  EXPECT_EQ(run.exit_status, 6);
  EXPECT_THAT(run.err, HasSubstr("check the path and its permissions"));
  EXPECT_EQ(Run({"classify", "x"}).exit_status, 2);
  EXPECT_THAT(server_.classification().requests(), IsEmpty());
}

TEST_F(ClassificationCommandsTest, ShakesHandsOverPicturesSilently) {
  const std::string a = Write("a.png", "A");
  const std::string b = Write("b.png", "B");
  for (int i = 0; i < 2; ++i) {
    EXPECT_EQ(Run({"classify", "--names", "cat,dog", "-i", a, b}).exit_status, 0);
  }
  const std::vector<v1::ClassifyRequest> requests = server_.classification().requests();
  ASSERT_EQ(requests.size(), 6u);  // Two digests, two pictures, two digests.
  for (const int i : {0, 4, 5}) {
    EXPECT_EQ(requests[static_cast<size_t>(i)].query().image().data(), "");
  }
}

TEST_F(ClassificationCommandsTest, FitsIntoANarrowTerminal) {
  const std::string picture = Write("a.png", "PNG");
  const std::vector<std::string> arguments = {"classify", "--names",    "a cat,dog", "-i",
                                              picture,    "--no-color", "--quiet"};
  EXPECT_EQ(RunOnTerminal(arguments, 34),
            "RANK  NAME   PROBABILITY    SCORE\n"
            "1     a cat      50.00 %  -1.0000\n"
            "2     dog        25.00 %  -2.0000\n");
  EXPECT_EQ(RunOnTerminal({"classify", "--names", "a cat,dog", "-i", picture, picture, "--no-color",
                           "--quiet"},
                          34),
            absl::StrCat("…", picture.substr(picture.size() - 16), "  a cat 50.00 %\n", "…",
                         picture.substr(picture.size() - 16), "  a cat 50.00 %\n"));
}

TEST_F(ClassificationCommandsTest, ColoursOnlyOnATerminal) {
  const std::vector<std::string> arguments = {"classify", "--names", "cat,dog,cow", "x"};
  EXPECT_THAT(RunOnTerminal(arguments, 80), HasSubstr("\033[0;1mcat\033[0m"));
  std::vector<std::string> plain = arguments;
  plain.push_back("--no-color");
  EXPECT_EQ(RunOnTerminal(plain, 80), absl::StrCat(kTable, kSummary));
  EXPECT_THAT(Run(arguments).out, Not(HasSubstr("\033")));
}

TEST_F(ClassificationCommandsTest, NeverShowsControlCharactersOfNames) {
  const std::string names = Write("names.txt",
                                  "c\x1b[2Jat\ndog\xC2\x9B"
                                  "2J\n");
  for (const char* const format : {"--no-color", "--csv", "--json"}) {
    const std::string shown =
        RunOnTerminal({"classify", "--names-file", names, "x", "--no-color", format}, 80);
    EXPECT_THAT(shown, Not(HasSubstr("\x1b"))) << format;
    EXPECT_THAT(shown, Not(HasSubstr("\xC2\x9B"))) << format;
    EXPECT_THAT(shown, HasSubstr("[2Jat")) << format;
  }
  // In a pipe the names are exact.
  EXPECT_THAT(Run({"classify", "--names-file", names, "x", "--csv"}).out,
              HasSubstr(",c\x1b[2Jat,"));
}

TEST_F(ClassificationCommandsTest, CreatesAndShowsClassSets) {
  Write("a.jpg", "JPEG");
  const std::string solved =
      Write("solved.jsonl", "{\"image\":\"a.jpg\",\"label\":\"cat\"}\n{\"label\":\"dog\"}\n");
  const RunResult run = Run({"class-sets", "create", "pets", "--names", "cat,dog,cow", "--question",
                             "What?", "--label-prefix", " ", "--plain", "--separator", "\n\n",
                             "--demonstrations", solved, "--shots", "1", "--null-text", "N/A"});
  EXPECT_EQ(run.exit_status, 0) << run.err;
  EXPECT_EQ(run.out, "classSets/pets\n");
  EXPECT_EQ(run.err,
            "3 names, 2 rows a ranking; rank them with `prefixctl classify --class-set "
            "classSets/pets -i FILE`\n");
  const v1::CreateClassSetRequest request = server_.classification().creates().back();
  EXPECT_EQ(request.class_set_id(), "pets");
  EXPECT_THAT(request.names(), ElementsAre("cat", "dog", "cow"));
  EXPECT_EQ(request.label_prefix(), " ");
  EXPECT_EQ(request.prompt().question(), "What?");
  EXPECT_TRUE(request.prompt().plain());
  EXPECT_EQ(request.prompt().separator(), "\n\n");
  ASSERT_EQ(request.demonstrations_size(), 2);
  EXPECT_EQ(request.demonstrations(0).image().data(), "JPEG");
  EXPECT_EQ(request.demonstrations(1).label(), "dog");
  EXPECT_EQ(request.num_shots(), 1);
  EXPECT_EQ(request.null_text(), "N/A");

  ASSERT_EQ(Run({"class-sets", "create", "plants", "--names", "oak,elm", "--json"}).exit_status, 0);
  const std::string table =
      "CLASS SET         NAMES  TOKENS  ROWS  EXAMPLES  SHOTS  SIZE     REQUESTS  AGE\n"
      "classSets/pets    3      6       2     2         1      1.5 KiB  4         1m30s\n"
      "classSets/plants  2      4       1     0         -      1.5 KiB  4         1m30s\n";
  EXPECT_EQ(Run({"class-sets"}).out, table);
  EXPECT_EQ(Run({"class-sets", "list"}).out, table);
  EXPECT_EQ(Run({"class-sets", "get", "plants"}).out,
            "name            classSets/plants\n"
            "names           2 of 4 tokens together\n"
            "rows            1 beside the context for one ranking\n"
            "question        \"\"\n"
            "label prefix    \"\"\n"
            "demonstrations  0\n"
            "size            1.5 KiB\n"
            "requests        4\n"
            "age             1m30s\n"
            "                oak, elm\n");
  EXPECT_EQ(Run({"class-sets", "get", "classSets/plants", "--names-only"}).out, "oak\nelm\n");
  EXPECT_EQ(json::parse(Run({"class-sets", "get", "plants", "--json"}).out)["names"],
            json::parse(R"(["oak","elm"])"));
  const RunResult list = Run({"class-sets", "--json"});
  EXPECT_EQ(std::count(list.out.begin(), list.out.end(), '\n'), 2);
}

TEST_F(ClassificationCommandsTest, DeletesClassSets) {
  EXPECT_EQ(Run({"class-sets"}).err, "no class sets\n");
  ASSERT_EQ(Run({"class-sets", "create", "pets", "--names", "cat,dog"}).exit_status, 0);
  RunResult run = Run({"class-sets", "create", "pets", "--names", "cat,dog"});
  EXPECT_EQ(run.exit_status, 1);
  EXPECT_EQ(run.err,
            "prefixctl: classSets/pets exists\n"
            "  choose another id, or forget the other with `prefixctl class-sets delete`\n");
  EXPECT_EQ(Run({"class-sets", "delete", "pets"}).err, "deleted\n");
  for (const char* const command : {"get", "delete"}) {
    run = Run({"class-sets", command, "pets"});
    EXPECT_EQ(run.exit_status, 1);
    EXPECT_EQ(run.err,
              "prefixctl: there is no classSets/pets\n"
              "  `prefixctl class-sets` lists those that there are; store it with `prefixctl "
              "class-sets create`\n");
  }
  EXPECT_EQ(json::parse(Run({"class-sets", "get", "pets", "--json"}).out)["reason"],
            "CLASS_SET_NOT_FOUND");
}

TEST_F(ClassificationCommandsTest, ScoresTexts) {
  server_.classification().OnScore(
      [](const v1::ScoreRequest& request, v1::ScoreResponse* response) {
        for (const v1::Continuation& continuation : request.continuations()) {
          v1::ScoredContinuation* const scored = response->add_continuations();
          scored->set_log_prob(-1.5);
          scored->add_tokens()->set_token(continuation.text());
          scored->mutable_tokens(0)->set_log_prob(-1.5);
        }
        if (request.echo()) response->add_prompt()->set_token("<s>");
        response->mutable_usage()->set_prompt_tokens(20);
        return grpc::Status::OK;
      });
  const std::string picture = Write("a.png", "PNG");
  const RunResult run = Run({"score", "-i", picture, "What?", "--continuation", "A cat.",
                             "--continuation", "A dog.", "--prompt-logprobs", "--system", "s",
                             "--mode", "packed", "--prefix", "p", "--model", "demo"});
  EXPECT_EQ(run.exit_status, 0);
  EXPECT_EQ(run.out,
            "  LOG PROB        MEAN  TOKENS  CONTINUATION\n"
            "   -1.5000     -1.5000       1  \"A cat.\"\n"
            "  \"A cat.\" -1.5000\n"
            "   -1.5000     -1.5000       1  \"A dog.\"\n"
            "  \"A dog.\" -1.5000\n"
            "PROMPT\n"
            "  \"<s>\" -\n");
  EXPECT_EQ(run.err, "context 20 tokens, 0 cached; 0 rows computed, 0 saved; 0.0 ms\n");
  const v1::ScoreRequest request = server_.classification().scores().back();
  EXPECT_EQ(request.chat().messages(0).role(), v1::ROLE_SYSTEM);
  EXPECT_EQ(request.chat().messages(1).parts(0).image().data(), "PNG");
  EXPECT_EQ(request.chat().messages(1).parts(1).text(), "What?");
  EXPECT_TRUE(request.echo());
  EXPECT_EQ(request.prefix(), "prefixes/p");
  EXPECT_EQ(request.mode(), v1::SCORING_MODE_PACKED);
  EXPECT_EQ(request.model(), "demo");

  EXPECT_EQ(Run({"score", "Once", "--raw", "--continuation", " upon"}).exit_status, 0);
  EXPECT_EQ(server_.classification().scores().back().prompt().parts(0).text(), "Once");
  const json line = json::parse(Run({"score", "x", "--continuation", "y", "--json"}).out);
  EXPECT_EQ(line["event"], "scores");
  EXPECT_EQ(line["continuations"][0]["text"], "y");
  EXPECT_EQ(line["continuations"][0]["tokens"][0]["logprob"], -1.5);
  EXPECT_EQ(Run({"score", "x"}).exit_status, 2);
}

}  // namespace
}  // namespace prefixd::testing
