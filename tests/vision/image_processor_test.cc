#include "engine/vision/image_processor.h"

#include <cstdlib>
#include <fstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/vision/vision_fixture.h"

namespace prefixd {
namespace {

using ::testing::HasSubstr;

std::string MakeDirectory() {
  std::string path = ::testing::TempDir() + "visionXXXXXX";
  return ::mkdtemp(path.data());
}

absl::StatusOr<ImageProcessor> LoadText(const std::string& text, int image_size,
                                        const std::string& name = "preprocessor_config.json") {
  const std::string directory = MakeDirectory();
  std::ofstream(directory + "/" + name) << text;
  return ImageProcessor::Load(directory, image_size);
}

TEST(ImageProcessor, EqualsTheReferenceBitForBit) {
  const auto decoder = CreateInProcessImageDecoder({});
  const nlohmann::json cases = GoldenCases()["process"];
  ASSERT_EQ(cases.size(), 10u);
  for (const auto& c : cases) {
    SCOPED_TRACE(c.dump());
    ImageProcessorConfig config;
    config.shortest_edge = config.crop_height = config.crop_width = 24;
    config.pad_to_square = c["pad"];
    const auto image = decoder->Decode(ReadGolden(c["file"]));
    ASSERT_TRUE(image.ok()) << image.status();
    const auto values = ImageProcessor(config).Process(*image);
    ASSERT_TRUE(values.ok()) << values.status();
    ASSERT_EQ(values->size(), 3u * 24 * 24);
    for (int i = 0; i < 3; ++i) EXPECT_EQ((*values)[i * 24 * 24], c["first"][i].get<float>());
    EXPECT_EQ(Sha256Of(values->data(), values->size() * 4), c["sha256"].get<std::string>());
  }
}

// Exactly the square, whatever the picture's shape; values from -1 to 1
// (tests/golden/make/paligemma.py).
TEST(ImageProcessor, EqualsSiglipsReferenceBitForBit) {
  const auto decoder = CreateInProcessImageDecoder({});
  const auto processor = LoadText(
      R"({"image_processor": {"do_convert_rgb": null, "do_normalize": true, "do_rescale": true,
          "do_resize": true, "image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5],
          "image_processor_type": "SiglipImageProcessor", "image_seq_length": 4, "resample": 3,
          "rescale_factor": 0.00392156862745098, "size": {"height": 28, "width": 28}},
          "processor_class": "PaliGemmaProcessor"})",
      28, "processor_config.json");
  ASSERT_TRUE(processor.ok()) << processor.status();
  const nlohmann::json cases = nlohmann::json::parse(ReadGolden("siglip.json"));
  ASSERT_EQ(cases.size(), 3u);
  for (const auto& c : cases) {
    SCOPED_TRACE(c.dump());
    const auto image = decoder->Decode(ReadGolden(c["file"]));
    ASSERT_TRUE(image.ok()) << image.status();
    const auto values = processor->Process(*image);
    ASSERT_TRUE(values.ok()) << values.status();
    ASSERT_EQ(values->size(), 3u * 28 * 28);
    for (int i = 0; i < 3; ++i) EXPECT_EQ((*values)[i * 28 * 28], c["first"][i].get<float>());
    EXPECT_EQ(Sha256Of(values->data(), values->size() * 4), c["sha256"].get<std::string>());
  }
}

TEST(ImageProcessor, TakesSiglipsOwnDefaults) {
  const auto processor = LoadText(R"({"image_processor_type": "SiglipImageProcessor"})", 224);
  ASSERT_TRUE(processor.ok()) << processor.status();
  EXPECT_EQ(processor->config().shortest_edge, 0);
  EXPECT_EQ(processor->config().crop_width, 224);
  EXPECT_FALSE(processor->config().do_center_crop);
  EXPECT_EQ(processor->config().mean, (std::array<float, 3>{0.5f, 0.5f, 0.5f}));
  EXPECT_EQ(processor->config().std, (std::array<float, 3>{0.5f, 0.5f, 0.5f}));
}

