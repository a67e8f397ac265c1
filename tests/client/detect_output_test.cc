#include "client/prefixctl/detect_output.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <iterator>
#include <string>

#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"

namespace prefixd::ctl {
namespace {

using ::testing::HasSubstr;

std::string Picture(const std::string& name) {
  std::ifstream file(absl::StrCat(PREFIXD_SOURCE_DIR "/tests/golden/vision/", name),
                     std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

Detections One(const std::string& label) {
  Detections detections;
  detections.objects.push_back(
      {.y_min = 256, .x_min = 512, .y_max = 768, .x_max = 1023, .label = label});
  return detections;
}

// The sizes that the vision tests hold the server to.
TEST(ReadPictureInfo, ReadsTheUprightSizeOfEveryGoldenPicture) {
  const nlohmann::json cases = nlohmann::json::parse(Picture("cases.json"))["decode"];
  ASSERT_GT(cases.size(), 100u);
  for (const auto& c : cases) {
    SCOPED_TRACE(c["file"]);
    const std::string bytes = Picture(c["file"]);
    const auto picture = ReadPictureInfo(bytes);
    ASSERT_TRUE(picture.ok()) << picture.status();
    EXPECT_EQ(picture->width, c["width"].get<int>());
    EXPECT_EQ(picture->height, c["height"].get<int>());
    EXPECT_EQ(picture->media_type, bytes[0] == '\xFF' ? "image/jpeg" : "image/png");
  }
}

TEST(ReadPictureInfo, SurvivesEveryCut) {
  for (const char* name : {"exif6_le.jpg", "exif6_be.png"}) {
    const std::string bytes = Picture(name);
    ASSERT_FALSE(bytes.empty());
    for (size_t size = 0; size < 200; ++size) {
      const auto picture = ReadPictureInfo(bytes.substr(0, size));
      if (!picture.ok()) {
        EXPECT_EQ(picture.status().code(), absl::StatusCode::kInvalidArgument);
      }
    }
  }
  EXPECT_FALSE(ReadPictureInfo("GIF89a, which is neither").ok());
}

TEST(DetectionsLine, HasPixelsAndShares) {
  Detections detections = One("a \"cat\"");
  detections.problems = {"object 2: no label"};
  EXPECT_EQ(DetectionsLine(detections, {.media_type = "image/png", .width = 1024, .height = 512}),
            R"({"event":"detections","width":1024,"height":512,"objects":[{"label":"a \"cat\"",)"
            R"("box":{"x_min":512.0,"y_min":128.0,"x_max":1023.0,"y_max":384.0},)"
            R"("relative":{"x_min":0.5,"y_min":0.25,"x_max":0.9990234375,"y_max":0.75},)"
            R"("segment_tokens":0}],"problems":["object 2: no label"]})");
}

TEST(DetectionsSvg, ShowsThePictureWithBoxesAndEscapedLabels) {
  const std::string svg =
      DetectionsSvg(One("<b>\"A&B\"</b>\x01\xFF"),
                    {.media_type = "image/png", .width = 200, .height = 100}, "bytes");
  EXPECT_EQ(svg,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"200\" height=\"100\" "
            "viewBox=\"0 0 200 100\" font-family=\"sans-serif\" font-size=\"6\">\n"
            "<image width=\"200\" height=\"100\" href=\"data:image/png;base64,Ynl0ZXM=\"/>\n"
            "<rect x=\"100\" y=\"25\" width=\"99.8047\" height=\"50\" fill=\"none\" "
            "stroke=\"#e6194b\" stroke-width=\"1\"/>\n"
            "<text x=\"100\" y=\"24\" fill=\"#e6194b\" stroke=\"#ffffff\" stroke-width=\"0.5\" "
            "paint-order=\"stroke\">&lt;b&gt;\"A&amp;B\"&lt;/b&gt; \xEF\xBF\xBD</text>\n"
            "</svg>\n");
}

TEST(DetectionsSvg, PutsALabelInsideWhereThereIsNoRoomAbove) {
  Detections detections = One("cat");
  detections.objects[0].y_min = 0;
  EXPECT_THAT(
      DetectionsSvg(detections, {.media_type = "image/png", .width = 200, .height = 100}, ""),
      HasSubstr("<text x=\"100\" y=\"7\""));
}

}  // namespace
}  // namespace prefixd::ctl
