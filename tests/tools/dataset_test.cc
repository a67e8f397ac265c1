#include "tools/dataset.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "tests/tools/folder.h"

namespace prefixd {
namespace {

using ::testing::HasSubstr;

std::string Error(const std::string& text) {
  return std::string(ParseDataset("data.json", text, "/pictures").status().message());
}

// A conversation whose parts can be replaced.
std::string Conversation(const std::string& image, const std::string& question,
                         const std::string& answer) {
  return absl::StrCat(R"([{"id": "x", )", image,
                      R"("conversations": [{"from": "human", "value": ")", question,
                      R"("}, {"from": "gpt", "value": ")", answer, R"("}]}])");
}

TEST(Dataset, ReadsConversationsOfLlava) {
  const auto samples =
      ParseDataset("data.json",
                   R"([{"id": "17", "image": "coco/a.jpg", "source": "ignored", "conversations": [
           {"from": "human", "value": "<image>\nWhat is this?"}, {"from": "gpt", "value": "A cat."},
           {"from": "human", "value": "More?"}, {"from": "gpt", "value": "No."}]},
          {"id": 18, "image": "b.jpg", "conversations": [
           {"from": "human", "value": "Which?\n<image>"}, {"from": "gpt", "value": "That."}]},
          {"conversations": [{"from": "human", "value": "Hello"}, {"from": "gpt", "value": "Hi"}]}])",
                   "/pictures");
  ASSERT_TRUE(samples.ok()) << samples.status();
  ASSERT_EQ(samples->size(), 3u);
  const Sample& first = (*samples)[0];
  EXPECT_EQ(first.id, "17");
  EXPECT_EQ(first.image, "/pictures/coco/a.jpg");
  EXPECT_EQ(first.question, "What is this?");
  EXPECT_EQ(first.answer, "A cat.");
  EXPECT_EQ((*samples)[1].id, "18");
  EXPECT_EQ((*samples)[1].question, "Which?");
  EXPECT_EQ((*samples)[2].image, "");
  EXPECT_EQ((*samples)[2].question, "Hello");
}

TEST(Dataset, ReadsTheCalibrationPicturesOfTheDemoModel) {
  const auto data =
      LoadDataset({.path = PREFIXD_SOURCE_DIR "/models/demo/calibration/calibration.json"});
  ASSERT_TRUE(data.ok()) << data.status();
  ASSERT_EQ(data->samples.size(), 40u);
  const Sample& first = data->samples[0];
  EXPECT_EQ(first.id, "calibration-01.png");
  EXPECT_THAT(first.image, HasSubstr("models/demo/calibration/calibration-01.png"));
  EXPECT_EQ(first.question, "What is in this image?");
  EXPECT_THAT(first.answer, HasSubstr("The image shows three objects on a white background."));
  EXPECT_EQ(data->digest.size(), 64u);
}

TEST(Dataset, TakesHalvesAndLimits) {
  DatasetOptions options{.path = PREFIXD_SOURCE_DIR "/models/demo/calibration/calibration.json"};
  options.half = DatasetHalf::kFirst;
  EXPECT_EQ(LoadDataset(options)->samples.size(), 20u);
  EXPECT_EQ(LoadDataset(options)->samples.back().id, "calibration-20.png");
  options.half = DatasetHalf::kSecond;
  options.limit = 3;
  const Dataset data = LoadDataset(options).value();
  ASSERT_EQ(data.samples.size(), 3u);
  EXPECT_EQ(data.samples[0].id, "calibration-21.png");
}

TEST(Dataset, AnOddEntryBelongsToTheSecondHalf) {
  const testing::Folder folder;
  folder.Write("a.png", "x");
  const std::string entry = R"({"file": "a.png", "question": "Q", "reference_answer": "A"})";
  DatasetOptions options{
      .path = folder.Write("data.json", absl::StrCat("[", entry, ",", entry, ",", entry, "]"))};
  options.half = DatasetHalf::kFirst;
  EXPECT_EQ(LoadDataset(options)->samples.size(), 1u);
  options.half = DatasetHalf::kSecond;
  EXPECT_EQ(LoadDataset(options)->samples.size(), 2u);
}

