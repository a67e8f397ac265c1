#include "tools/classification_data.h"

#include <filesystem>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/tools/folder.h"

namespace prefixd {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::string Error(const ClassificationDataOptions& options) {
  const auto data = LoadClassificationData(options);
  EXPECT_FALSE(data.ok());
  EXPECT_EQ(data.status().code(), absl::StatusCode::kInvalidArgument);
  return std::string(data.status().message());
}

// Two classes with three pictures, and what is none.
void WriteFolders(const testing::Folder& folder) {
  for (const char* name : {"data", "data/great_white_shark", "data/ant", "data/.hidden"}) {
    std::filesystem::create_directory(folder.At(name));
  }
  folder.Write("data/great_white_shark/b.PNG", "b");
  folder.Write("data/great_white_shark/a.jpg", "aa");
  folder.Write("data/great_white_shark/notes.txt", "no picture");
  folder.Write("data/ant/z.jpeg", "z");
  folder.Write("data/.hidden/x.jpg", "x");
  folder.Write("data/readme.jpg", "in no class");
}

TEST(ClassificationData, FoldersAreClasses) {
  const testing::Folder folder;
  WriteFolders(folder);
  const auto data = LoadClassificationData({.path = folder.At("data")});
  ASSERT_TRUE(data.ok()) << data.status();
  EXPECT_THAT(data->names, ElementsAre("ant", "great white shark"));
  ASSERT_EQ(data->samples.size(), 3u);
  EXPECT_EQ(data->samples[1].id, "great_white_shark/a.jpg");
  EXPECT_EQ(data->samples[1].image, folder.At("data/great_white_shark/a.jpg"));
  EXPECT_EQ(data->samples[1].label, "great white shark");
  EXPECT_THAT(data->labels, ElementsAre(0, 1, 1));
}

TEST(ClassificationData, ANamesFileSaysTheOrder) {
  const testing::Folder folder;
  WriteFolders(folder);
  const std::string names = folder.Write("names.txt", "great white shark\r\ntench\nant\n");
  const auto data = LoadClassificationData({.path = folder.At("data"), .names = names});
  ASSERT_TRUE(data.ok()) << data.status();
  EXPECT_THAT(data->names, ElementsAre("great white shark", "tench", "ant"));
  EXPECT_THAT(data->labels, ElementsAre(2, 0, 0));
  const std::string few = folder.Write("few.txt", "tench\nant\n");
  EXPECT_THAT(Error({.path = folder.At("data"), .names = few}),
              HasSubstr("great_white_shark/a.jpg: label \"great white shark\" is none of the 2"));
  const std::string empty = folder.Write("empty.txt", "tench\n\nant\n");
  EXPECT_THAT(Error({.path = folder.At("data"), .names = empty}),
              HasSubstr("empty.txt: line 2: is empty"));
}

TEST(ClassificationData, LinesHavePicturesTextsAndLabels) {
  const testing::Folder folder;
  folder.Write("a.png", "a");
  const std::string lines = folder.Write("d.jsonl",
                                         R"({"image": "a.png", "text": "hi", "label": "yes"}

{"img": "a.png", "label": 0, "id": 7}
{"text": "only words", "label": "maybe"}
)");
  const std::vector<std::string> usual = {"no", "yes", "maybe"};
  const auto data = LoadClassificationData({.path = lines, .usual_names = usual});
  ASSERT_TRUE(data.ok()) << data.status();
  EXPECT_EQ(data->names, usual);
  EXPECT_THAT(data->labels, ElementsAre(1, 0, 2));
  EXPECT_EQ(data->samples[0].image, folder.At("a.png"));
  EXPECT_EQ(data->samples[0].text, "hi");
  EXPECT_EQ(data->samples[2].image, "");
  EXPECT_EQ(data->samples[2].id, "line 4");
}

TEST(ClassificationData, WithoutNamesTheLabelsAreTheNames) {
  const testing::Folder folder;
  const std::string lines = folder.Write("d.jsonl",
                                         "{\"text\": \"a\", \"label\": \"zebra\"}\n"
                                         "{\"text\": \"b\", \"label\": \"ant\"}\n"
                                         "{\"text\": \"c\", \"label\": \"zebra\"}");
  const auto data = LoadClassificationData({.path = lines});
  ASSERT_TRUE(data.ok()) << data.status();
  EXPECT_THAT(data->names, ElementsAre("ant", "zebra"));
  EXPECT_THAT(data->labels, ElementsAre(1, 0, 1));
}

TEST(ClassificationData, ErrorsNameLineAndField) {
  const auto error = [](const std::string& text, const std::vector<std::string>& names = {}) {
    const auto parsed = ParseLabelledLines("d", text, "i", names);
    EXPECT_FALSE(parsed.ok()) << text;
    return std::string(parsed.status().message());
  };
  EXPECT_THAT(error("\n{"), HasSubstr("d: line 2: JSON: "));
  EXPECT_THAT(error("[]"), HasSubstr("line 1: JSON: is no object"));
  EXPECT_THAT(error(R"({"image": "a.png"})"), HasSubstr("label: is missing"));
  EXPECT_THAT(error(R"({"image": "a.png", "label": ""})"), HasSubstr("label: is empty"));
  EXPECT_THAT(error(R"({"image": "a.png", "label": []})"), HasSubstr("label: is no string"));
  EXPECT_THAT(error(R"({"image": "a.png", "label": 1})"), HasSubstr("no names are given"));
  EXPECT_THAT(error(R"({"image": "a.png", "label": 2})", {"a", "b"}),
              HasSubstr("label: 2 is not in [0, 1]"));
  EXPECT_THAT(error(R"({"image": "a.png", "label": -1})", {"a", "b"}), HasSubstr("-1 is not"));
  EXPECT_THAT(error(R"({"label": "a"})"), HasSubstr("neither"));
  EXPECT_THAT(error(R"({"image": "../a.png", "label": "a"})"), HasSubstr("leads out"));
  EXPECT_THAT(error(R"({"image": "/a.png", "label": "a"})"), HasSubstr("absolute path"));
  EXPECT_THAT(error(R"({"text": ")" + std::string(65537, 'x') + R"(", "label": "a"})"),
              HasSubstr("65537 bytes, the limit is 65536"));
}

TEST(ClassificationData, PicturesMustBeThereAndTwoNamesAtLeast) {
  const testing::Folder folder;
  const std::string missing = folder.Write("m.jsonl", R"({"image": "a.png", "label": "a"})"
                                                      "\n"
                                                      R"({"text": "t", "label": "b"})");
  EXPECT_THAT(Error({.path = missing}), HasSubstr("m.jsonl: a.png: image: "));
  const std::string one = folder.Write("one.jsonl", R"({"text": "t", "label": "b"})");
  EXPECT_THAT(Error({.path = one}), HasSubstr("1 names, expected 2 to 10000"));
  EXPECT_THAT(Error({.path = folder.Write("none.jsonl", "\n")}), HasSubstr("no picture"));
}

TEST(ClassificationData, TheDigestSeesNamesLabelsAndSizes) {
  const testing::Folder folder;
  WriteFolders(folder);
  const std::string before = LoadClassificationData({.path = folder.At("data")})->digest;
  folder.Write("data/ant/z.jpeg", "zz");
  const std::string after = LoadClassificationData({.path = folder.At("data")})->digest;
  EXPECT_NE(before, after);
  const std::string names = folder.Write("names.txt", "great white shark\nant\n");
  EXPECT_NE(LoadClassificationData({.path = folder.At("data"), .names = names})->digest, after);
}

TEST(ClassificationData, AShortDrawBeginsALongOne) {
  const std::vector<size_t> all = Draw(100, 100, 5), some = Draw(100, 10, 5);
  EXPECT_TRUE(std::equal(some.begin(), some.end(), all.begin()));
  std::vector<size_t> sorted = all;
  std::sort(sorted.begin(), sorted.end());
  for (size_t i = 0; i < 100; ++i) EXPECT_EQ(sorted[i], i);
  EXPECT_NE(Draw(100, 10, 6), some);
  EXPECT_EQ(Draw(3, 10, 5).size(), 3u);
}

}  // namespace
}  // namespace prefixd
