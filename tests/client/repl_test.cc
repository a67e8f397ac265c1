// The conversation of prefixctl on a terminal, against a server in this process.
#include <atomic>
#include <filesystem>
#include <fstream>
#include <memory>

#include <gtest/gtest.h>

#include "absl/strings/match.h"
#include "absl/time/clock.h"
#include "tests/client/fake_server.h"
#include "tests/client/run_prefixctl.h"

namespace prefixd::testing {
namespace {

constexpr char kPrompt[] = ">>> ";
constexpr char kCtrlC[] = "\x03";
constexpr char kCtrlD[] = "\x04";

class ReplTest : public ::testing::Test {
 protected:
  Prefixctl Start(std::vector<std::string> arguments = {}, int columns = 80) {
    arguments.insert(arguments.begin(), {"run", "--server", server_.address()});
    return Prefixctl::OnTerminal(arguments, columns);
  }

  // An answer that goes on until the call is cancelled, which the result then says. The server's
  // thread may outlive the test's body, so both hold it.
  std::shared_ptr<std::atomic<bool>> AnswerEndlessly() {
    auto cancelled = std::make_shared<std::atomic<bool>>(false);
    server_.OnGenerate(
        [cancelled](grpc::ServerContext* context, const v1::GenerateRequest&, Writer* writer) {
          v1::GenerateResponse event;
          event.mutable_delta()->set_text("and so on ");
          const absl::Time end = absl::Now() + absl::Seconds(20);
          while (!context->IsCancelled() && absl::Now() < end && writer->Write(event)) {
            absl::SleepFor(absl::Milliseconds(20));
          }
          *cancelled = true;
          return grpc::Status::OK;
        });
    return cancelled;
  }

