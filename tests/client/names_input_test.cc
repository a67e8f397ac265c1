#include "client/prefixctl/names_input.h"

#include <filesystem>
#include <fstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"

namespace prefixd::ctl {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class NamesInputTest : public ::testing::Test {
 protected:
  NamesInputTest() : path_(mkdtemp(name_)) {}
  ~NamesInputTest() override { std::filesystem::remove_all(path_); }

  std::string Write(const std::string& name, const std::string& text) const {
    const std::string path = absl::StrCat(path_, "/", name);
    std::ofstream(path, std::ios::binary) << text;
    return path;
  }
  // The message of what reading demonstrations of this text says, without the path.
  std::string DemonstrationsError(const std::string& text) const {
    const std::string path = Write("d.jsonl", text);
    const std::string message(ReadDemonstrations(path).status().message());
    EXPECT_EQ(message.substr(0, path.size()), path);
    return message.substr(path.size());
  }

  char name_[32] = "/tmp/names_input_XXXXXX";
  const std::string path_;
};

TEST_F(NamesInputTest, SplitsNamesAtCommas) {
  EXPECT_THAT(*SplitNames("cat, big dog ,cow"), ElementsAre("cat", "big dog", "cow"));
  EXPECT_EQ(SplitNames("cat,,cow").status(),
            absl::InvalidArgumentError("--names: name 2 is empty"));
  EXPECT_EQ(SplitNames("").status(), absl::InvalidArgumentError("--names: name 1 is empty"));
}

TEST_F(NamesInputTest, ReadsANameOnEachLine) {
  EXPECT_THAT(NamesOfLines("cat\r\n big, dog\n\ncow"), ElementsAre("cat", " big, dog", "cow"));
  Classification classification;
  classification.names_file = Write("names.txt", "cat\ndog\n");
  EXPECT_THAT(*ReadNames(classification), ElementsAre("cat", "dog"));
  classification.names_file = path_ + "/none.txt";
  EXPECT_EQ(ReadNames(classification).status().code(), absl::StatusCode::kNotFound);
}

TEST_F(NamesInputTest, NeedsTwoNames) {
  Classification classification;
  classification.names = "cat";
  EXPECT_EQ(ReadNames(classification).status(),
            absl::InvalidArgumentError("at least 2 names are needed, there is 1"));
  classification.names.reset();
  classification.names_file = Write("names.txt", "\n");
  EXPECT_EQ(ReadNames(classification).status(),
            absl::InvalidArgumentError("at least 2 names are needed, there are 0"));
}

TEST_F(NamesInputTest, ExpandsPatternsThatAreNoFiles) {
  const std::string b = Write("b.jpg", "x");
  const std::string a = Write("a.jpg", "x");
  const std::string odd = Write("[1].png", "x");
  EXPECT_THAT(*ExpandPatterns({odd, path_ + "/*.jpg", "-", "gone.jpg"}),
              ElementsAre(odd, a, b, "-", "gone.jpg"));
  EXPECT_THAT(*ExpandPatterns({path_ + "/[ab].jp?"}), ElementsAre(a, b));
  EXPECT_EQ(ExpandPatterns({path_ + "/*.gif"}).status(),
            absl::InvalidArgumentError(absl::StrCat("no file matches ", path_, "/*.gif")));
}

TEST_F(NamesInputTest, LimitsThePictures) {
  const std::vector<std::string> most(kMaxPictures, "x");
  EXPECT_EQ(ExpandPatterns(most)->size(), kMaxPictures);
  std::vector<std::string> more = most;
  more.push_back("x");
  EXPECT_EQ(ExpandPatterns(more).status(),
            absl::InvalidArgumentError("there are more than 50000 pictures"));
  Write("a.jpg", "x");
  more.back() = path_ + "/*";
  EXPECT_EQ(ExpandPatterns(more).status(),
            absl::InvalidArgumentError(
                absl::StrCat(path_, "/* and the rest are 50001 pictures, the limit is 50000")));
}

TEST_F(NamesInputTest, ReadsDemonstrationsBesideTheirFile) {
  Write("a.jpg", "JPEG");
  const std::string path = Write("d.jsonl",
                                 "{\"image\":\"a.jpg\",\"text\":\"what?\",\"label\":\"cat\"}\n"
                                 "\n"
                                 "{\"label\":\"dög\"}\r\n");
  const auto demonstrations = ReadDemonstrations(path);
  ASSERT_TRUE(demonstrations.ok()) << demonstrations.status();
  ASSERT_EQ(demonstrations->size(), 2u);
  EXPECT_EQ(demonstrations->at(0).image().data(), "JPEG");
  EXPECT_EQ(demonstrations->at(0).text(), "what?");
  EXPECT_EQ(demonstrations->at(0).label(), "cat");
  EXPECT_FALSE(demonstrations->at(1).has_image());
  EXPECT_EQ(demonstrations->at(1).label(), "dög");
}

TEST_F(NamesInputTest, NamesTheLineOfADemonstrationThatIsWrong) {
  EXPECT_EQ(DemonstrationsError("{\"label\":\"a\"}\nlabel"), ":2: it is not an object of JSON");
  EXPECT_EQ(DemonstrationsError("[1]"), ":1: it is not an object of JSON");
  EXPECT_EQ(DemonstrationsError("{\"label\":1}"), ":1: label is not a text");
  EXPECT_EQ(DemonstrationsError("{\"text\":\"a\"}"), ":1: label is missing");
  EXPECT_EQ(DemonstrationsError("{\"label\":\"a\",\"lable\":\"b\"}"),
            ":1: unknown key \"lable\"; there are image, text and label");
  EXPECT_THAT(DemonstrationsError("{\"label\":\"a\",\"image\":\"none.png\"}"),
              HasSubstr("/none.png: "));
  std::string many;
  for (int i = 0; i < 1025; ++i) many += "{\"label\":\"a\"}\n";
  EXPECT_EQ(DemonstrationsError(many), ": more than 1024 demonstrations");
}

}  // namespace
}  // namespace prefixd::ctl