// Where the margin is odd, torchvision rounds its half to even (tests/golden/make/openflamingo.py).
TEST(ImageProcessor, CropsAsOpenClipDoesIfAsked) {
  const auto decoder = CreateInProcessImageDecoder({});
  const nlohmann::json cases = nlohmann::json::parse(ReadGolden("open_clip.json"));
  ASSERT_EQ(cases.size(), 4u);
  int differ = 0;
  for (const auto& c : cases) {
    SCOPED_TRACE(c.dump());
    const auto image = decoder->Decode(ReadGolden(c["file"]));
    ASSERT_TRUE(image.ok()) << image.status();
    const int side = c["side"];
    std::string sha256[2];
    for (const bool half_even : {false, true}) {
      nlohmann::json root = {{"size", side},
                             {"crop_size", side},
                             {"do_rescale", false},
                             {"do_normalize", false},
                             {"resample", 3}};
      if (half_even) root["crop_rounding"] = "half_even";
      const auto processor = LoadText(root.dump(), side);
      ASSERT_TRUE(processor.ok()) << processor.status();
      const auto values = processor->Process(*image);
      ASSERT_TRUE(values.ok()) << values.status();
      sha256[half_even] = Sha256Of(values->data(), values->size() * 4);
    }
    EXPECT_EQ(sha256[true], c["sha256"].get<std::string>());
    if (sha256[false] != sha256[true]) ++differ;
  }
  EXPECT_EQ(differ, 2);
  const char kBad[] = R"({"size": 24, "crop_size": 24, "crop_rounding": "up"})";
  EXPECT_THAT(std::string(LoadText(kBad, 24).status().message()), HasSubstr("crop_rounding"));
  const auto plain = LoadText(R"({"size": 24, "crop_size": 24})", 24);
  const auto rounded =
      LoadText(R"({"size": 24, "crop_size": 24, "crop_rounding": "half_even"})", 24);
  EXPECT_NE(plain->version(), rounded->version());
}

TEST(ImageProcessor, ReadsPlainNumbersAndNestedObjects) {
  const auto old_form = LoadText(R"({"size": 336, "crop_size": 336, "resample": 3})", 336);
  ASSERT_TRUE(old_form.ok()) << old_form.status();
  EXPECT_EQ(old_form->config().shortest_edge, 336);
  const auto nested = LoadText(
      R"({"image_processor": {"size": {"height": 64, "width": 64}, "resample": 2,
          "image_mean": 0.5, "image_std": [0.5, 0.5, 0.5]}})",
      64, "processor_config.json");
  ASSERT_TRUE(nested.ok()) << nested.status();
  EXPECT_EQ(nested->config().shortest_edge, 0);
  EXPECT_EQ(nested->config().crop_width, 64);
  EXPECT_FALSE(nested->config().do_center_crop);
  EXPECT_NE(nested->version(), old_form->version());
}

TEST(ImageProcessor, RefusesBadConfigurationsNamingFileAndKey) {
  struct Case {
    const char* text;
    const char* key;
  };
  const Case cases[] = {
      {R"({"size": 0, "crop_size": 24})", "size"},
      {R"({"size": 100000, "crop_size": 24})", "size"},
      {R"({"size": {"shortest_edge": -1}, "crop_size": 24})", "size.shortest_edge"},
      {R"({"size": 24, "crop_size": 24, "image_std": [1, 0, 1]})", "image_std"},
      {R"({"size": 24, "crop_size": 24, "image_std": [1, 1]})", "image_std"},
      {R"({"size": 24, "crop_size": 24, "image_mean": "x"})", "image_mean"},
      {R"({"size": 20, "crop_size": 24})", "crop_size"},
      {R"({"size": 28, "crop_size": 28})", "crop_size"},
      {R"({"size": 24, "crop_size": 24, "resample": 99})", "resample"},
      {R"({"size": 24, "crop_size": 24, "rescale_factor": 0})", "rescale_factor"},
      {R"({"size": 24, "crop_size": 24, "do_resize": 1})", "do_resize"},
  };
  for (const Case& c : cases) {
    const auto processor = LoadText(c.text, 24);
    ASSERT_FALSE(processor.ok()) << c.text;
    EXPECT_THAT(processor.status().message(), HasSubstr("preprocessor_config.json")) << c.text;
    EXPECT_THAT(processor.status().message(), HasSubstr(c.key));
  }
}

TEST(ImageProcessor, RefusesAnImageThatDoesNotFillTheCrop) {
  ImageProcessorConfig config;
  config.do_resize = false;
  const auto values = ImageProcessor(config).Process({1, 1, {1, 2, 3}});
  EXPECT_EQ(values.status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(ImageProcessor, NamesEveryPixelChangingSettingInItsVersion) {
  ImageProcessorConfig config;
  const std::string before = ImageProcessor(config).version();
  config.pad_to_square = true;
  EXPECT_NE(ImageProcessor(config).version(), before);
}

}  // namespace
}  // namespace prefixd
