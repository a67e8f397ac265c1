// Calibration with measurements of a function, interrupted at every place.
#include "tools/calibration.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/tools/fake_measurer.h"
#include "tests/tools/folder.h"
#include "tools/profile_files.h"

namespace prefixd {
namespace {

using ::testing::HasSubstr;

constexpr size_t kSamples = 3;
constexpr int kLayers = 2;

// Layer 0 forgets half of what is due, layer 1 one and a half times as much, of prompts of unequal
// length.
Measured Answer(const MeasureTask& task) {
  EXPECT_EQ(task.kind, MeasureKind::kPrompt);
  EXPECT_EQ(task.setting->policy, "prefixkv");
  EXPECT_EQ(task.setting->profile, "");
  const auto from = static_cast<int32_t>(100 + 7 * task.sample);
  const auto due = static_cast<int32_t>(from * (1 - task.setting->budget) + 0.5);
  const int32_t less = due / 2;
  return {.prompt_tokens = from,
          .selected_from = from,
          .kept_tokens = {from - less, std::max(2, from - (2 * due - less))}};
}

class CalibrateTest : public ::testing::Test {
 protected:
  CalibrationState Open(bool restart = false) {
    auto state = CalibrationState::Open(folder_.At("state.jsonl"), {{"model", "demo"}},
                                        {.num_samples = kSamples, .num_layers = kLayers}, restart);
    EXPECT_TRUE(state.ok()) << state.status();
    return *std::move(state);
  }

  // Texts of the files, all together.
  static std::string Texts(const CalibrationState& state) {
    std::string text;
    for (const auto& ratios : AverageProfile(state, kSamples, kLayers)) text += ProfileText(ratios);
    return text;
  }

  testing::Folder folder_;
};

TEST_F(CalibrateTest, AveragesForgetRatiosOverSamples) {
  testing::FakeMeasurer measurer(Answer);
  CalibrationState state = Open();
  ASSERT_TRUE(Calibrate(kSamples, kLayers, &measurer, &state, [](size_t, size_t) {}).ok());
  EXPECT_EQ(measurer.answered(), 27u);
  const auto profile = AverageProfile(state, kSamples, kLayers);
  ASSERT_EQ(profile.size(), 9u);
  // At 0.2: 10 of 100, 10 of 107 (21 are due), 11 of 114 (23 are due).
  EXPECT_EQ(profile[1][0], (10.0 / 100 + 10.0 / 107 + 11.0 / 114) / 3);
  EXPECT_EQ(profile[1][1], (30.0 / 100 + 32.0 / 107 + 35.0 / 114) / 3);
}

TEST_F(CalibrateTest, GivesTheSameBytesWhereverItWasInterrupted) {
  testing::FakeMeasurer whole(Answer, 1);
  CalibrationState state = Open();
  ASSERT_TRUE(Calibrate(kSamples, kLayers, &whole, &state, [](size_t, size_t) {}).ok());
  const std::string expected = Texts(state);
  ASSERT_TRUE(state.Remove().ok());
  for (size_t stop = 0; stop < 27; ++stop) {
    testing::FakeMeasurer measurer(Answer, static_cast<uint32_t>(stop));
    measurer.FailAfter(stop);
    {
      CalibrationState begun = Open();
      EXPECT_FALSE(Calibrate(kSamples, kLayers, &measurer, &begun, [](size_t, size_t) {}).ok());
    }
    // What the interruption tore is measured again.
    if (stop % 2 == 1)
      folder_.Write("state.jsonl", folder_.Read("state.jsonl") + "{\"sample\": 1,");
    CalibrationState resumed = Open();
    EXPECT_EQ(resumed.num_cells(), stop);
    testing::FakeMeasurer rest(Answer, 99);
    std::vector<size_t> progress;
    ASSERT_TRUE(Calibrate(kSamples, kLayers, &rest, &resumed, [&](size_t done, size_t total) {
                  EXPECT_EQ(total, 27u);
                  progress.push_back(done);
                }).ok());
    EXPECT_EQ(rest.answered(), 27 - stop) << "what was measured is not measured again";
    EXPECT_EQ(progress.front(), stop);
    EXPECT_EQ(progress.back(), 27u);
    EXPECT_EQ(Texts(resumed), expected) << "stopped after " << stop;
    ASSERT_TRUE(resumed.Remove().ok());
  }
}

TEST_F(CalibrateTest, CountsAPromptOfWhichNothingWasDropped) {
  testing::FakeMeasurer measurer([](const MeasureTask&) { return Measured{.prompt_tokens = 9}; });
  CalibrationState state = Open();
  ASSERT_TRUE(Calibrate(kSamples, kLayers, &measurer, &state, [](size_t, size_t) {}).ok());
  for (const auto& ratios : AverageProfile(state, kSamples, kLayers)) {
    EXPECT_THAT(ratios, ::testing::ElementsAre(0.0, 0.0));
  }
}

TEST_F(CalibrateTest, KeepsRatiosInTheRangeOfProfiles) {
  testing::FakeMeasurer measurer([](const MeasureTask&) {
    return Measured{.selected_from = 100'000, .kept_tokens = {2, 99'999}};
  });
  CalibrationState state = Open();
  ASSERT_TRUE(Calibrate(kSamples, kLayers, &measurer, &state, [](size_t, size_t) {}).ok());
  EXPECT_EQ(AverageProfile(state, kSamples, kLayers)[8][0], 0.999);
}

TEST_F(CalibrateTest, RefusesAnotherNumberOfLayers) {
  testing::FakeMeasurer measurer([](const MeasureTask&) {
    return Measured{.selected_from = 10, .kept_tokens = {1, 2, 3}};
  });
  CalibrationState state = Open();
  const absl::Status status =
      Calibrate(kSamples, kLayers, &measurer, &state, [](size_t, size_t) {});
  EXPECT_THAT(std::string(status.message()), HasSubstr("3 layers, the model has 2"));
}

}  // namespace
}  // namespace prefixd