  FakeServer server_;
};

TEST_F(ReplTest, HoldsAConversation) {
  Prefixctl program = Start();
  ASSERT_TRUE(program.WaitFor(kPrompt));
  program.Type("What is it?\n");
  ASSERT_TRUE(program.WaitFor("It is a cat."));
  ASSERT_TRUE(program.WaitFor(kPrompt));
  program.Type("Sure?\n");
  ASSERT_TRUE(program.WaitFor("It is a cat."));
  ASSERT_TRUE(program.WaitFor(kPrompt));
  program.Type("/bye\n");
  EXPECT_EQ(program.Wait().exit_status, 0);
  const v1::ChatInput chat = server_.last_request().chat();
  ASSERT_EQ(chat.messages_size(), 3);
  EXPECT_EQ(chat.messages(0).parts(0).text(), "What is it?");
  EXPECT_EQ(chat.messages(1).parts(0).text(), "It is a cat.");
  EXPECT_EQ(chat.messages(2).parts(0).text(), "Sure?");
}

TEST_F(ReplTest, SendsThePictureOnce) {
  const std::string path = ::testing::TempDir() + "/repl_test_picture.png";
  std::ofstream(path, std::ios::binary) << "PNG";
  Prefixctl program = Start({"-i", path, "--prefix", "cat", "--no-cache", "--verbose"});
  for (const char* const question : {"What is it?\n", "Sure?\n", "Really?\n"}) {
    ASSERT_TRUE(program.WaitFor(kPrompt));
    program.Type(question);
    ASSERT_TRUE(program.WaitFor("cached 4/20 tokens (20 %), image: cached"));
  }
  ASSERT_TRUE(program.WaitFor(kPrompt));
  program.Type("/bye\n");
  EXPECT_EQ(program.Wait().exit_status, 0);
  std::filesystem::remove(path);
  int sent = 0;
  for (const v1::GenerateRequest& request : server_.requests()) {
    EXPECT_EQ(request.prefix(), "prefixes/cat");
    EXPECT_TRUE(request.bypass_prefix_cache());
    sent += request.chat().messages(0).parts(0).image().data() == "PNG" ? 1 : 0;
  }
  EXPECT_EQ(server_.requests().size(), 4u);  // The first question twice: digest, then bytes.
  EXPECT_EQ(sent, 1);
}

TEST_F(ReplTest, ForgetsSetsAndHelps) {
  Prefixctl program = Start();
  ASSERT_TRUE(program.WaitFor(kPrompt));
  program.Type("a\n");
  ASSERT_TRUE(program.WaitFor("cat."));
  ASSERT_TRUE(program.WaitFor(kPrompt));
  program.Type("/help\n");
  ASSERT_TRUE(program.WaitFor("/image FILE"));
  ASSERT_TRUE(program.WaitFor(kPrompt));
  program.Type("/clear\n");
  ASSERT_TRUE(program.WaitFor("forgotten"));
  ASSERT_TRUE(program.WaitFor(kPrompt));
  program.Type("/set seed 7\n");
  ASSERT_TRUE(program.WaitFor(kPrompt));
  program.Type("/image /nowhere.png\n");
  ASSERT_TRUE(program.WaitFor("image /nowhere.png: "));
  ASSERT_TRUE(program.WaitFor(kPrompt));
  program.Type("/claer\n");
  ASSERT_TRUE(program.WaitFor("did you mean /clear?"));
  ASSERT_TRUE(program.WaitFor(kPrompt));
  program.Type("b\n");
  ASSERT_TRUE(program.WaitFor("cat."));
  ASSERT_TRUE(program.WaitFor(kPrompt));
  program.Type(kCtrlD);
  EXPECT_EQ(program.Wait().exit_status, 0);
  EXPECT_EQ(server_.last_request().chat().messages_size(), 1);
  EXPECT_EQ(server_.last_request().sampling().seed(), 7u);
}

TEST_F(ReplTest, TakesAQuestionOfSeveralLines) {
  Prefixctl program = Start();
  ASSERT_TRUE(program.WaitFor(kPrompt));
  program.Type("\"\"\"one\n");
  ASSERT_TRUE(program.WaitFor("... "));
  program.Type("two\"\"\"\n");
  ASSERT_TRUE(program.WaitFor("cat."));
  EXPECT_EQ(server_.last_request().chat().messages(0).parts(0).text(), "one\ntwo");
}

TEST_F(ReplTest, StopsAnAnswerAtTheFirstCtrlCAndGoesOn) {
  const std::shared_ptr<std::atomic<bool>> cancelled = AnswerEndlessly();
  Prefixctl program = Start();
  ASSERT_TRUE(program.WaitFor(kPrompt));
  program.Type("go\n");
  ASSERT_TRUE(program.WaitFor("and so on"));
  program.Type(kCtrlC);
  ASSERT_TRUE(program.WaitFor("(stopped; this turn is forgotten)"));
  ASSERT_TRUE(program.WaitFor(kPrompt));
  server_.OnGenerate(AnswerWith({"Still here."}));
  program.Type("again\n");
  ASSERT_TRUE(program.WaitFor("Still here."));
  EXPECT_EQ(server_.last_request().chat().messages_size(), 1);
}

TEST_F(ReplTest, LeavesAtTwoCtrlCs) {
  Prefixctl program = Start();
  ASSERT_TRUE(program.WaitFor(kPrompt));
  program.Type(kCtrlC);
  ASSERT_TRUE(program.WaitFor("to leave"));
  ASSERT_TRUE(program.WaitFor(kPrompt));
  program.Type(kCtrlC);
  EXPECT_EQ(program.Wait().exit_status, 130);
}

TEST_F(ReplTest, GoesOnAfterAnError) {
  server_.OnGenerate(RefuseWith({.message = "too much", .reason = "CONTEXT_LENGTH_EXCEEDED"}));
  Prefixctl program = Start();
  ASSERT_TRUE(program.WaitFor(kPrompt));
  program.Type("a\n");
  ASSERT_TRUE(program.WaitFor("too much"));
  ASSERT_TRUE(program.WaitFor(kPrompt));
  program.Type("/bye\n");
  EXPECT_EQ(program.Wait().exit_status, 0);
}

TEST_F(ReplTest, WrapsAtWordsOnATerminal) {
  server_.OnGenerate(AnswerWith({"the quick bro", "wn fox jumps over"}));
  const RunResult run = Start({"hi"}, 20).Wait();
  EXPECT_EQ(run.exit_status, 0);
  EXPECT_EQ(run.out, "the quick brown fox\r\njumps over\r\n");
}

}  // namespace
}  // namespace prefixd::testing