TEST(Dataset, PicturesStayInTheirDirectory) {
  for (const char* path : {"../a.jpg", "b/../../a.jpg", "..", "b/.."}) {
    EXPECT_THAT(Error(Conversation(absl::StrCat(R"("image": ")", path, R"(", )"), "<image>", "A")),
                HasSubstr(absl::StrCat("data.json: entry 0: image: \"", path,
                                       "\" leads out of the directory")));
  }
  EXPECT_THAT(Error(Conversation(R"("image": "/etc/passwd", )", "<image>", "A")),
              HasSubstr("entry 0: image: \"/etc/passwd\" is an absolute path"));
  EXPECT_THAT(Error(Conversation(R"("image": "", )", "<image>", "A")),
              HasSubstr("image: is empty"));
  EXPECT_THAT(Error(Conversation(R"("image": "a\u0000b", )", "<image>", "A")),
              HasSubstr("image: has a zero byte"));
  EXPECT_EQ(Error(Conversation(R"("image": "..a/b..c.jpg", )", "<image>", "A")), "")
      << "two dots in a name are not a way out";
}

TEST(Dataset, ErrorsNameEntryAndField) {
  EXPECT_THAT(Error("{"), HasSubstr("data.json: not valid JSON"));
  EXPECT_EQ(Error("{}"), "data.json: is no list");
  EXPECT_EQ(Error("[7]"), "data.json: entry 0: entry: is no object");
  EXPECT_THAT(Error("[{}]"), HasSubstr("entry 0: entry: has neither"));
  EXPECT_THAT(Error(R"([{"file": 7}])"), HasSubstr("entry 0: file: is no string"));
  EXPECT_THAT(Error(R"([{"file": "a", "question": "Q"}])"),
              HasSubstr("entry 0: reference_answer: is missing"));
  EXPECT_THAT(Error(R"([{"conversations": []}])"), HasSubstr("entry 0: conversations: is no list"));
  EXPECT_THAT(Error(R"([{"conversations": [1, 2]}])"),
              HasSubstr("entry 0: conversations[0]: is no object"));
  EXPECT_THAT(Error(R"([{"conversations": [{"from": "gpt", "value": "A"}, {}]}])"),
              HasSubstr("conversations[0].from: \"gpt\", expected \"human\""));
  EXPECT_THAT(Error(R"([{"id": [], "conversations": [{}, {}]}])"), HasSubstr("entry 0: id: "));
  EXPECT_THAT(Error(Conversation("", "Q", "")), HasSubstr("conversations[1].value: is empty"));
  EXPECT_THAT(Error(Conversation("", "<image>Q", "A")), HasSubstr("no image is named"));
  EXPECT_THAT(Error(Conversation(R"("image": "a", )", "Q", "A")), HasSubstr("has no <image>"));
  EXPECT_THAT(Error(Conversation(R"("image": "a", )", "<image><image>", "A")),
              HasSubstr("has several <image>"));
  EXPECT_THAT(Error(Conversation("", std::string(Dataset::kMaxTextBytes + 1, 'x'), "A")),
              HasSubstr("65537 bytes, the limit is 65536"));
  EXPECT_EQ(Error(Conversation("", std::string(Dataset::kMaxTextBytes, 'x'), "A")), "");
}

TEST(Dataset, NamesFilesThatAreNotThere) {
  EXPECT_TRUE(absl::IsNotFound(LoadDataset({.path = "/nowhere/data.json"}).status()));
  const testing::Folder folder;
  const std::string path = folder.Write(
      "data.json", R"([{"file": "gone.png", "question": "Q", "reference_answer": "A"}])");
  const absl::Status status = LoadDataset({.path = path}).status();
  EXPECT_TRUE(absl::IsInvalidArgument(status));
  EXPECT_THAT(std::string(status.message()), HasSubstr("gone.png"));
  EXPECT_THAT(
      std::string(LoadDataset({.path = folder.Write("empty.json", "[]")}).status().message()),
      HasSubstr("no entry is left"));
}

}  // namespace
}  // namespace prefixd
