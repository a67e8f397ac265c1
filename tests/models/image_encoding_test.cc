#include <gtest/gtest.h>

#include <vector>

#include "tests/models/model_testing.h"

namespace prefixd::testing {
namespace {

std::vector<float> Host(LoadedModel& loaded, const OwnedTensor& features) {
  std::vector<float> host(features.view.rows * features.view.cols);
  EXPECT_TRUE(loaded.backend().Download(features.view, absl::MakeSpan(host)).ok());
  return host;
}

std::vector<float> OtherPixels() {
  std::vector<float> pixels = TinyPixels(96);
  for (float& value : pixels) value = 0.5f - value;
  return pixels;
}

TEST(ImageEncoding, TakesAStepPerTowerLayerThatRuns) {
  LoadedModel loaded(DemoDirectory(), "portable");
  auto encoding = loaded.model().StartImage(TinyPixels(96));
  ASSERT_TRUE(encoding.ok()) << encoding.status();
  EXPECT_EQ((*encoding)->steps_left(), 4);  // Five layers, feature layer -2.
  EXPECT_EQ((*encoding)->rows_per_step(), 145);
  ASSERT_TRUE((*encoding)->Step().ok());
  EXPECT_EQ((*encoding)->steps_left(), 3);
}

TEST(ImageEncoding, IsNotDisturbedByAnotherOneInFlight) {
  LoadedModel loaded(DemoDirectory(), "portable");
  const std::vector<float> lonely = Host(loaded, loaded.Encode(TinyPixels(96)));
  const std::vector<float> lonely_other = Host(loaded, loaded.Encode(OtherPixels()));
  ASSERT_NE(lonely, lonely_other);

  auto one = loaded.model().StartImage(TinyPixels(96));
  auto other = loaded.model().StartImage(OtherPixels());
  ASSERT_TRUE(one.ok() && other.ok());
  for (int step = 0; step < 4; ++step) {
    ASSERT_TRUE((*one)->Step().ok());
    ASSERT_TRUE((*other)->Step().ok());
  }
  EXPECT_EQ(Host(loaded, (*one)->TakeFeatures()), lonely);
  EXPECT_EQ(Host(loaded, (*other)->TakeFeatures()), lonely_other);
}

TEST(ImageEncoding, MayBeDroppedInTheMiddle) {
  LoadedModel loaded(DemoDirectory(), "portable");
  const std::vector<float> lonely = Host(loaded, loaded.Encode(TinyPixels(96)));
  auto dropped = loaded.model().StartImage(OtherPixels());
  ASSERT_TRUE(dropped.ok());
  ASSERT_TRUE((*dropped)->Step().ok());
  dropped->reset();
  EXPECT_EQ(Host(loaded, loaded.Encode(TinyPixels(96))), lonely);
}

TEST(ImageEncoding, IsRefusedByATextModel) {
  LoadedModel loaded(GoldenDirectory() + "/llama-bias", "portable");
  EXPECT_EQ(loaded.model().StartImage({}).status().code(), absl::StatusCode::kUnimplemented);
}

}  // namespace
}  // namespace prefixd::testing
