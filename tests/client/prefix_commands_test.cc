// `prefixctl prefix` and the flags of the cache, against a server in this process.
#include <filesystem>
#include <fstream>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "absl/strings/match.h"
#include "tests/client/fake_server.h"
#include "tests/client/run_prefixctl.h"

namespace prefixd::testing {
namespace {

using nlohmann::json;

class PrefixCommandsTest : public ::testing::Test {
 protected:
  PrefixCommandsTest() { std::ofstream(picture_, std::ios::binary) << "PNG"; }
  ~PrefixCommandsTest() override { std::filesystem::remove(picture_); }

  RunResult Run(std::vector<std::string> arguments, const std::string& input = "") {
    arguments.insert(arguments.end(), {"--server", server_.address()});
    return RunPrefixctl(arguments, input);
  }

  const std::string picture_ = ::testing::TempDir() + "/prefix_commands_test.png";
  FakeServer server_;
};

TEST_F(PrefixCommandsTest, PinsAPictureAndAsksAboutIt) {
  const RunResult create = Run({"prefix", "create", "--id", "cat", "--ttl", "90", "--system",
                                "Be brief.", "-i", picture_, "Look:"});
  EXPECT_EQ(create.exit_status, 0);
  EXPECT_EQ(create.out, "prefixes/cat\n");
  EXPECT_EQ(create.err,
            "594 tokens, kept for 1m30s; ask with `prefixctl run --prefix prefixes/cat \"...\"`\n");
  const v1::CreatePrefixRequest request = server_.creates().back();
  EXPECT_EQ(request.prefix_id(), "cat");
  EXPECT_EQ(request.ttl().seconds(), 90);
  ASSERT_EQ(request.chat().messages_size(), 2);
  EXPECT_EQ(request.chat().messages(0).role(), v1::ROLE_SYSTEM);
  EXPECT_EQ(request.chat().messages(1).role(), v1::ROLE_USER);
  EXPECT_EQ(request.chat().messages(1).parts(0).image().data(), "PNG");
  EXPECT_EQ(request.chat().messages(1).parts(1).text(), "Look:");

  for (const char* const name : {"cat", "prefixes/cat"}) {
    EXPECT_EQ(Run({"run", "What is it?", "--prefix", name, "--no-cache", "--cache-salt", "s"})
                  .exit_status,
              0);
    EXPECT_EQ(server_.last_request().prefix(), "prefixes/cat");
    EXPECT_TRUE(server_.last_request().bypass_prefix_cache());
    EXPECT_EQ(server_.last_request().cache_salt(), "s");
  }
  EXPECT_EQ(Run({"count", "What is it?", "--prefix", "cat"}).exit_status, 0);
  EXPECT_EQ(server_.counts().back().prefix(), "prefixes/cat");
}

TEST_F(PrefixCommandsTest, PinsAPictureAlone) {
  EXPECT_EQ(Run({"prefix", "create", "-i", "-", "--quiet"}, "JPEG").out, "prefixes/drawn\n");
  const v1::ChatInput chat = server_.creates().back().chat();
  ASSERT_EQ(chat.messages_size(), 1);
  ASSERT_EQ(chat.messages(0).parts_size(), 1);
  EXPECT_EQ(chat.messages(0).parts(0).image().data(), "JPEG");
  EXPECT_FALSE(server_.creates().back().has_ttl());
}

TEST_F(PrefixCommandsTest, RefusesToPinNothing) {
  const RunResult run = Run({"prefix", "create", "--id", "cat"});
  EXPECT_EQ(run.exit_status, 2);
  EXPECT_TRUE(server_.creates().empty());
}

TEST_F(PrefixCommandsTest, ListsAndShows) {
  EXPECT_EQ(Run({"prefix", "list"}).err, "no prefixes\n");
  ASSERT_EQ(Run({"prefix", "create", "x", "--id", "cat"}).exit_status, 0);
  ASSERT_EQ(Run({"prefix", "create", "x", "--id", "dog"}).exit_status, 0);
  const std::string table =
      "PREFIX        TOKENS  PINNED  IMAGES  KV      REQUESTS  AGE  EXPIRES IN\n"
      "prefixes/cat  594     592     1       1.5 MB  0         0    10m\n"
      "prefixes/dog  594     592     1       1.5 MB  0         0    10m\n";
  EXPECT_EQ(Run({"prefix"}).out, table);
  EXPECT_EQ(Run({"prefix", "list"}).out, table);
  EXPECT_EQ(Run({"cache", "prefixes"}).out, table);
  const RunResult show = Run({"prefix", "show", "cat"});
  EXPECT_EQ(show.out,
            "name        prefixes/cat\n"
            "model       demo\n"
            "prompt      594 tokens, 592 of them pinned\n"
            "images      1\n"
            "memory      1.5 MB of KV, 0.3 MB of images\n"
            "requests    0\n"
            "age         0\n"
            "expires in  10m (ttl 10m)\n");
  EXPECT_EQ(json::parse(Run({"prefix", "show", "cat", "--json"}).out),
            json::parse(R"({"name":"prefixes/cat","model":"demo","prompt_tokens":594,
                "pinned_tokens":592,"images":1,"kv_bytes":1500000,"image_bytes":300000,
                "requests":0,"ttl_ms":600000.0,"age_ms":0.0,"expires_in_ms":600000.0})"));
}

TEST_F(PrefixCommandsTest, TouchesAndReleases) {
  ASSERT_EQ(Run({"prefix", "create", "x", "--id", "cat"}).exit_status, 0);
  EXPECT_TRUE(absl::EndsWith(Run({"prefix", "touch", "cat", "--ttl", "1h"}).out,
                             "expires in  1h (ttl 1h)\n"));
  EXPECT_EQ(Run({"prefix", "release", "cat"}).err, "released\n");
  const RunResult gone = Run({"prefix", "release", "cat"});
  EXPECT_EQ(gone.exit_status, 1);
  EXPECT_EQ(gone.err,
            "prefixctl: there is no prefixes/cat\n"
            "  `prefixctl prefix list` lists those that live; pin it again with `prefixctl prefix "
            "create`\n");
}

TEST_F(PrefixCommandsTest, SaysWhatToDoAboutAnIdThatIsTaken) {
  ASSERT_EQ(Run({"prefix", "create", "x", "--id", "cat"}).exit_status, 0);
  const RunResult again = Run({"prefix", "create", "x", "--id", "cat", "--json"});
  EXPECT_EQ(again.exit_status, 1);
  EXPECT_EQ(json::parse(again.out)["reason"], "PREFIX_EXISTS");
}

// The picture travels once, although every run is a program of its own.
TEST_F(PrefixCommandsTest, ShakesHandsOverAPictureSilently) {
  for (int i = 0; i < 2; ++i) {
    const RunResult run = Run({"run", "What is it?", "-i", picture_});
    EXPECT_EQ(run.exit_status, 0);
    EXPECT_EQ(run.out, "It is a cat.\n");
    EXPECT_EQ(run.err, "");
  }
  ASSERT_EQ(server_.requests().size(), 3u);
  EXPECT_EQ(server_.requests()[1].chat().messages(0).parts(0).image().data(), "PNG");
  EXPECT_EQ(server_.requests()[2].chat().messages(0).parts(0).image().data(), "");
}

}  // namespace
}  // namespace prefixd::testing
