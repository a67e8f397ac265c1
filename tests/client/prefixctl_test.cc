// The real prefixctl against a server in this process: what scripts and people see.
#include <signal.h>
#include <stdlib.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <thread>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "tests/client/fake_server.h"
#include "tests/client/run_prefixctl.h"

namespace prefixd::testing {
namespace {

using nlohmann::json;

class PrefixctlTest : public ::testing::Test {
 protected:
  RunResult Run(std::vector<std::string> arguments, const std::string& input = "") {
    arguments.insert(arguments.end(), {"--server", server_.address()});
    return RunPrefixctl(arguments, input);
  }

  std::vector<json> RunJson(std::vector<std::string> arguments, int exit_status = 0) {
    arguments.push_back("--json");
    const RunResult run = Run(arguments);
    EXPECT_EQ(run.exit_status, exit_status) << run.err;
    EXPECT_EQ(run.err, "");
    std::vector<json> lines;
    for (const absl::string_view line : absl::StrSplit(run.out, '\n', absl::SkipEmpty())) {
      lines.push_back(json::parse(line.begin(), line.end()));
    }
    return lines;
  }

  FakeServer server_;
};

// A folder that goes away with the test.
class Folder {
 public:
  Folder() { path_ = mkdtemp(name_); }
  ~Folder() { std::filesystem::remove_all(path_); }
  std::string Write(const std::string& name, const std::string& text) const {
    const std::string path = absl::StrCat(path_, "/", name);
    std::ofstream(path, std::ios::binary) << text;
    return path;
  }
  const std::string& path() const { return path_; }

