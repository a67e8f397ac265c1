#include "engine/vision/image_decoder.h"

#include <algorithm>
#include <cstdlib>
#include <thread>

#include <gtest/gtest.h>

#include "base/error.h"
#include "engine/vision/decode_memory.h"
#include "engine/vision/exif.h"
#include "tests/vision/vision_fixture.h"

namespace prefixd {
namespace {

bool IsJpeg(const std::string& name) { return name.find(".jpg") != std::string::npos; }

TEST(ImageDecoder, EqualsTheGoldenOnEveryPngWithAlphaDropped) {
  ImageDecodeOptions options;
  options.background = std::nullopt;
  const auto decoder = CreateInProcessImageDecoder(options);
  int seen = 0;
  const nlohmann::json cases = GoldenCases()["decode"];
  for (const auto& c : cases) {
    if (IsJpeg(c["file"])) continue;
    SCOPED_TRACE(c.dump());
    const auto image = decoder->Decode(ReadGolden(c["file"]));
    ASSERT_TRUE(image.ok()) << image.status();
    EXPECT_EQ(image->width, c["width"].get<int>());
    EXPECT_EQ(image->height, c["height"].get<int>());
    EXPECT_EQ(PixelDigest(*image), c["drop"].get<std::string>());
    ++seen;
  }
  EXPECT_EQ(seen, 81);
}

TEST(ImageDecoder, EqualsPillowsPasteOverWhiteByDefault) {
  const auto decoder = CreateInProcessImageDecoder({});
  const nlohmann::json cases = GoldenCases()["decode"];
  for (const auto& c : cases) {
    if (IsJpeg(c["file"])) continue;
    SCOPED_TRACE(c.dump());
    const auto image = decoder->Decode(ReadGolden(c["file"]));
    ASSERT_TRUE(image.ok()) << image.status();
    EXPECT_EQ(PixelDigest(*image), c["white"].get<std::string>());
  }
}

TEST(ImageDecoder, EqualsPillowOnEveryJpegWithinOneLevel) {
  const auto decoder = CreateInProcessImageDecoder({});
  int seen = 0;
  int exact = 0;
  const nlohmann::json cases = GoldenCases()["decode"];
  for (const auto& c : cases) {
    const std::string name = c["file"];
    if (!IsJpeg(name)) continue;
    SCOPED_TRACE(name);
    const auto image = decoder->Decode(ReadGolden(name));
    ASSERT_TRUE(image.ok()) << image.status();
    const std::string expected = ReadGolden(name.substr(0, name.size() - 4) + ".rgb");
    ASSERT_EQ(image->width, c["width"].get<int>());
    ASSERT_EQ(image->pixels.size(), expected.size());
    int worst = 0;
    for (size_t i = 0; i < expected.size(); ++i) {
      worst = std::max(worst, std::abs(image->pixels[i] - static_cast<uint8_t>(expected[i])));
    }
    EXPECT_LE(worst, 1);
    exact += worst == 0;
    ++seen;
  }
  EXPECT_EQ(seen, 25);
  RecordProperty("bit_equal", exact);
}

TEST(ImageDecoder, LeavesOrientationAloneWhenTold) {
  ImageDecodeOptions options;
  options.apply_exif_orientation = false;
  const auto image = CreateInProcessImageDecoder(options)->Decode(ReadGolden("exif6_le.png"));
  ASSERT_TRUE(image.ok());
  EXPECT_EQ(image->width, 37);
  EXPECT_EQ(image->height, 23);
}

TEST(ApplyOrientation, TurnsTwoPixelsAsExifSays) {
  const RgbImage stored{2, 1, {1, 1, 1, 2, 2, 2}};
  const std::vector<uint8_t> same = {1, 1, 1, 2, 2, 2};
  const std::vector<uint8_t> swapped = {2, 2, 2, 1, 1, 1};
  EXPECT_EQ(ApplyOrientation(stored, 1).pixels, same);
  EXPECT_EQ(ApplyOrientation(stored, 2).pixels, swapped);
  EXPECT_EQ(ApplyOrientation(stored, 3).pixels, swapped);
  EXPECT_EQ(ApplyOrientation(stored, 6).pixels, same);
  EXPECT_EQ(ApplyOrientation(stored, 8).pixels, swapped);
  EXPECT_EQ(ApplyOrientation(stored, 6).height, 2);
}

TEST(ExifOrientation, IsOneForAnythingMalformed) {
  const std::string good("MM\0\x2A\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0", 22);
  EXPECT_EQ(ExifOrientation(good), 6);
  for (size_t n = 0; n < good.size(); ++n) EXPECT_EQ(ExifOrientation(good.substr(0, n)), 1) << n;
  std::string out_of_range = good;
  out_of_range[19] = 9;
  EXPECT_EQ(ExifOrientation(out_of_range), 1);
  std::string far = good;
  far[4] = far[5] = far[6] = far[7] = '\xFF';
  EXPECT_EQ(ExifOrientation(far), 1);
}

TEST(DecodeMemory, RefusesWhatNeverFitsAndWaitsForWhatDoes) {
  DecodeMemory memory(100, absl::Milliseconds(20));
  EXPECT_EQ(memory.Take(101).status().code(), absl::StatusCode::kInvalidArgument);
  {
    const auto lease = memory.Take(60);
    ASSERT_TRUE(lease.ok());
    const auto second = memory.Take(41);
    EXPECT_EQ(second.status().code(), absl::StatusCode::kResourceExhausted);
    EXPECT_EQ(GetErrorDetail(second.status())->reason, "DECODE_MEMORY_BUSY");
  }
  EXPECT_TRUE(memory.Take(100).ok());
}

TEST(ImageDecoder, SharesItsMemoryAmongThreads) {
  ImageDecodeOptions options;
  options.limits.max_decode_bytes = 9 << 20;  // One picture at a time.
  const auto decoder = CreateInProcessImageDecoder(options);
  const std::string bytes = ReadGolden("420_progressive.jpg");
  std::vector<std::thread> threads;
  std::vector<int> ok(8, 0);
  for (int i = 0; i < 8; ++i) {
    threads.emplace_back([&, i] { ok[i] = decoder->Decode(bytes).ok(); });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(ok, std::vector<int>(8, 1));
}

}  // namespace
}  // namespace prefixd
