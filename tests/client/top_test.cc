// The real `prefixctl top`: one frame in a pipe; on a terminal whatever ends it gives the terminal
// back as it was.
#include <signal.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/client/fake_server.h"
#include "tests/client/run_prefixctl.h"

namespace prefixd::testing {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

constexpr char kEnter[] = "\033[?1049h";
constexpr char kLeave[] = "\033[?1049l";

class TopTest : public ::testing::Test {
 protected:
  TopTest() {
    v1::GetCacheStatsResponse stats;
    stats.set_total_pages(20);
    stats.set_free_pages(12);
    stats.set_active_pages(8);
    server_.SetCacheStats(stats);
    server_.AddRequest("req-1", v1::REQUEST_STATE_DECODE);
  }
  // Started, and the first frame is there.
  Prefixctl Open() {
    Prefixctl top =
        Prefixctl::OnTerminal({"top", "--interval", "0.1", "--server", server_.address()}, 100);
    EXPECT_TRUE(top.WaitFor(kEnter));
    EXPECT_TRUE(top.WaitFor("p pause"));
    EXPECT_FALSE(top.InLineMode());
    return top;
  }
  // The screen is left and the terminal as before; then the program ends with `status`.
  void ExpectRestored(Prefixctl* top, int status) {
    EXPECT_TRUE(top->WaitFor(kLeave));
    EXPECT_TRUE(top->InLineMode());
    EXPECT_EQ(top->Wait().exit_status, status);
  }

  FakeServer server_;
};

TEST_F(TopTest, PrintsOneFrameWithoutEscapeCodesIntoAPipe) {
  for (const char* once : {"--once", "--quiet"}) {  // A pipe gets one frame in any case.
    const RunResult run =
        RunPrefixctl({"top", once, "--interval", "0.1", "--server", server_.address()});
    EXPECT_EQ(run.exit_status, 0) << run.err;
    EXPECT_THAT(run.out, HasSubstr("requests  1 running   0 waiting"));
    EXPECT_THAT(run.out, HasSubstr("prompt 0.0   generated 0.0"));
    EXPECT_THAT(run.out, HasSubstr("active 40.0 %"));
    EXPECT_THAT(run.out, HasSubstr("\n████······\n"));
    EXPECT_THAT(run.out, HasSubstr("\nreq-1    decode"));
    EXPECT_THAT(run.out, Not(HasSubstr("\033")));
  }
}

TEST_F(TopTest, EndsWith3WhereNoServerIs) {
  EXPECT_EQ(RunPrefixctl({"top", "--once", "--server", "127.0.0.1:1"}).exit_status, 3);
}

TEST_F(TopTest, RefusesJsonAndSillyIntervals) {
  EXPECT_EQ(RunPrefixctl({"top", "--json"}).exit_status, 2);
  for (const char* interval : {"0", "0.05", "2h", "x"}) {
    EXPECT_EQ(RunPrefixctl({"top", "--interval", interval}).exit_status, 2) << interval;
  }
}

TEST_F(TopTest, QuitsAtQ) {
  Prefixctl top = Open();
  EXPECT_TRUE(top.WaitFor("req-1"));  // It goes on.
  top.Type("q");
  ExpectRestored(&top, 0);
}

TEST_F(TopTest, PausesAndGoesOnAtP) {
  Prefixctl top = Open();
  top.Type("p");
  EXPECT_TRUE(top.WaitFor("p go on"));
  server_.AddRequest("req-2", v1::REQUEST_STATE_QUEUED);
  top.Type("p");
  EXPECT_TRUE(top.WaitFor("req-2"));
  top.Type("q");
  ExpectRestored(&top, 0);
}

TEST_F(TopTest, QuitsWith130AtCtrlC) {
  Prefixctl top = Open();
  top.Type("\x03");
  ExpectRestored(&top, 130);
}

TEST_F(TopTest, GivesTheTerminalBackAtAnySignal) {
  for (const int signal : {SIGTERM, SIGHUP, SIGQUIT, SIGABRT}) {
    Prefixctl top = Open();
    top.Signal(signal);
    ExpectRestored(&top, -signal);
  }
  Prefixctl top = Open();
  top.Signal(SIGINT);
  ExpectRestored(&top, 130);
}

TEST_F(TopTest, FollowsTheSizeOfTheTerminal) {
  Prefixctl top = Open();
  top.Resize(12, 24);
  EXPECT_TRUE(top.WaitFor("requests  \033[0m1 \033[K"));  // Cut at 12 columns.
  top.Type("q");
  ExpectRestored(&top, 0);
}

TEST_F(TopTest, KeepsTheLastNumbersWhenTheServerIsGone) {
  auto gone = std::make_unique<FakeServer>();
  Prefixctl top = Prefixctl::OnTerminal(
      {"top", "--interval", "0.1", "--timeout", "1", "--server", gone->address()}, 100);
  EXPECT_TRUE(top.WaitFor("p pause"));
  const std::string address = gone->address();
  gone.reset();
  EXPECT_TRUE(top.WaitFor(address));  // In the line of the error.
  EXPECT_TRUE(top.WaitFor("0 running"));
  top.Type("q");
  ExpectRestored(&top, 0);
}

}  // namespace
}  // namespace prefixd::testing
