#include "engine/vision/resize.h"

#include <chrono>
#include <map>

#include <gtest/gtest.h>

#include "tests/vision/vision_fixture.h"

namespace prefixd {
namespace {

TEST(Resize, EqualsPillowBitForBit) {
  const std::map<std::string, Resample> filters = {
      {"nearest", Resample::kNearest},   {"lanczos", Resample::kLanczos},
      {"bilinear", Resample::kBilinear}, {"bicubic", Resample::kBicubic},
      {"box", Resample::kBox},           {"hamming", Resample::kHamming}};
  const auto decoder = CreateInProcessImageDecoder({});
  const nlohmann::json cases = GoldenCases()["resize"];
  ASSERT_EQ(cases.size(), 72u);
  for (const auto& c : cases) {
    SCOPED_TRACE(c.dump());
    const auto image = decoder->Decode(ReadGolden(c["file"]));
    ASSERT_TRUE(image.ok()) << image.status();
    const RgbImage out =
        Resize(*image, c["width"], c["height"], filters.at(c["filter"].get<std::string>()));
    EXPECT_EQ(PixelDigest(out), c["sha256"].get<std::string>());
  }
}

TEST(Resize, AveragesABoxOfTwoPixels) {
  const RgbImage out = Resize({2, 1, {0, 10, 255, 10, 20, 255}}, 1, 1, Resample::kBox);
  EXPECT_EQ(out.pixels, (std::vector<uint8_t>{5, 15, 255}));
}

TEST(Resize, KeepsTheColourOfAUniformPhoto) {
  const RgbImage photo{4000, 3000, std::vector<uint8_t>(36'000'000, 77)};
  const auto start = std::chrono::steady_clock::now();
  const RgbImage out = Resize(photo, 448, 336, Resample::kBicubic);
  const auto ms = std::chrono::duration_cast<std::chrono::milliseconds>(
                      std::chrono::steady_clock::now() - start)
                      .count();
  RecordProperty("milliseconds", static_cast<int>(ms));  // Recorded, not judged: machines differ.
  EXPECT_EQ(out.pixels, std::vector<uint8_t>(448 * 336 * 3, 77));
}

}  // namespace
}  // namespace prefixd