 private:
  char name_[32] = "/tmp/prefixctl_test_XXXXXX";
  std::string path_;
};

TEST_F(PrefixctlTest, PutsTheAnswerAloneOnStdout) {
  const RunResult run = Run({"run", "What is it?"});
  EXPECT_EQ(run.exit_status, 0);
  EXPECT_EQ(run.out, "It is a cat.\n");
  EXPECT_EQ(run.err, "");
}

TEST_F(PrefixctlTest, SendsTextWithoutATemplateAndWithoutAKvCache) {
  EXPECT_EQ(Run({"run", "--raw", "Once upon"}).exit_status, 0);
  const v1::GenerateRequest raw = server_.last_request();
  EXPECT_FALSE(raw.has_chat());
  ASSERT_EQ(raw.prompt().parts_size(), 1);
  EXPECT_EQ(raw.prompt().parts(0).text(), "Once upon");
  EXPECT_EQ(raw.kv_cache(), v1::KV_CACHE_MODE_UNSPECIFIED);
  EXPECT_EQ(Run({"run", "--raw", "--system", "Be brief.", "Once upon"}).exit_status, 2);

  EXPECT_EQ(Run({"run", "--no-kv-cache", "--num-beams", "3", "--length-penalty", "0.5", "Hi"})
                .exit_status,
            0);
  const v1::GenerateRequest request = server_.last_request();
  EXPECT_TRUE(request.has_chat());
  EXPECT_EQ(request.kv_cache(), v1::KV_CACHE_MODE_DISABLED);
  EXPECT_EQ(request.sampling().num_beams(), 3);
  EXPECT_EQ(request.sampling().length_penalty(), 0.5f);
}

// The first bytes of a picture of 200 x 100 pixels: enough for its size.
std::string PictureHeader() {
  return absl::StrCat(absl::string_view("\x89PNG\r\n\x1A\n\0\0\0\x0DIHDR\0\0\0\xC8\0\0\0\x64", 24),
                      absl::string_view("\x08\x02\0\0\0\0\0\0\0", 9));
}

TEST_F(PrefixctlTest, PrintsTheBoxesOfAnAnswerAndDrawsThem) {
  const Folder folder;
  const std::string picture = folder.Write("hall.png", PictureHeader());
  const std::string svg = folder.path() + "/hall.svg";
  server_.OnGenerate(AnswerWith({"<loc0256><loc0512>", "<loc0512><loc0768>", " shoe"}));
  const RunResult run = Run({"run", "--detect", "--svg", svg, "-i", picture, "detect shoe"});
  EXPECT_EQ(run.exit_status, 0) << run.err;
  EXPECT_EQ(run.err, "");
  EXPECT_EQ(run.out, R"({"event":"detections","width":200,"height":100,"objects":[{"label":"shoe",)"
                     R"("box":{"x_min":100.0,"y_min":25.0,"x_max":150.0,"y_max":50.0},)"
                     R"("relative":{"x_min":0.5,"y_min":0.25,"x_max":0.75,"y_max":0.5},)"
                     R"("segment_tokens":0}],"problems":[]})"
                     "\n");
  std::ifstream file(svg);
  const std::string text{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  EXPECT_TRUE(absl::StrContains(text, "<rect x=\"100\" y=\"25\" width=\"50\" height=\"25\""));

  const std::vector<json> lines = RunJson({"run", "--detect", "-i", picture, "detect shoe"});
  ASSERT_GE(lines.size(), 2u);
  EXPECT_EQ(lines[lines.size() - 2]["event"], "finished");
  EXPECT_EQ(lines.back()["event"], "detections");
}

TEST_F(PrefixctlTest, DetectsInOnePictureOnly) {
  const RunResult none = Run({"run", "--detect", "detect shoe"});
  EXPECT_EQ(none.exit_status, 2);
  EXPECT_TRUE(absl::StrContains(none.err, "--detect needs exactly one picture")) << none.err;
  EXPECT_EQ(Run({"run", "--svg", "x.svg", "detect shoe"}).exit_status, 2);
  EXPECT_TRUE(server_.requests().empty());
}

TEST_F(PrefixctlTest, TakesThePromptFromAPipe) {
  EXPECT_EQ(Run({"run"}, "What is\nit?\n").exit_status, 0);
  EXPECT_EQ(server_.last_request().chat().messages(0).parts(0).text(), "What is\nit?");
}

TEST_F(PrefixctlTest, RefusesAnEmptyPromptFromAPipe) {
  const RunResult run = Run({"run"}, "");
  EXPECT_EQ(run.exit_status, 6);
  EXPECT_EQ(run.err, "prefixctl: the prompt from stdin is empty\n");
}

TEST_F(PrefixctlTest, SendsImagesInOrderFromFilesAndStdin) {
  const Folder folder;
  const std::string path = folder.Write("a.png", std::string("PNG\0bytes", 9));
  EXPECT_EQ(Run({"run", "And?", "-i", path, "-i", "-"}, "JPEG").exit_status, 0);
  const v1::ChatMessage message = server_.last_request().chat().messages(0);
  ASSERT_EQ(message.parts_size(), 3);
  EXPECT_EQ(message.parts(0).image().data(), std::string("PNG\0bytes", 9));
  EXPECT_EQ(message.parts(1).image().data(), "JPEG");
  EXPECT_EQ(message.parts(2).text(), "And?");
}

TEST_F(PrefixctlTest, SendsEveryFlag) {
  EXPECT_EQ(
      Run({"run",           "hi", "--model", "demo", "--system", "Be brief.", "--max-tokens", "7",
           "--temperature", "0",  "--top-p", "0.5",  "--top-k",  "3",         "--seed",       "9",
           "--logprobs",    "2",  "--stop",  "END"})
          .exit_status,
      0);
  const v1::GenerateRequest request = server_.last_request();
  EXPECT_EQ(request.model(), "demo");
  EXPECT_EQ(request.chat().messages(0).role(), v1::ROLE_SYSTEM);
  EXPECT_EQ(request.stopping().max_tokens(), 7);
  EXPECT_EQ(request.stopping().stop(0), "END");
  EXPECT_TRUE(request.sampling().has_temperature());
  EXPECT_FLOAT_EQ(request.sampling().top_p(), 0.5f);
  EXPECT_EQ(request.sampling().top_k(), 3);
  EXPECT_EQ(request.sampling().seed(), 9u);
  EXPECT_EQ(request.output().logprobs(), 2);
}

TEST_F(PrefixctlTest, WritesEachEventAsALineOfJson) {
  const std::vector<json> lines = RunJson({"run", "hi"});
  ASSERT_EQ(lines.size(), 5u);
  EXPECT_EQ(lines[0]["event"], "started");
  EXPECT_EQ(lines[0]["request_id"], "req-1");
  EXPECT_EQ(lines[0]["seed"], 42);
  EXPECT_EQ(lines[1], json({{"event", "delta"}, {"index", 0}, {"text", "It is "}}));
  EXPECT_EQ(lines[3]["event"], "choice_finished");
  EXPECT_EQ(lines[4], json::parse(R"({"event":"finished","text":"It is a cat.",
      "finish_reason":"eos",
      "usage":{"prompt_tokens":20,"cached_prompt_tokens":4,"image_tokens":9,"completion_tokens":2},
      "timings_ms":{"queue":1.0,"prefill":20.0,"first_token":22.5,"total":40.0},
      "receipt":{"model":"demo","model_digest":"","seed":42,"server_version":"","backend":"",
        "kv_dtype":"","activation_dtype":"",
        "retention":{"scope":"off","policy":"","profile":"","budget":1.0,"selected_from":0,
          "kept_tokens":[],"score_mass":0.0,"snapshot_hit":false,"decode_drops":0,
          "saved_kv_bytes":0},
        "cache":{"hit_tokens":4,"computed_tokens":16,"evicted_tokens":0,"images":1,
          "images_in_prefix":0,"feature_hits":1,"images_encoded":0,"decode_hits":0,"kv_bytes":0,
          "shared_kv_bytes":0,"miss":"diverged","preemptions":0}}})"));
}

TEST_F(PrefixctlTest, ShowsUsageWhenAsked) {
  const RunResult run = Run({"run", "hi", "--verbose"});
  EXPECT_EQ(run.out, "It is a cat.\n");
  EXPECT_TRUE(absl::StartsWith(run.err, "prompt 20 tokens (image 9, cached 4), answer 2 tokens"))
      << run.err;
  EXPECT_TRUE(
      absl::EndsWith(run.err,
                     "\ncached 4/20 tokens (20 %), image: cached; the rest differs from what is "
                     "cached\n"))
      << run.err;
}

TEST_F(PrefixctlTest, AsksForRetentionAndTellsWhatRan) {
  const RunResult run = Run({"run", "hi", "--verbose", "--retention", "exact", "--budget", "0.2"});
  EXPECT_EQ(server_.last_request().retention().ShortDebugString(),
            "scope: RETENTION_SCOPE_EXACT budget: 0.2");
  EXPECT_TRUE(absl::EndsWith(run.err, "\nretention exact 20 %: nothing was selected\n")) << run.err;
}

TEST_F(PrefixctlTest, MapsStatusesToExitCodes) {
  const auto exit_status = [this](grpc::StatusCode code, const std::string& reason) {
    server_.OnGenerate(RefuseWith({.code = code, .message = "no", .reason = reason}));
    return Run({"run", "hi"}).exit_status;
  };
  using grpc::StatusCode;
  EXPECT_EQ(exit_status(StatusCode::INTERNAL, "ENGINE_FAILED"), 1);
  EXPECT_EQ(exit_status(StatusCode::NOT_FOUND, "MODEL_NOT_FOUND"), 1);
  EXPECT_EQ(exit_status(StatusCode::UNAVAILABLE, "DRAINING"), 3);
  EXPECT_EQ(exit_status(StatusCode::UNAVAILABLE, "MODEL_NOT_READY"), 4);
  EXPECT_EQ(exit_status(StatusCode::DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED"), 5);
  EXPECT_EQ(exit_status(StatusCode::INVALID_ARGUMENT, "INPUT_INVALID"), 6);
  EXPECT_EQ(exit_status(StatusCode::RESOURCE_EXHAUSTED, "QUEUE_FULL"), 7);
}

TEST_F(PrefixctlTest, ExplainsAnErrorOnStderrWithTheNextStep) {
  server_.OnGenerate(RefuseWith({.message = "the prompt has 3000 tokens, the context 2048",
                                 .reason = "CONTEXT_LENGTH_EXCEEDED",
                                 .request_id = "req-9"}));
  const RunResult run = Run({"run", "hi"});
  EXPECT_EQ(run.out, "");
  EXPECT_EQ(run.err,
            "prefixctl: the prompt has 3000 tokens, the context 2048 (request req-9)\n"
            "  shorten the prompt; `prefixctl count` counts its tokens\n");
}

TEST_F(PrefixctlTest, WritesAnErrorAsALineOfJson) {
  server_.OnGenerate(RefuseWith({.message = "bad",
                                 .reason = "PARAMETER_OUT_OF_RANGE",
                                 .metadata = {{"field", "sampling.top_p"}},
                                 .violations = {{"sampling.top_p", "7 is not in (0, 1]"}},
                                 .request_id = "req-9"}));
  const std::vector<json> lines = RunJson({"run", "hi"}, 6);
  ASSERT_EQ(lines.size(), 1u);
  EXPECT_EQ(lines[0], json::parse(R"({"event":"error","code":"INVALID_ARGUMENT",
      "reason":"PARAMETER_OUT_OF_RANGE","message":"bad","metadata":{"field":"sampling.top_p"},
      "retry_after_ms":null,"request_id":"req-9",
      "field_violations":[{"field":"sampling.top_p","description":"7 is not in (0, 1]"}]})"));
}

TEST_F(PrefixctlTest, SaysHowFarAModelIsThatStillLoads) {
  server_.SetReady(false);
  server_.SetLoad(62'000'000, 100'000'000);
  server_.OnGenerate(RefuseWith({.code = grpc::StatusCode::UNAVAILABLE,
                                 .message = "not ready",
                                 .reason = "MODEL_NOT_READY"}));
  const RunResult run = Run({"run", "hi"});
  EXPECT_EQ(run.exit_status, 4);
  EXPECT_EQ(run.err,
            "prefixctl: model still loading: 62 % (62.0 of 100.0 MB)\n  use `prefixctl wait`\n");
}

TEST_F(PrefixctlTest, RefusesAnImageThatIsNotThere) {
  const RunResult run = Run({"run", "hi", "-i", "/nowhere/cat.png"});
  EXPECT_EQ(run.exit_status, 6);
  EXPECT_TRUE(absl::StartsWith(run.err, "prefixctl: image /nowhere/cat.png: ")) << run.err;
  EXPECT_TRUE(server_.requests().empty());
}

TEST_F(PrefixctlTest, ExitsWith3WithoutAServer) {
  const RunResult run = RunPrefixctl({"run", "hi", "--server", "127.0.0.1:1"});
  EXPECT_EQ(run.exit_status, 3);
  EXPECT_TRUE(absl::StartsWith(run.err, "prefixctl: cannot reach prefixd at 127.0.0.1:1: "))
      << run.err;
}

TEST_F(PrefixctlTest, ExitsWith2ForWrongUsage) {
  EXPECT_EQ(RunPrefixctl({"run", "a", "b"}).exit_status, 2);
  EXPECT_EQ(RunPrefixctl({"run", "a", "--server", "nowhere"}).exit_status, 2);
  EXPECT_EQ(RunPrefixctl({}).exit_status, 2);
}

TEST_F(PrefixctlTest, ExitsWith5AfterItsTimeout) {
  server_.OnGenerate([](grpc::ServerContext* context, const v1::GenerateRequest&, Writer*) {
    const absl::Time end = absl::Now() + absl::Seconds(20);
    while (!context->IsCancelled() && absl::Now() < end) absl::SleepFor(absl::Milliseconds(5));
    return grpc::Status::OK;
  });
  EXPECT_EQ(Run({"run", "hi", "--timeout", "200ms"}).exit_status, 5);
}

TEST_F(PrefixctlTest, FailsWhenTheStreamLacksItsLastEvent) {
  server_.OnGenerate([](grpc::ServerContext*, const v1::GenerateRequest&, Writer* writer) {
    v1::GenerateResponse event;
    event.mutable_delta()->set_text("half");
    writer->Write(event);
    return grpc::Status::OK;
  });
  const RunResult run = Run({"run", "hi"});
  EXPECT_EQ(run.exit_status, 1);
  EXPECT_EQ(run.out, "half\n");
}

TEST_F(PrefixctlTest, CancelsTheCallAtCtrlC) {
  std::atomic<bool> cancelled = false;
  server_.OnGenerate(
      [&cancelled](grpc::ServerContext* context, const v1::GenerateRequest&, Writer* writer) {
        v1::GenerateResponse event;
        event.mutable_delta()->set_text("and ");
        writer->Write(event);
        const absl::Time end = absl::Now() + absl::Seconds(20);
        while (!context->IsCancelled() && absl::Now() < end) absl::SleepFor(absl::Milliseconds(5));
        cancelled = context->IsCancelled();
        return grpc::Status::OK;
      });
  Prefixctl program({"run", "hi", "--server", server_.address()});
  ASSERT_TRUE(program.WaitFor("and "));
  program.Signal(SIGINT);
  EXPECT_EQ(program.Wait().exit_status, 130);
  for (int i = 0; i < 1000 && !cancelled; ++i) absl::SleepFor(absl::Milliseconds(5));
  EXPECT_TRUE(cancelled);
}

TEST_F(PrefixctlTest, ListsModels) {
  EXPECT_EQ(Run({"models"}).out,
            "NAME   STATE    FAMILY  WEIGHTS  SIZE    CONTEXT  IMAGES\n"
            "demo   serving  llava   bf16     6.5 MB  2048     yes\n"
            "other  serving  llava   bf16     6.5 MB  2048     yes\n");
  const std::vector<json> lines = RunJson({"models", "list"});
  ASSERT_EQ(lines.size(), 2u);
  EXPECT_EQ(lines[0]["name"], "demo");
  EXPECT_EQ(lines[0]["state"], "serving");
}

TEST_F(PrefixctlTest, ShowsOneModel) {
  EXPECT_TRUE(absl::StrContains(Run({"models", "show"}).out, "name            demo\n"));
  EXPECT_TRUE(absl::StrContains(Run({"models", "show"}).out, "policies        prefixkv, h2o\n"));
  EXPECT_EQ(RunJson({"models", "show", "demo"})[0]["family"], "llava");
  const RunResult run = Run({"models", "show", "nothing"});
  EXPECT_EQ(run.exit_status, 1);
  EXPECT_EQ(run.err,
            "prefixctl: no model named nothing\n  `prefixctl models` lists what is served\n");
}

TEST_F(PrefixctlTest, ListsRequests) {
  EXPECT_EQ(Run({"ps"}).err, "no requests\n");
  EXPECT_EQ(Run({"ps", "--quiet"}).err, "");
  server_.AddRequest("req-1", v1::REQUEST_STATE_DECODE);
  const RunResult run = Run({"ps"});
  EXPECT_EQ(run.out,
            "REQUEST  STATE   TENANT  PRIORITY  PROMPT  CACHED  COMPUTED  GENERATED  KV PAGES  "
            "POSITIONS  PREEMPTED  AGE\n"
            "req-1    decode  -       -1        171     144     0         5          0         "
            "160        2          3.0 s\n");
  EXPECT_EQ(run.err, "1 running, 0 waiting\n");
  EXPECT_EQ(RunJson({"ps"})[0]["state"], "decode");
  EXPECT_EQ(RunJson({"ps"})[0]["cached_tokens"], 144);
  EXPECT_EQ(RunJson({"ps"})[0]["cached_positions"], 160);
}

TEST_F(PrefixctlTest, CountsTokens) {
  EXPECT_EQ(Run({"count", "hi"}).out, "171 tokens, 144 of them for 1 image\n");
  EXPECT_EQ(RunJson({"count", "hi"})[0]["prompt_tokens"], 171);
}

TEST_F(PrefixctlTest, TellsHealthByItsExitCode) {
  EXPECT_EQ(Run({"health"}).exit_status, 0);
  EXPECT_EQ(Run({"health"}).out, "SERVING\n");
  server_.SetReady(false);
  EXPECT_EQ(Run({"health"}).exit_status, 4);
  EXPECT_EQ(RunJson({"health"}, 4)[0], json({{"service", "ready"}, {"status", "NOT_SERVING"}}));
  EXPECT_EQ(RunPrefixctl({"health", "--server", "127.0.0.1:1"}).exit_status, 3);
}

TEST_F(PrefixctlTest, WaitsUntilTheServerIsReady) {
  server_.SetReady(false);
  server_.SetLoad(62'000'000, 100'000'000);
  std::jthread loader([this] {
    absl::SleepFor(absl::Milliseconds(300));
    server_.SetReady(true);
  });
  const RunResult run = Run({"wait", "--timeout", "20"});
  EXPECT_EQ(run.exit_status, 0);
  EXPECT_EQ(run.err, "loading: 62 % (62.0 of 100.0 MB)\nready\n");
}

TEST_F(PrefixctlTest, StopsWaitingAfterItsTimeout) {
  server_.SetReady(false);
  EXPECT_EQ(Run({"wait", "--timeout", "300ms"}).exit_status, 4);
  EXPECT_EQ(RunPrefixctl({"wait", "--timeout", "300ms", "--server", "127.0.0.1:1"}).exit_status, 3);
}

TEST_F(PrefixctlTest, ShowsBothVersions) {
  const json line = RunJson({"version"})[0];
  EXPECT_EQ(line["client"], PREFIXD_VERSION);
  EXPECT_EQ(line["server"], "9.8.7");
  const RunResult alone = RunPrefixctl({"version", "--server", "127.0.0.1:1"});
  EXPECT_EQ(alone.exit_status, 0);
  EXPECT_EQ(alone.out, absl::StrCat("prefixctl ", PREFIXD_VERSION, "\n"));
}

TEST_F(PrefixctlTest, DoctorFindsAServerThatIsWell) {
  const RunResult run = Run({"doctor"});
  EXPECT_EQ(run.exit_status, 0) << run.out;
  EXPECT_TRUE(absl::StrContains(run.out, "[ok  ] server: prefixd 9.8.7 at ")) << run.out;
}

TEST_F(PrefixctlTest, DoctorTellsAFreePort) {
  const RunResult run = RunPrefixctl({"doctor", "--server", "127.0.0.1:1"});
  EXPECT_EQ(run.exit_status, 1);
  EXPECT_TRUE(absl::StrContains(run.out,
                                "[fail] server: nothing listens on 127.0.0.1:1\n"
                                "       fix: the port is free: prefixd --model DIR --listen "
                                "127.0.0.1:1\n"))
      << run.out;
}

TEST_F(PrefixctlTest, DoctorLooksIntoAModelDirectory) {
  const Folder folder;
  folder.Write("config.json", "{}");
  folder.Write("tokenizer.json", "{ cut off");
  const RunResult run = Run({"doctor", "--model-dir", folder.path()});
  EXPECT_EQ(run.exit_status, 1);
  EXPECT_TRUE(absl::StrContains(run.out, "[ok  ] config.json: there\n")) << run.out;
  EXPECT_TRUE(absl::StrContains(run.out, "[fail] tokenizer.json: ")) << run.out;
  EXPECT_TRUE(absl::StrContains(run.out, "[fail] weights: no *.safetensors files\n")) << run.out;
  EXPECT_EQ(Run({"doctor", "--model-dir", "/nowhere"}).exit_status, 1);
}

}  // namespace
}  // namespace prefixd::testing
