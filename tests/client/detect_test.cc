#include "client/prefixctl/detect.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "absl/strings/str_cat.h"

namespace prefixd::ctl {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

void ExpectObject(const DetectedObject& object, std::vector<int> box, const std::string& label) {
  EXPECT_EQ((std::vector<int>{object.y_min, object.x_min, object.y_max, object.x_max}), box);
  EXPECT_EQ(object.label, label);
}

TEST(ParseDetections, ReadsTopLeftBottomRightAndALabel) {
  const Detections found = ParseDetections("<loc0051><loc0309><loc0708><loc0646> shoe");
  EXPECT_THAT(found.problems, IsEmpty());
  ASSERT_EQ(found.objects.size(), 1u);
  ExpectObject(found.objects[0], {51, 309, 708, 646}, "shoe");
  EXPECT_EQ(found.objects[0].num_segment_tokens, 0);
}

TEST(ParseDetections, ReadsSeveralObjects) {
  const Detections found = ParseDetections(
      "<loc0000><loc0000><loc1023><loc1023> red car ; <loc0010><loc0020><loc0030><loc0040> cat;"
      "<loc0001><loc0002><loc0003><loc0004>dog\n");
  EXPECT_THAT(found.problems, IsEmpty());
  ASSERT_EQ(found.objects.size(), 3u);
  ExpectObject(found.objects[0], {0, 0, 1023, 1023}, "red car");
  ExpectObject(found.objects[1], {10, 20, 30, 40}, "cat");
  ExpectObject(found.objects[2], {1, 2, 3, 4}, "dog");
}

TEST(ParseDetections, SkipsSegmentationTokensAndCountsThem) {
  std::string segments;
  for (int i = 0; i < 16; ++i) absl::StrAppend(&segments, "<seg", 100 + i, ">");
  const std::string box = "<loc0001><loc0002><loc0003><loc0004>";
  const Detections found =
      ParseDetections(absl::StrCat(box, segments, " cat ; ", box, "<seg000><seg127> dog"));
  EXPECT_THAT(found.problems, ElementsAre("object 2: 2 segmentation tokens, expected 16"));
  ASSERT_EQ(found.objects.size(), 2u);
  ExpectObject(found.objects[0], {1, 2, 3, 4}, "cat");
  EXPECT_EQ(found.objects[0].num_segment_tokens, 16);
  ExpectObject(found.objects[1], {1, 2, 3, 4}, "dog");
  EXPECT_EQ(found.objects[1].num_segment_tokens, 2);
}

TEST(ParseDetections, NamesObjectsWithoutABox) {
  const Detections found = ParseDetections(
      "<loc0001><loc0002><loc0003> cat ; <loc0001><loc0002><loc0003><loc0004><loc0005> dog ; "
      "nothing ; <loc0001><loc0002><loc1024><loc0004> far ; <loc0003><loc0002><loc0001><loc0004> "
      "up ; <loc0001><loc0004><loc0003><loc0002> left ; <loc001><loc0002><loc0003><loc0004> short");
  EXPECT_THAT(found.objects, IsEmpty());
  EXPECT_THAT(found.problems, ElementsAre("object 1: 3 location tokens, expected 4",
                                          "object 2: 5 location tokens, expected 4",
                                          "object 3: 0 location tokens, expected 4",
                                          "object 4: location 1024, the largest is 1023",
                                          "object 5: its far corner lies before its near one",
                                          "object 6: its far corner lies before its near one",
                                          "object 7: 0 location tokens, expected 4"));
}

TEST(ParseDetections, KeepsABoxWithoutALabel) {
  const std::string box = "<loc0001><loc0002><loc0003><loc0004>";
  const Detections found = ParseDetections(absl::StrCat(box, " ; ", box, " cat"));
  EXPECT_THAT(found.problems, ElementsAre("object 1: no label"));
  ASSERT_EQ(found.objects.size(), 2u);
  ExpectObject(found.objects[0], {1, 2, 3, 4}, "");
}

TEST(ParseDetections, RefusesTokensInsideALabel) {
  const std::string box = "<loc0001><loc0002><loc0003><loc0004>";
  const Detections found = ParseDetections(absl::StrCat(box, " cat ", box, " dog"));
  EXPECT_THAT(found.objects, IsEmpty());
  EXPECT_THAT(found.problems,
              ElementsAre("object 1: location or segmentation tokens inside the label"));
}

TEST(ParseDetections, FindsNothingInNothing) {
  for (const char* answer : {"", "  \n"}) {
    const Detections found = ParseDetections(answer);
    EXPECT_THAT(found.objects, IsEmpty());
    EXPECT_THAT(found.problems, IsEmpty());
  }
}

TEST(ParseDetections, SurvivesEveryCutOfAnAnswer) {
  const std::string answer = "<loc0051><loc0309><loc0708><loc0646><seg001> shoe ; ";
  for (size_t size = 0; size <= answer.size(); ++size) {
    EXPECT_LE(ParseDetections(answer.substr(0, size)).objects.size(), 1u);
  }
}

}  // namespace
}  // namespace prefixd::ctl
